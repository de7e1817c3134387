"""Themes that can be read, by every kind of eye; bars where colours are few."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from engine.core.arrays import Floats
from engine.core.user_config import AppConfig
from engine.core.user_config import Theme as ThemeName
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.settings import MazeSettings
from engine.learning.events import Policy
from tui.maze.maze_layers import Marks, layers, picture
from tui.maze.maze_paint import Box, Painter
from tui.maze.maze_palette import PARTS, Palette
from tui.ui import glyphs, looks

RGB = [theme for theme in looks.THEMES if not theme.ansi]
SAFE = [theme for theme in RGB if theme.name.startswith("colour-safe")]
TEXTS = ("primary", "secondary", "warning", "error", "success", "accent")
DEFICIENT = {
    # G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A Physiologically-based Model for
    # Simulation of Color Vision Deficiency" (2009): full severity, on linear RGB.
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
APART = 25.0
"""CIE76 difference that nobody overlooks; 2.3 is the smallest that can be seen."""


def linear(colour: Color) -> Floats:
    """Linear RGB in 0..1, by IEC 61966-2-1."""
    values = np.array([colour.r, colour.g, colour.b]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: Color, other: Color) -> float:
    """WCAG 2.2's contrast ratio, 1 to 21."""
    bright = [float(linear(each) @ [0.2126, 0.7152, 0.0722]) + 0.05 for each in (one, other)]
    return max(bright) / min(bright)


def lab(rgb: Floats) -> Floats:
    """CIE L*a*b* (D65) of linear RGB."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    scaled = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def colours(theme: Theme) -> dict[str, Color]:
    variables = theme.to_color_system().generate()
    wanted = ("foreground", "background", "surface", "panel", *TEXTS)
    names = [*wanted, *(f"text-{name}" for name in TEXTS), "footer-key-foreground"]
    return {name: Color.parse(variables[name]) for name in names}


@pytest.mark.parametrize("theme", RGB, ids=lambda theme: theme.name)
def test_text_can_be_read(theme: Theme) -> None:
    of = colours(theme)
    for ground in (of["background"], of["surface"], of["panel"]):
        for name in ("foreground", "footer-key-foreground", *(f"text-{name}" for name in TEXTS)):
            assert contrast(ground + of[name], ground) >= 4.5, (name, ground.hex)
        muted = ground + of["foreground"].multiply_alpha(0.6)
        assert contrast(muted, ground) >= 4.5, ground.hex
    for name in ("success", "error", "warning", "accent", "primary"):
        assert contrast(of[name], of["surface"]) >= 3.0, name


@pytest.mark.parametrize("theme", SAFE, ids=lambda theme: theme.name)
@pytest.mark.parametrize("eyes", DEFICIENT)
def test_good_and_bad_differ_for_every_eye(theme: Theme, eyes: str) -> None:
    of, see = colours(theme), np.array(DEFICIENT[eyes])
    for kind in ("", "text-"):
        names = [kind + name for name in ("success", "error", "warning")]
        seen = {name: lab(see @ linear(of[name])) for name in names}
        for one, other in combinations(seen, 2):
            # Good against bad carries meaning; a warning has a sign of its own besides.
            least = APART if "warning" not in one + other else APART / 2
            assert np.linalg.norm(seen[one] - seen[other]) >= least, (one, other)


@pytest.mark.parametrize(
    ("chosen", "depth", "environment", "shown"),
    [
        ("auto", "truecolor", {"TERM": "xterm-256color"}, "dark"),
        ("light", "256", {"TERM": "screen-256color"}, "light"),
        ("auto", "standard", {"TERM": "xterm"}, "terminal"),
        ("light", "standard", {"TERM": "screen"}, "terminal"),  # which 16 colours cannot show
        ("auto", "standard", {"TERM": "linux"}, "mono"),
        ("terminal", "standard", {"TERM": "linux"}, "terminal"),
        ("auto", "truecolor", {"TERM": "linux", "COLORTERM": "truecolor"}, "dark"),
        ("light", None, {"TERM": "dumb"}, "mono"),
        ("light", "truecolor", {"TERM": "xterm-256color", "NO_COLOR": "1"}, "mono"),
        ("auto", "truecolor", {"TERM": "xterm-256color", "NO_COLOR": ""}, "dark"),
    ],
)
def test_a_terminal_gets_what_it_can_show(
    chosen: str, depth: str | None, environment: dict[str, str], shown: str
) -> None:
    assert looks.fitting(chosen, depth, environment) == shown


def test_settings_and_themes_are_the_same_names() -> None:
    names = set(ThemeName.__args__)
    assert names == set(looks.WORDS) == {looks.AUTO, *(theme.name for theme in looks.THEMES)}
    assert AppConfig().theme == looks.AUTO


@pytest.mark.parametrize(
    ("term", "ascii_only"), [("linux", True), ("dumb", True), ("xterm", False)]
)
def test_a_console_gets_ascii(monkeypatch: pytest.MonkeyPatch, term: str, ascii_only: bool) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr("sys.__stdout__", None)
    monkeypatch.delenv("ICEMAZE_ASCII", raising=False)
    glyphs.choose(None)  # asked anew
    assert glyphs.current().ascii is ascii_only
    monkeypatch.setenv("ICEMAZE_ASCII", "0")
    glyphs.choose(None)
    assert not glyphs.current().ascii


MAZE = build_mazes(MazeSettings(map="SFG\nFFF"))[0][1]


def bars(values: list[float], box: Box, layer: str) -> list[str]:
    """The lines of the first row of cells, with `#` for what is reversed."""
    mdp = build_mdp(MAZE)
    few = {part: (Color.parse("ansi_default"), Color.parse("ansi_default")) for part in PARTS}
    green, red = Color.parse("ansi_green"), Color.parse("ansi_bright_red")
    few |= {"positive": (green, few["ice"][1]), "negative": (red, few["ice"][1])}
    q = np.array([values] * mdp.n_observations)
    policy = Policy(
        step=1, target=np.full(q.shape, 0.25), behaviour=np.full(q.shape, 0.25),
        q=q, values=q.max(axis=1), visits=np.zeros(q.shape, np.int64),
    )  # fmt: skip
    chosen = next(each for each in layers(MAZE, mdp, policy) if each.name == layer)
    shown = picture(chosen, MAZE, policy, mdp, None, Marks(), beside=False, compare=False)
    lines = Painter(shown, box, Palette(few), glyphs.ASCII).row(0, -1, {})
    reversed_: list[str] = []
    for line in lines:
        styles: list[Style] = [part.style or Style() for part in line for _ in part.text]
        assert all((s.color and s.color.is_system_defined) or s.color.is_default for s in styles)
        reversed_.append("".join("#" if style.reverse else "." for style in styles)[: box.width])
    return reversed_


def test_a_bar_is_the_longer_the_deeper_the_shade() -> None:
    assert bars([0.5, 0.5, 0.5, 0.5], Box(9, 1), "state value") == [".########"]
    assert bars([-0.5, -0.5, -0.5, -0.5], Box(9, 1), "state value") == [".########"]
    # Up is the largest, left a quarter of it, right negative: that bar grows from the right.
    # The scale is that of the shades, |x| ** 0.7.
    up, middle, down = bars([0.25, 0.0, -0.5, 1.0], Box(9, 3), "action values")
    assert up == ".########" and down == "." * 9
    assert middle == ".##....##"
