"""Report, SVG and GIF: what opens them finds the run in them, and nothing that runs or loads."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.errors import UserError
from engine.exports import curves_svg
from engine.exports.formats import BY_NAME, export
from engine.exports.gif_file import FRAMES
from engine.exports.grid import Grids
from engine.exports.tables import Exported
from engine.presets import share
from engine.runs.curves import Curve
from engine.runs.reader import RunReader

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:overflow")]
SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta"}


class Page(HTMLParser):
    """What a page is made of; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_is_a_page_that_runs_and_loads_nothing(recorded: Path, tmp_path: Path) -> None:
    text = export(recorded, BY_NAME["html"], tmp_path / "run.html").read_text("utf-8")
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "iframe", "object", "embed", "link", "img", "form", "a"})
    for _, attributes in page.tags:
        assert not [
            key for key in attributes if key.startswith("on") or key in ("src", "href", "style")
        ]
    (policy,) = [a["content"] or "" for t, a in page.tags if "http-equiv" in a]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"'sha256-{digest}'" in policy
    assert "script" not in policy and "prefers-color-scheme:dark" in style and "@import" not in text
    assert 'Across <the> ice & "back"' in page.text
    with RunReader(recorded) as reader:
        line = share(reader.info().preset)
    assert line in page.text
    assert ("html", {"lang": "en"}) in page.tags
    for tag, attributes in page.tags:
        assert tag != "svg" or (attributes["role"] == "img" and attributes["aria-label"])
    rows = re.findall(r'<th scope="row">success rate</th><td>mean</td><td class="n">(.*?)</td>'
                      r'<td>(.*?)</td><td class="n">4</td>', text)  # fmt: skip
    assert len(rows) == 1 and " to " in rows[0][1]  # an interval


def test_svg_shows_the_policy(recorded: Path, tmp_path: Path) -> None:
    root = ET.parse(export(recorded, BY_NAME["svg"], tmp_path / "run.svg")).getroot()
    cells = root.findall(f"{SVG}g")
    assert len(cells) == 16
    assert {each.tag for each in root.iter()} <= {
        SVG + tag
        for tag in (
            "svg",
            "g",
            "title",
            "desc",
            "style",
            "rect",
            "circle",
            "path",
            "text",
            "polyline",
        )
    }
    with Exported(recorded) as run:
        grid = Grids(run).newest()
    for cell, group in enumerate(cells):
        words = group.findtext(f"{SVG}title") or ""
        arrows = len(group.findall(f"{SVG}path"))
        if grid.tiles[cell] in "HG":
            assert arrows == 0 and "V =" not in words
        else:
            assert arrows == int((grid.chances[cell] >= 0.01).sum()) > 0
            assert grid.maze.actions[grid.action(cell)] in words
    assert grid.path[0] == 0 and root.find(f"{SVG}polyline") is not None


def test_gif_plays_the_training_within_bounds(recorded: Path, tmp_path: Path) -> None:
    path = export(recorded, BY_NAME["gif"], tmp_path / "run.gif")
    with Image.open(path) as picture:
        assert picture.format == "GIF" and 2 <= picture.n_frames <= FRAMES
        assert max(picture.size) <= 700
        first = np.asarray(picture.convert("RGB"), dtype=int)
        picture.seek(picture.n_frames - 1)
        assert (np.asarray(picture.convert("RGB"), dtype=int) != first).any()
    with Exported(recorded) as run:
        steps = [grid.step for grid in Grids(run).over_time(FRAMES)]
        few = [grid.step for grid in Grids(run).over_time(3)]
    assert steps == sorted(set(steps)) and len(few) == 3
    assert few[0] == steps[0] and few[-1] == steps[-1]


def test_without_a_policy_there_is_no_picture_but_a_report(recorded: Path, tmp_path: Path) -> None:
    import sqlite3

    copy = tmp_path / recorded.name
    shutil.copytree(recorded, copy)
    with sqlite3.connect(copy / "run.db") as db:
        db.execute("DELETE FROM policies")
        db.execute("DELETE FROM metrics")
        db.execute("DELETE FROM per_agent")
    db.close()
    for name in ("svg", "gif"):
        with pytest.raises(UserError, match="no policy on a maze"):
            export(copy, BY_NAME[name], tmp_path / f"x.{name}")
    text = export(copy, BY_NAME["html"], tmp_path / "run.html").read_text("utf-8")
    Page(text)
    assert "The policy on the maze" not in text and "Curves" not in text


@pytest.mark.parametrize(
    "mean",
    [[1.0], [np.nan, 0.5, np.nan], [3.0, 3.0], [0.0, 1e-300], [-1e9, 1e9], [np.inf, 1.0, 2.0]],
)
def test_any_curve_can_be_drawn(mean: list[float]) -> None:
    y = np.array(mean)
    curve = Curve(x=np.arange(1.0, len(y) + 1), mean=y, low=y, high=y)
    drawn = curves_svg.chart("x <y>", curve, None, "steps")
    root = ET.fromstring(drawn)
    assert "nan" not in drawn and "inf" not in drawn and "band" not in drawn
    assert root.findall(".//polyline")


def test_a_long_curve_is_thinned_and_says_so() -> None:
    y = np.linspace(0, 1, 10_000)
    curve = Curve(x=np.arange(10_000.0), mean=y, low=y - 0.1, high=y + 0.1)
    drawn = curves_svg.chart("x", curve, curve, "steps")
    line = re.findall(r'class="mean" points="(.*?)"', drawn)[0].split()
    assert len(line) <= curves_svg.MOST_POINTS + 1 and line[-1].startswith("628.0,")
    assert "Every 13th recorded point" in drawn and 'class="band"' in drawn
    assert "mazes that are not trained on" in drawn
