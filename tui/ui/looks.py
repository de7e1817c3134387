"""Colours of the app: its themes, and which of them a terminal can show.

Terminals with 16 colours or none get those of their own (`terminal`, `mono`), whatever is chosen
for others: blended colours would all become the same grey there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from textual.theme import Theme

from tui.ui.glyphs import PLAIN_TERMINALS

AUTO, DARK, TERMINAL, MONO = "auto", "dark", "terminal", "mono"

_light = partial(
    Theme,
    foreground="#101418",
    background="#F0F2F4",
    surface="#FCFCFC",
    panel="#E4E8EC",
    dark=False,
)
_own = partial(
    Theme,
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    ansi=True,
)
_CURSOR = {
    "block-cursor-foreground": "ansi_black",
    "block-cursor-background": "ansi_white",
    "block-cursor-text-style": "bold",
    "block-cursor-blurred-text-style": "bold",
    "block-hover-background": "ansi_default",
    "input-cursor-background": "ansi_white",
    "input-cursor-foreground": "ansi_black",
    "input-selection-background": "ansi_white",
    "input-selection-foreground": "ansi_black",
    "screen-selection-background": "ansi_white",
    "screen-selection-foreground": "ansi_black",
    "ansi-background": "ansi_default",
    "ansi-foreground": "ansi_default",
    "border": "ansi_default",
    "border-blurred": "ansi_default",
    "scrollbar-background": "ansi_default",
    "scrollbar-background-hover": "ansi_default",
    "scrollbar-background-active": "ansi_default",
    "scrollbar-corner-color": "ansi_default",
}
"""What has the focus is black on white, which stands out from light and dark grounds alike."""

THEMES = (
    Theme(
        name=DARK,
        primary="#0178D4",
        secondary="#3A7CA8",
        accent="#ffa62b",
        warning="#ffa62b",
        error="#ba3c5b",
        success="#4EBF71",
        foreground="#e0e0e0",
    ),
    _light(
        name="light",
        primary="#004C8C",
        secondary="#3D6A8A",
        accent="#8A4B00",
        warning="#8A4B00",
        error="#A3123A",
        success="#12692F",
        variables={"footer-key-foreground": "#004C8C"},
    ),
    # Hues of M. Okabe and K. Ito, "Color Universal Design" (2008): good is blue, bad is vermilion,
    # which people without red or green cones tell apart. Darker on light ground, for contrast.
    Theme(
        name="colour-safe-dark",
        primary="#0072B2",
        secondary="#009E73",
        accent="#CC79A7",
        warning="#F0E442",
        error="#D55E00",
        success="#56B4E9",
        foreground="#e0e0e0",
    ),
    _light(
        name="colour-safe-light",
        primary="#00588A",
        secondary="#006B4E",
        accent="#6E5400",
        warning="#8F4470",
        error="#A84300",
        success="#0068A8",
        variables={"footer-key-foreground": "#00588A"},
    ),
    # Of the 16 colours, those that most terminals show well on black and on white.
    _own(
        name=TERMINAL,
        primary="ansi_bright_blue",
        secondary="ansi_cyan",
        accent="ansi_magenta",
        warning="ansi_magenta",
        error="ansi_bright_red",
        success="ansi_green",
        variables={
            **_CURSOR,
            "footer-key-foreground": "ansi_bright_blue",
            "scrollbar": "ansi_bright_blue",
            "border": "ansi_bright_blue",
        },
    ),
    _own(
        name=MONO,
        primary="ansi_white",
        variables={**_CURSOR, "footer-key-foreground": "ansi_default", "scrollbar": "ansi_white"},
    ),
)

WORDS = {
    AUTO: "dark, or what a terminal with few colours has",
    DARK: "",
    "light": "",
    "colour-safe-dark": "blue and vermilion instead of green and red",
    "colour-safe-light": "the same on light ground",
    TERMINAL: "its own 16 colours; bars instead of shades",
    MONO: "no colours; also NO_COLOR=1",
}
"""What stands beside the names where one is chosen."""


def fitting(chosen: str, depth: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The name of the theme to be shown.

    `chosen` is the user's, `depth` what the terminal can do as Rich names it ("standard" is 16
    colours, None is none).
    """
    if environment.get("NO_COLOR"):
        return MONO
    plain = environment.get("TERM", "") in PLAIN_TERMINALS and not environment.get("COLORTERM")
    if chosen in (TERMINAL, MONO):
        return chosen
    if depth is None or plain:
        return MONO
    if depth == "standard":
        return TERMINAL
    return DARK if chosen == AUTO else chosen


FEW_COLOURS = """
GlyphApp:ansi {
    MazeView > .maze-grid--ice { background: ansi_default; }
    MazeView > .maze-grid--hole { color: ansi_default; background: ansi_default; }
    MazeView > .maze-grid--goal { color: $success; background: ansi_default; }
    MazeView > .maze-grid--wall { color: ansi_default; background: ansi_default; }
    MazeView > .maze-grid--bonus { color: $accent; background: ansi_default; }
    MazeView > .maze-grid--lesser { color: $success; background: ansi_default; }
    MazeView > .maze-grid--key { color: $warning; background: ansi_default; }
    MazeView > .maze-grid--door { color: $warning; background: ansi_default; }
    MazeView > .maze-grid--agent { color: ansi_default; background: $accent; }
    MazeView > .maze-grid--cursor { color: ansi_default; background: $primary; }
    MapPreview > .map-preview--ice { color: ansi_default; background: ansi_default; }
    MapPreview > .map-preview--start { color: ansi_default; background: ansi_default; }
    MapPreview > .map-preview--hole { color: ansi_default; background: ansi_default; }
    MapPreview > .map-preview--goal { color: $success; background: ansi_default; }
    MapPreview > .map-preview--wall { color: ansi_default; background: ansi_default; }
    MapPreview > .map-preview--bonus { color: $accent; background: ansi_default; }
    MapPreview > .map-preview--lesser { color: $success; background: ansi_default; }
    MapPreview > .map-preview--key { color: $warning; background: ansi_default; }
    MapPreview > .map-preview--door { color: $warning; background: ansi_default; }
    MapPreview > .map-preview--edge { color: ansi_default; background: ansi_default; }
    MapPreview > .map-preview--muted { color: ansi_default; background: ansi_default; }
    LogView > .log--cursor { background: ansi_white; color: ansi_black; }
    LogView > .log--cursor-blurred { background: ansi_default; text-style: underline; }
    SettingsForm { background: ansi_default; }
    Input:focus { text-style: bold; background: ansi_default; }
    Value.-wrong { color: $error; text-style: bold underline; background: ansi_default; }
    Select:focus > SelectCurrent { background: ansi_white; color: ansi_black; }
    Button { background: ansi_default; color: ansi_default; }
    SettingsForm #form-head #submit { background: ansi_default; color: ansi_default; }
    SettingsForm #form-head Button:focus {
        background: ansi_white;
        color: ansi_black;
        text-style: bold;
    }
    SettingsForm #form-head #submit:focus { background: ansi_white; color: ansi_black; }
    Button:focus { background: ansi_white; color: ansi_black; text-style: bold; }
    LessonPanel #lesson-foot { background: ansi_default; }
    LessonPanel:focus #lesson-foot { background: ansi_default; text-style: bold; }
    LessonPanel:focus-within #lesson-foot { background: ansi_default; text-style: bold; }
    .panel:focus-within { border: $frame-chosen $accent; border-title-style: bold reverse; }
    OptionList:focus { border-title-style: bold reverse; }
}
"""
"""What is a tint of a colour elsewhere, where colours cannot be blended."""
