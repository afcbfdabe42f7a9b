"""Start the dashboard: Streamlit on localhost, from the clone's `app/` or from the copy that the wheel brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from emoe_audit.cli.options import option

MAX_UPLOAD_MIB = 50
START = "import sys, scipy.stats, emoe_audit.report; from streamlit.web.cli import main; sys.exit(main())"
"""Streamlit with what the first page needs loaded before it is asked for."""
PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "_app" / "dashboard.py", PACKAGE.parent / "app" / "dashboard.py")


@click.command()
@option("--runs", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder with runs.")
@option("--port", type=click.IntRange(1, 65535), default=8501, help="On localhost.")
def dashboard(runs: Path, port: int) -> int:
    """Serve the dashboard on localhost and say its address."""
    return serve(runs, port)


def serve(runs: Path, port: int) -> int:
    """Run Streamlit until it is stopped; returns its exit code."""
    page = next(place for place in PLACES if place.is_file())
    address = ["--server.address", "localhost", "--server.port", str(port)]
    quiet = ["--browser.gatherUsageStats", "false", "--server.headless", "true"]
    bounds = ["--server.maxUploadSize", str(MAX_UPLOAD_MIB)]
    command = [
        sys.executable,
        "-c",
        START,
        "run",
        str(page),
        *address,
        *quiet,
        *bounds,
        "--",
        "--runs",
        str(runs.resolve()),
    ]
    print(f"The dashboard is at http://localhost:{port}; stop it with Ctrl+C.", file=sys.stderr)
    return subprocess.call(command, cwd=page.parent)
