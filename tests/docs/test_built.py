"""The pages as Sphinx builds them, warnings being errors: what is made from the code arrives in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import reference

from tests.docs.texts import DOCS, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages."""
    folder = tmp_path_factory.mktemp("docs")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(folder)]
    done = subprocess.run(build, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_fetches_nothing(built: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert [page for page in pages if not (built / page).is_file()] == []
    fetched = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]*"')
    assert [found for page in pages for found in fetched.findall((built / page).read_text(encoding="utf-8"))] == []


def test_every_command_has_a_section_with_its_options(built: Path) -> None:
    page = (built / "reference" / "commands.html").read_text(encoding="utf-8")
    for words, command in reference.every_command():
        path = "-".join(("emoe-audit", *words))
        options = [option.opts[0].lstrip("-") for option in command.params if option.param_type_name == "option"]
        assert f'<section id="{path}">' in page
        assert [name for name in options if f'id="cmdoption-{path}-{name}"' not in page] == []


def test_the_house_and_the_report_arrive_as_tables(built: Path) -> None:
    house = (built / "explanation" / "house.html").read_text(encoding="utf-8")
    assert 'class="pre">residency.py</span>' in house
    assert house.count("<table") > 15
    report = (built / "reference" / "report-json.html").read_text(encoding="utf-8")
    assert '<a class="reference internal" href="#verdict">' in report


def test_public_names_arrive_with_their_signatures_and_fields(built: Path) -> None:
    page = (built / "reference" / "python.html").read_text(encoding="utf-8")
    assert 'id="emoe_audit.run_audit"' in page
    assert 'id="emoe_audit.RunStore.query"' in page
    assert "The smallest gap that matters by measure" in page
