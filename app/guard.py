"""Who is let in: requests that call the dashboard by a name of its own, from its own pages or from no page at all.

A page of another site can have its own name lead to this machine (DNS rebinding), and a page of another port can open
a WebSocket to this one. A browser tells both, in `Host` and in `Origin`.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("localhost", "127.0.0.1", "[::1]")
SCHEMES = ("http://", "https://")
HTTP_PORT = 80
"""That which an address leaves out."""
FORBIDDEN, POLICY = 403, 1008
"""What a request and a WebSocket are told."""
REFUSED = b"The dashboard does not go by this name; `emoe-audit dashboard --host-name` gives it another.\n"
ALONE = (b"content-security-policy", b"frame-ancestors 'self'")


class Guard:
    """ASGI middleware: what comes with another `Host` or another `Origin` is answered with 403, a WebSocket too."""

    def __init__(self, app: ASGIApp, host_names: Collection[str] = ()) -> None:
        """The names beside localhost, as they stand in the address of the page: `audit.example`, `localhost:9000`."""
        self._app = app
        self._host_names = {name.lower() for name in host_names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before anything else looks at it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._is_own(scope):
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(REFUSED))]
            await send({"type": "http.response.start", "status": FORBIDDEN, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSED})

    def _is_own(self, scope: Scope) -> bool:
        names = self._names(scope["server"][1])
        hosts, origins = (_values(scope, header) for header in (b"host", b"origin"))
        own_origins = {scheme + name for scheme in SCHEMES for name in names}
        return len(hosts) == 1 and hosts[0] in names and own_origins.issuperset(origins)

    def _names(self, port: int) -> set[str]:
        bare = LOCAL if port == HTTP_PORT else ()
        return {*self._host_names, *(f"{name}:{port}" for name in LOCAL), *bare}


def _unframed(send: Send) -> Send:
    """Answers that no other site shows inside a page of its own, to have its visitors click there."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], ALONE]
        await send(message)

    return sent


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for name, value in scope["headers"] if name == header]
