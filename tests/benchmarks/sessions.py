"""A reader of the dashboard without a browser: one session over the websocket by which the pages come."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import pyarrow as pa
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

DONE = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)
TEXTS = ("markdown", "html", "text", "heading", "alert")
MOST_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a page holds when its script has run."""

    text: str
    """All headings, texts and HTML."""
    tables: tuple[pd.DataFrame, ...]
    exceptions: tuple[str, ...]
    inputs: dict[str, str]
    """The ids of the text boxes by label."""
    query: str
    """The address as the page has set it."""


class Session:
    """A connection that keeps its widgets and its address, as a tab of a browser does."""

    def __init__(self, socket: ClientConnection) -> None:
        """The socket is open; `session` opens one."""
        self.socket = socket
        self.page, self.query = "", ""
        self.typed: dict[str, str] = {}

    def open(self, page: str, **query: str) -> Shown:
        """Go to a page by its address; what was typed before is forgotten, as on a fresh page."""
        self.typed = {}
        self.page, self.query = page, urlencode(query)
        return self._run()

    def type_text(self, widget: str, text: str) -> Shown:
        """Type into a text box of the page and wait for what it answers."""
        self.typed[widget] = text
        return self._run()

    def _run(self) -> Shown:
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_name = self.page
        for widget, text in self.typed.items():
            message.rerun_script.widget_states.widgets.add(id=widget, string_value=text)
        self.socket.send(message.SerializeToString())
        return self._read()

    def _read(self) -> Shown:
        """Everything up to the end of the script; a script that starts over begins a new page."""
        elements: dict[tuple[int, ...], Any] = {}
        while True:
            message = ForwardMsg()
            message.ParseFromString(self.socket.recv(MOST_SECONDS))  # type: ignore[arg-type]
            kind = message.WhichOneof("type")
            if kind == "new_session":
                elements = {}
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                elements[tuple(message.metadata.delta_path)] = message.delta.new_element
            elif kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            elif kind == "script_finished" and message.script_finished in DONE:
                return shown(list(elements.values()), self.query)


@contextmanager
def session(address: str) -> Iterator[Session]:
    """A session with the server at `host:port`, closed at the end."""
    protocols = [Subprotocol("streamlit")]
    with connect(f"ws://{address}/_stcore/stream", subprotocols=protocols, max_size=None, compression=None) as socket:
        yield Session(socket)


def shown(elements: list[Any], query: str) -> Shown:
    """The parts of a page that are looked at."""
    of = {kind: [getattr(own, kind) for own in elements if own.WhichOneof("type") == kind] for kind in KINDS}
    return Shown(
        text="\n".join(str(own.body) for kind in TEXTS for own in of[kind]),
        tables=tuple(table(own.arrow_data.data) for own in of["dataframe"]),
        exceptions=tuple(own.message for own in of["exception"]),
        inputs={own.label: own.id for own in of["text_input"]},
        query=query,
    )


def table(data: bytes) -> pd.DataFrame:
    """A table as the page receives it."""
    frame: pd.DataFrame = pa.ipc.open_stream(io.BytesIO(data)).read_pandas()
    return frame


KINDS = (*TEXTS, "dataframe", "exception", "text_input")
