"""Who is let in: names of the dashboard's own in `Host` and `Origin`, and nobody else, by HTTP and by WebSocket."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.desk import serve

PORT = 8501
OWN = (
    ("localhost:8501", None),
    ("127.0.0.1:8501", "http://127.0.0.1:8501"),
    ("[::1]:8501", "http://[::1]:8501"),
    ("LOCALHOST:8501", "http://localhost:8501"),
    ("audit.example", "https://audit.example"),
    ("localhost:9000", "http://localhost:9000"),
)
"""`Host` and `Origin` of those who belong, the last two by names that were given."""
FOREIGN = (
    ("evil.example", None),
    ("evil.example:8501", "http://evil.example:8501"),
    ("localhost", None),
    ("localhost:3000", "http://localhost:3000"),
    ("localhost:8501.evil.example", None),
    ("localhost:8501", "http://evil.example:8501"),
    ("localhost:8501", "http://localhost:3000"),
    ("localhost:8501", "https://localhost"),
    ("localhost:8501", "null"),
    ("localhost:8501", "chrome-extension://localhost:8501"),
    ("audit.example", "https://audit.example.evil.example"),
    ("audit.example:8080", None),
    ("0.0.0.0:8501", None),
    ("", None),
)
STREAM = "_stcore/stream"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "streamlit",
}


def in_a_loop_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """Done to its end, also where a browser's own loop runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def answer(kind: str, headers: list[tuple[str, str]], port: int = PORT) -> Any:
    """What the guard sends, or "passed on"."""
    from guard import Guard

    said: list[Any] = []

    async def passed_on(*_: Any) -> None:
        said.append("passed on")

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": kind,
        "server": ("127.0.0.1", port),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    own = Guard(passed_on, host_names=["Audit.example", "localhost:9000"])
    in_a_loop_of_its_own(own(scope, passed_on, send))  # type: ignore[arg-type]
    return said[0]


def headers(host: str, origin: str | None) -> list[tuple[str, str]]:
    return [("Host", host), *([("Origin", origin)] if origin else [])]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(("host", "origin"), OWN)
def test_a_name_of_its_own_is_let_in(kind: str, host: str, origin: str | None) -> None:
    assert answer(kind, headers(host, origin)) == "passed on"


@pytest.mark.parametrize(("host", "origin"), FOREIGN)
def test_any_other_host_or_origin_is_refused(host: str, origin: str | None) -> None:
    assert answer("http", headers(host, origin))["status"] == 403
    assert answer("websocket", headers(host, origin)) == {"type": "websocket.close", "code": 1008}


@pytest.mark.parametrize(
    "several",
    [
        [],
        [("Host", "localhost:8501"), ("Host", "evil.example")],
        [("Host", "localhost:8501"), ("Origin", "http://localhost:8501"), ("Origin", "http://evil.example")],
    ],
    ids=["no host", "two hosts", "two origins"],
)
def test_what_can_be_read_in_two_ways_is_refused(several: list[tuple[str, str]]) -> None:
    assert answer("http", several)["status"] == 403


def test_the_port_that_an_address_leaves_out_is_left_out_of_its_host() -> None:
    assert answer("http", headers("localhost", "http://localhost"), port=80) == "passed on"


def test_what_is_no_request_is_passed_on() -> None:
    assert answer("lifespan", []) == "passed on"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a dashboard as its command serves it."""
    with serve(tmp_path_factory.mktemp("reports"), "--host-name", "audit.example") as address:
        yield urlsplit(address).port or 0


def status(port: int, path: str, host: str, origin: str | None, method: str = "GET") -> int:
    """The status that raw bytes are answered with; 101 opens a WebSocket."""
    lines = headers(host, origin) + (list(HANDSHAKE.items()) if path == STREAM else [("Connection", "close")])
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{method} /{path} HTTP/1.1\r\n{head}\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "languages", "_stcore/health", "_stcore/host-config", STREAM])
def test_the_dashboard_answers_to_its_names_and_to_no_other(served: int, path: str) -> None:
    own, welcome = f"localhost:{served}", 101 if path == STREAM else 200
    assert status(served, path, own, f"http://{own}") == welcome
    assert status(served, path, f"127.0.0.1:{served}", None) == welcome
    assert status(served, path, "audit.example", "https://audit.example") == welcome
    assert status(served, path, f"evil.example:{served}", f"http://evil.example:{served}") == 403
    assert status(served, path, f"evil.example:{served}", None) == 403
    assert status(served, path, own, "http://localhost:3000") == 403


@pytest.mark.slow
def test_nothing_is_uploaded_by_another_name(served: int) -> None:
    upload = "_stcore/upload_file/session/file"
    assert status(served, upload, f"evil.example:{served}", None, "PUT") == 403
    assert status(served, upload, f"localhost:{served}", "http://evil.example", "OPTIONS") == 403


@pytest.mark.slow
def test_what_is_refused_says_how_to_give_another_name(served: int) -> None:
    with socket.create_connection(("127.0.0.1", served), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
        said = connection.makefile("rb").read().decode()
    assert "--host-name" in said
    assert "other.example" not in said


@pytest.mark.slow
def test_no_other_site_shows_it_inside_a_page_of_its_own(served: int) -> None:
    with urllib.request.urlopen(f"http://localhost:{served}/") as page:
        assert page.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
