"""The documents are true: pages made from the code are current, and what they name is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SPEC = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
assert SPEC is not None and SPEC.loader is not None
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)

PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]
PATH = re.compile(r"`((?:engine|tui|tests|docs|presets|benchmarks|\.ci)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_made_from_the_code_is_current(name: str) -> None:
    """If not: `python docs/generate.py`."""
    assert (DOCS / name).read_text("utf-8") == generate.PAGES[name]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert [name for name in missing if "NAME" not in name] == []
