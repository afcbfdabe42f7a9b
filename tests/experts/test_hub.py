"""What is told before anything is fetched, against a local server that answers as the hub's API does."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import commits, hub
from emoe_audit.experts.hub import HubSource, fetch_notice, hub_sources
from emoe_audit.experts.spec import load_spec, named_ensembles
from emoe_audit.types import EnsembleSpec, ExpertSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "model_index.json": 500,
    "unet/config.json": 700,
    "unet/diffusion_pytorch_model.safetensors": 3_000_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 1_500_000_000,
    "unet/diffusion_pytorch_model.bin": 3_000_000_000,
    "text_encoder/config.json": 600,
    "text_encoder/model.fp16.safetensors": 250_000_000,
    "tokenizer/vocab.json": 1000,
    "scheduler/scheduler_config.json": 300,
    "vae/diffusion_pytorch_model.safetensors": 300_000_000,
    "safety_checker/model.safetensors": 1_200_000_000,
}
EXPERT_BYTES = 500 + 700 + 3_000_000_000
BASE_BYTES = EXPERT_BYTES + 600 + 250_000_000 + 1000 + 300
BASE, EXPERT = ExpertSpec(name="base", source="org/base"), ExpertSpec(name="e", source="org/expert", revision="v2")


class Api(BaseHTTPRequestHandler):
    """`/api/models/ORG/NAME` with the fields that the hub sends."""

    def do_GET(self) -> None:
        known = ("/api/models/org/base?", "/api/models/org/expert/revision/v2?")
        if not self.path.startswith(known) or "blobs=true" not in self.path.lower():
            self.send_error(404)
            return
        siblings = [{"rfilename": name, "size": size, "blobId": "x"} for name, size in FILES.items()]
        body: dict[str, Any] = {"id": "org/x", "sha": COMMIT, "tags": ["license:mit"], "siblings": siblings}
        if "expert" in self.path:
            body["cardData"] = {"license": "creativeml-openrail-m"}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(hub, "HfApi", functools.partial(HfApi, endpoint=address))
        monkeypatch.setattr(commits, "snapshot_download", nothing_is_here)
        yield
        running.shutdown()


def nothing_is_here(source: str, **_options: object) -> str:
    raise LocalEntryNotFoundError(source)


def spec_of(*experts: ExpertSpec) -> EnsembleSpec:
    return EnsembleSpec(name="far", base=BASE, experts=experts)


def test_commit_licence_and_size_of_what_a_score_needs() -> None:
    base, expert = hub_sources(spec_of(EXPERT))
    assert base == HubSource(source="org/base", commit=COMMIT, licence="mit", n_bytes=BASE_BYTES)
    assert expert == HubSource(
        source="org/expert", commit=COMMIT, licence="creativeml-openrail-m", n_bytes=EXPERT_BYTES
    )


def test_a_source_that_is_base_and_expert_is_counted_once() -> None:
    (both,) = hub_sources(spec_of(ExpertSpec(name="e", source="org/base")))
    assert both.n_bytes == BASE_BYTES


def test_what_lies_on_this_disk_is_not_asked_about(tmp_path: Path) -> None:
    here = ExpertSpec(name="here", source=str(tmp_path))
    assert hub_sources(EnsembleSpec(name="near", base=here, experts=(here,))) == ()
    assert fetch_notice(EnsembleSpec(name="near", base=here, experts=(here,))) == ""


def test_the_notice_tells_them_in_words() -> None:
    told = fetch_notice(spec_of(EXPERT))
    assert "org/expert at commit 0123456789ab, 2.80 GiB, licence creativeml-openrail-m" in told


def test_what_is_in_the_cache_is_not_announced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commits, "snapshot_download", lambda *_args, **_options: str(tmp_path / COMMIT))
    assert fetch_notice(spec_of(EXPERT)) == ""
    assert commits.fetched_commits(spec_of(EXPERT)) == {"org/base": COMMIT, "org/expert": COMMIT}


def test_a_repository_that_is_not_there_is_named() -> None:
    with pytest.raises(EnsembleError, match="org/nothing"):
        hub_sources(spec_of(ExpertSpec(name="e", source="org/nothing")))


@pytest.mark.parametrize("name", ["sd15-community", "segmoe-sd-4x2", "sdxl-community"])
def test_the_named_ensembles_of_public_checkpoints_can_be_read(name: str) -> None:
    spec = load_spec(name)
    assert name in named_ensembles()
    assert (spec.name, spec.assembly, len(spec.experts)) == (name, "shared_trunk", 4)
