"""The steps of an audit, one file each: every step reads what a run folder holds and adds to it."""
