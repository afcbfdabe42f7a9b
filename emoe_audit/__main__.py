"""`python -m emoe_audit` is `emoe-audit`."""

from emoe_audit.cli.main import main

main()
