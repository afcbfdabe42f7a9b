"""How the embedded ensembles are made: `python -m emoe_audit.recipes --plan PLAN --out DIR`.

`world.py` and `drawings.py` gather a small real world (emoji and flag drawings, captions in forty languages), `plan.py`
says how much of it each language, region and skin tone gets, then one file for each part that is trained.
"""
