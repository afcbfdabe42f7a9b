"""What pages of others reach of a dashboard, in a browser: a name that leads here, another port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.desk import PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
OPENED = """port => new Promise(done => {
    const socket = new WebSocket(`ws://localhost:${port}/_stcore/stream`, ["streamlit"]);
    socket.onopen = () => { socket.close(); done("opened"); };
    socket.onerror = () => done("refused");
})"""
"""Whether a page can open the WebSocket of the dashboard on a port."""


@pytest.fixture
def port(known_address: str) -> int:
    """That of a dashboard with runs."""
    return urlsplit(known_address).port or 0


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that may go anywhere."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


class Blank(BaseHTTPRequestHandler):
    """A page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """Another port of this machine, on which somebody else serves a page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_its_own_page_opens_its_websocket(page: Page, port: int) -> None:
    page.goto(f"http://localhost:{port}/_stcore/health")
    assert page.evaluate(OPENED, port) == "opened"


@pytest.mark.parametrize("path", ["", "overview?run=plain", "_stcore/health", "_stcore/host-config"])
def test_a_name_that_leads_here_sees_nothing(page: Page, port: int, path: str) -> None:
    response = page.goto(f"http://evil.example:{port}/{path}")
    assert response is not None
    assert response.status == 403
    assert page.locator(".stApp").count() == 0
    assert "--host-name" in page.locator("body").inner_text()


def test_a_page_of_such_a_name_opens_no_websocket_under_either_name(page: Page, port: int, elsewhere: int) -> None:
    page.goto(f"http://evil.example:{elsewhere}/")
    assert page.evaluate(OPENED, port) == "refused"
    page.goto(f"http://evil.example:{port}/")
    assert page.evaluate(OPENED.replace("localhost", "evil.example"), port) == "refused"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_page_of_another_port_opens_no_websocket(page: Page, port: int, elsewhere: int, host: str) -> None:
    page.goto(f"http://{host}:{elsewhere}/")
    assert page.title() == "elsewhere"
    assert page.evaluate(OPENED, port) == "refused"


def test_a_page_of_another_port_does_not_show_it_in_a_frame(page: Page, port: int, elsewhere: int) -> None:
    page.goto(f"http://localhost:{elsewhere}/")
    page.evaluate(
        "address => new Promise(done => { const frame = document.createElement('iframe'); frame.src = address;"
        " frame.onload = done; document.body.append(frame); })",
        f"http://localhost:{port}/",
    )
    assert page.frames[-1].locator("#root").count() == 0
