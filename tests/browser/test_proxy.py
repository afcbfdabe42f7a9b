"""The dashboard behind a login: nginx with the very block of the how-to, its ports and paths replaced."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.desk import PATIENCE_MS, SETTLED, free_port, serve
from tests.docs.texts import DOCS, block

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]
NAME = "audit.example"
USER, PASSWORD = "auditor", "a long one"
SERVER = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {block}
  }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A login in front of a dashboard."""

    port: int
    behind: int
    """The port of the dashboard itself."""

    @property
    def address(self) -> str:
        return f"http://{NAME}:{self.port}/"


@pytest.fixture(scope="module")
def proxy(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """nginx as the how-to sets it up, in front of a dashboard with runs."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    with serve(known, "--host-name", f"{NAME}:{port}") as address:
        behind = urlsplit(address).port or 0
        configure(folder, port, behind)
        with subprocess.Popen([str(NGINX), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]) as nginx:
            try:
                wait_for(port, nginx)
                yield Proxy(port, behind)
            finally:
                nginx.terminate()


def configure(folder: Path, port: int, behind: int) -> None:
    """Write what nginx reads: the block of the how-to in a server of its own, and one user."""
    passwords = folder / "htpasswd"
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    passwords.write_text(f"{USER}:{{SHA}}{digest}\n")
    said = block(DOCS / "how-to" / "dashboard.md", "nginx", "auth_basic")
    own = said.replace("127.0.0.1:8501", f"127.0.0.1:{behind}").replace("/etc/nginx/htpasswd", str(passwords))
    assert own.count(str(behind)) == 1 and str(passwords) in own
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(SERVER.format(folder=folder, user=user, port=port, block=own))


def wait_for(port: int, nginx: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert nginx.poll() is None, "nginx has ended"
        try:
            status(port)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(port)


def status(port: int, host: str = "", *, login: bool = False, path: str = "/") -> int:
    """What a request by a name is answered with."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Host": host or f"{NAME}:{port}"} | ({"Authorization": f"Basic {token}"} if login else {})
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/_stcore/stream", "/_stcore/host-config"])
def test_nothing_is_seen_without_a_login(proxy: Proxy, path: str) -> None:
    assert status(proxy.port, path=path) == 401


def test_a_foreign_name_is_refused_with_a_login_too(proxy: Proxy) -> None:
    assert status(proxy.port, login=True) == 200
    for host in ("evil.example", f"evil.example:{proxy.port}", NAME, f"localhost:{proxy.port}"):
        assert status(proxy.port, host, login=True) == 403


def test_the_dashboard_itself_still_answers_on_this_machine_alone(proxy: Proxy) -> None:
    with urllib.request.urlopen(f"http://localhost:{proxy.behind}/_stcore/health") as answer:
        assert answer.status == 200


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of somebody with a login."""
    context = browser.new_context(http_credentials={"username": USER, "password": PASSWORD})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def test_pages_work_behind_the_login(proxy: Proxy, page: Page) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(f"{proxy.address}?run=plain")
    page.wait_for_function(SETTLED)
    page.locator(".ea .verdict").wait_for()
    assert sockets == [f"ws://{NAME}:{proxy.port}/_stcore/stream"]
    page.get_by_test_id("stTopNavLink").filter(has_text="Languages").click()
    page.get_by_role("heading", name="Languages, worst first").wait_for()


def test_a_table_is_uploaded_through_the_login(proxy: Proxy, page: Page) -> None:
    page.goto(f"{proxy.address}new_audit")
    page.wait_for_function(SETTLED)
    file = {"name": "good.csv", "mimeType": "text/csv", "buffer": b"prompt,language\na dog,en\nein Hund,de\n"}
    page.locator('input[type="file"]').set_input_files(file)  # type: ignore[arg-type]
    page.get_by_text("2 prompts in 2 languages; 0 rows are left out.").wait_for()
