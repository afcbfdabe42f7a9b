"""Serve the dashboard: Streamlit on localhost, from the clone's `app/` or from the copy that the wheel brings."""

from __future__ import annotations

import os
import re
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from emoe_audit.cli.options import option
from emoe_audit.errors import AuditError
from emoe_audit.runs.store import RunStore

LOCALHOST = "127.0.0.1"
MAX_UPLOAD_MIB = 50
FIRST_PAGE = (
    "scipy.stats",
    "emoe_audit.report",
    "language_data.names",
    "pyarrow.pandas_compat",
    "pydantic.dataclasses",
)
"""What the first page needs, loaded before it is asked for."""
NAME = re.compile(r"(\w[\w-]*(\.[\w-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "_app" / "dashboard.py", PACKAGE.parent / "app" / "dashboard.py")


class HostName(click.ParamType):  # type: ignore[type-arg]
    """A name as it stands in the address of a page: `audit.example`, `audit.example:8443`."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is."""
        if not NAME.fullmatch(str(value)):
            self.fail(f"{value!r} is no name; give what an address has between https:// and the next /", param, ctx)
        return str(value)


@click.command()
@option("--runs", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder with runs.")
@option("--port", type=click.IntRange(1, 65535), default=8501, help="On localhost.")
@option(
    "--host-name",
    type=HostName(),
    multiple=True,
    show_default="localhost",
    help="What stands in the address bar behind a proxy, like audit.example; can be given again for another.",
)
def dashboard(runs: Path, port: int, host_name: tuple[str, ...]) -> None:
    """Serve the dashboard on localhost and say its address."""
    root, query = folder_and_query(runs)
    check_port(port)
    print(f"The dashboard is at http://localhost:{port}/{query}; stop it with Ctrl+C.", file=sys.stderr)
    serve(root, port, host_name)


def folder_and_query(runs: Path) -> tuple[Path, str]:
    """The folder that holds the runs, and what an address adds to choose the one that was named in its place.

    Raises `AuditError` where there is no such folder.
    """
    if not os.path.isdir(runs):
        raise AuditError(f"{runs}: no such folder; --runs names the one that holds the runs, make it for the first")
    root = runs.resolve()
    if not RunStore(root).is_started:
        return root, ""
    print(f"{runs} is a run; the folder above it is served.", file=sys.stderr)
    return root.parent, f"?run={quote(root.name)}"


def check_port(port: int) -> None:
    """Raise `AuditError` where nothing can listen on a port of localhost."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            raise AuditError(f"port {port} cannot be used: {error.strerror}; choose another with --port") from error


def serve(root: Path, port: int, host_names: tuple[str, ...]) -> None:
    """Run Streamlit until it is stopped."""
    from streamlit.web.cli import main

    for module in FIRST_PAGE:
        import_module(module)
    page = next(place for place in PLACES if place.is_file())
    address = ["--server.address", "localhost", "--server.port", str(port)]
    quiet = ["--browser.gatherUsageStats", "false", "--server.headless", "true"]
    bounds = ["--server.maxUploadSize", str(MAX_UPLOAD_MIB)]
    names = [word for name in host_names for word in ("--host-name", name)]
    typed = sys.argv
    os.chdir(page.parent)  # Streamlit takes settings from the folder that it is started in
    try:
        own = ["--runs", str(root), *names]
        main(["run", str(page), *address, *quiet, *bounds, "--", *own], "streamlit", standalone_mode=False)
    finally:
        sys.argv = typed
