"""What a run says in hostile words is only text in the files that leave it."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import sqlite3
import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import ALL
from hostile_runs import icemaze

from engine.exports.formats import FORMATS, default_out, export
from engine.exports.words import cell, escaped, visible
from engine.presets.toml import inline

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:overflow")]

HTML = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onload=alert(3) <svg onload=alert(4)>"
    "</style></title></pre></text><style>*{display:none}</style>]]><!-- --><a href=javascript:1>"
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>&y;&amp;'
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\u200b=1", "＝1", "=cmd|' /C calc'!A0")
TEXT = f"{ALL}{HTML}"
DECLARED = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "small", "pre"),
    *("table", "caption", "tr", "th", "td", "figure", "figcaption", "details", "summary", "ul"),
    *("li", "b", "svg", "g", "desc", "rect", "circle", "path", "polyline", "polygon", "text"),
}


@pytest.fixture(scope="module")
def run(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another's own algorithm in which every text is hostile."""
    path = tmp_path_factory.mktemp("hostile") / whole.name
    shutil.copytree(whole, path)
    preset = (path / "preset.toml").read_text("utf-8")
    preset = re.sub(r"(?m)^(title|summary) = .*$", lambda m: f"{m[1]} = {_toml(TEXT)}", preset)
    (path / "preset.toml").write_text(preset, "utf-8")
    with contextlib.closing(sqlite3.connect(path / "run.db")) as db, db:
        for key in ("title", "preset_name"):
            db.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(TEXT), key))
        clean = TEXT.encode("utf-8", "ignore").decode()
        db.execute(
            "INSERT INTO notes (step, level, text, remedy, term) VALUES (1, ?, ?, ?, '')",
            (clean, clean, clean),
        )
        for i, name in enumerate((clean, *FORMULAS)):
            for step in (1, 2):
                db.execute(
                    "INSERT INTO metrics (step, split, name, mean, low, high, n) VALUES "
                    "(?, 'train', ?, 0.5, 0.4, 0.6, 2)",
                    (100_000 + 2 * i + step, name),
                )
            db.execute(
                "INSERT INTO per_agent (step, name, agent, value) VALUES (1, ?, 0, 1)", (name,)
            )
    return path


def _toml(text: str) -> str:
    return inline(text.encode("utf-8", "ignore").decode())


class Tags(HTMLParser):
    """Names of tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.odd: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {key for key, _ in attrs}

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    handle_pi = handle_comment

    def unknown_decl(self, data: str) -> None:
        self.odd.append(data)


def test_a_report_of_a_hostile_run_has_only_our_tags(run: Path, tmp_path: Path) -> None:
    text = export(run, FORMATS[0], tmp_path / "run.html").read_text("utf-8")
    found = Tags(text)
    assert found.tags <= DECLARED and found.odd == []
    assert not [key for key in found.attributes if key.startswith("on") or key in ("src", "href")]
    assert (
        text.count("<style>")
        == text.count("</style>")
        == text.count("</title>") - text.count("<g transform")
        == 1
    )  # each cell of the maze has a title of its own
    assert "alert(1)" in text  # as words
    assert_only_signs(text)


def assert_only_signs(text: str) -> None:
    """No control characters, nothing that turns the reading direction, no towers of marks."""
    odd = {f"{ord(c):x}" for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")} - {
        "a",
        "d",
    }
    assert odd == set()
    assert not re.search("[\u0300-\u036f\u0483-\u0489]{5}", text)


def test_an_svg_of_a_hostile_run_is_plain_xml(run: Path, tmp_path: Path) -> None:
    (svg,) = (each for each in FORMATS if each.name == "svg")
    text = export(run, svg, tmp_path / "run.svg").read_text("utf-8")
    root = ET.fromstring(text)
    assert {each.tag.rpartition("}")[2] for each in root.iter()} <= DECLARED
    assert "<!" not in text and "alert(1)" in "".join(root.itertext())
    assert_only_signs(text)


def test_no_cell_is_a_formula(run: Path, tmp_path: Path) -> None:
    (to,) = (each for each in FORMATS if each.name == "csv")
    export(run, to, tmp_path / "csv")
    with (tmp_path / "csv" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        names = [row[1] for row in csv.reader(file)]
    assert len(names) > 20
    assert not [name for name in names if name[:1] in "=+-@\t\r\n＝＋－＠"]
    assert "'=1+1" in names and "success_rate" in names
    for formula in FORMULAS:
        assert cell(formula).startswith("'")
    assert_only_signs("".join(names))


def test_every_format_takes_a_hostile_run_and_runs_nothing(run: Path, tmp_path: Path) -> None:
    for to in FORMATS:
        export(run, to, tmp_path / default_out(run, to))
    code, said = icemaze(run.parent, "open", run.name, "--plain")
    assert code == 0 and "alert(1)" in said
    assert_only_signs(said.replace("\n", ""))
    assert not re.search("[\u2500-\u259f]", said)
    code, said = icemaze(run.parent, "share", run.name)
    assert code == 2 and "never carries code" in said


def test_text_keeps_its_signs_and_loses_the_rest() -> None:
    assert visible("Größe 冰 ε\n2") == "Größe 冰 ε 2"
    assert visible("a\nb\x1b[0m", lines=True) == "a\nb[0m"
    assert escaped("<a href='x'>\u202e") == "&lt;a href=&#x27;x&#x27;&gt;"
    assert cell("success_rate") == "success_rate"
    assert visible("x" * 200_000).endswith("x…")
