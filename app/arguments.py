"""What the dashboard is started with: `streamlit run app/dashboard.py -- --runs reports`."""

import argparse
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    """`runs`, the folder that holds the runs, and `host_names`, those that the dashboard goes by beside localhost."""
    parser = argparse.ArgumentParser(prog="dashboard.py", description="Look at the runs of emoe-audit.")
    parser.add_argument("--runs", type=Path, default=Path("reports"), help="the folder that holds the runs")
    parser.add_argument("--host-name", dest="host_names", action="append", default=[], help="as in the page's address")
    return parser.parse_args(sys.argv[1:])
