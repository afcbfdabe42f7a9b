from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from emoe_audit.types import EnsembleSpec


@pytest.fixture(scope="session")
def known_spec(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    """The tiny ensemble as if its training were known: English covered, Japanese never seen, flags and skin tones."""
    folder = tmp_path_factory.mktemp("known")
    assert tiny_spec.captions is not None
    coco = json.loads(Path(tiny_spec.captions).read_text(encoding="utf-8"))
    regions, tones = ("014", "155", "005"), ("dark", "light")
    groups = [*[{}] * 3, *({"region": region} for region in regions), *({"skin_tone": tone} for tone in tones)]
    coco["images"] = [image | group for image, group in zip(coco["images"], groups, strict=True)]
    (folder / "captions.json").write_text(json.dumps(coco), encoding="utf-8")
    (folder / "coverage.csv").write_text(
        "by,group,coverage\nlanguage,en,0.9\nlanguage,de,0.0995\nlanguage,hi,0.0005\nlanguage,ja,0\n"
        "region,014,0.7\nregion,155,0.3\nregion,005,0\nskin_tone,dark,0.8\nskin_tone,light,0.2\n"
    )
    return dataclasses.replace(
        tiny_spec, captions=str(folder / "captions.json"), training_coverage=str(folder / "coverage.csv")
    )
