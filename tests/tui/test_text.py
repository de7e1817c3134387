"""The sanitiser, the number formats, the glyph sets, and the terms."""

from __future__ import annotations

import random
import unicodedata

import pytest
from rich.cells import cell_len

from tui.ui import glyphs, text
from tui.ui.fact import Term
from tui.ui.terms import unique

ATTACKS = {
    "\x1b[31mred\x1b[0m": "red",
    "\x1b[2J\x1b[1;1Hhome": "home",
    "a\x1b]0;title\x07b": "ab",
    "a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b": "alinkb",
    "a\x1b]52;c;aGk=": "a",
    "a\x9b31mb": "ab",
    "a\x9d0;title\x9cb": "ab",
    "a\x1bPpayload\x1b\\b": "ab",
    "a\x1b_payload\x1b\\b": "ab",
    "a\x1b(0b": "ab",
    "a\x1bcb": "ab",
    "end\x1b": "end",
    "\x1b\x1b[31m[31mx": "[31mx",
    "abc\u202edcba": "abcdcba",
    "\u2066x\u2069\u200f": "x",
    "a\x00b\x08c\x7fd": "abcd",
    "zero\u200bwidth\ufeff": "zerowidth",
    "\U000e0041tag": "tag",
    "a\u2060b\xadc\u2064d\u206ae\ufff9f\ufffbg\U000e0100h\ufe0f": "abcdefgh",
    "e" + "\u0301" * 30 + "x": "e" + "\u0301" * 4 + "x",
    "\u0301" * 30: "◌" + "\u0301" * 4,
    "lone \ud800 half": "lone \ufffd half",
    "naïve 你好 ★": "naïve 你好 ★",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_a_terminal_obeys_survives(attack: str) -> None:
    assert text.clean(attack) == ATTACKS[attack]


def test_every_character_of_unicode_is_visible_or_gone() -> None:
    for code in range(0x110000):
        kind = unicodedata.category(char := chr(code))
        if kind in ("Cc", "Cf", "Cs", "Zl", "Zp") and not text._SEQUENCES.match(char):
            assert text.clean(f"a{char}b") in ("ab", "a b", "a\ufffdb"), hex(code)
        elif kind[0] == "M":
            assert len(text.clean("a" + char * 9)) <= 1 + text.MARKS, hex(code)


def test_line_breaks_and_tabs() -> None:
    assert text.clean("a\r\nb\rc\u2028d\te") == "a b c d e"
    assert text.clean("a\r\nb\rc\u2028d\te", lines=True) == "a\nb\nc\nd    e"


def test_random_text_is_safe_and_cleaning_twice_changes_nothing() -> None:
    rng = random.Random(1)
    alphabet = "\x1b\x9b\x9d\x07\x9c[]();mHPX^_\\0123 ab\n\r\t\u202e\u2066\x00\x7f\x85"
    for _ in range(3000):
        raw = "".join(rng.choices(alphabet, k=rng.randrange(24)))
        for lines in (False, True):
            cleaned = text.clean(raw, lines=lines)
            rest = cleaned.replace("\n", "") if lines else cleaned
            assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in rest), repr(raw)
            assert text.clean(cleaned, lines=lines) == cleaned


def test_fit_is_exact_in_cells() -> None:
    assert text.fit("maze", 6) == "maze  "
    assert text.fit("labyrinth", 6) == "labyr…"
    assert text.fit("你好你好", 5) == "你好…"
    assert [cell_len(text.fit("你好你好", n)) for n in range(9)] == list(range(9))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (0.5942, "0.594"), (1.0, "1.00"), (12.345, "12.3"), (-13.96, "-14.0"),
        (0.99999, "1.00"), (99_999.0, "1.00e5"), (0.0001, "1.00e-4"), (1e-12, "1.00e-12"),
        (float("nan"), "-"), (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_number(value: float, shown: str) -> None:
    assert text.number(value) == shown


def test_signed_and_counts_and_shares() -> None:
    assert [text.signed(x) for x in (0.5, -0.5, 0.0)] == ["+0.500", "-0.500", "0"]
    assert [text.si(x) for x in (0, 9999, 12_345, 999_999, 4.567e9)] == [
        "0", "9999", "12.3k", "1.00M", "4.57G",
    ]  # fmt: skip
    assert [text.percent(x) for x in (0, 1, 0.5, 0.0004, 0.9999)] == [
        "0%", "100%", "50%", "0.04%", "99.9%",
    ]  # fmt: skip
    assert [text.percent(x) for x in (9e-16, 0.000_099, 0.000_1, 0.999_91, 1 - 1e-15)] == [
        "<0.01%", "<0.01%", "0.01%", ">99.99%", ">99.99%",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "width", "shown"),
    [
        (0.594, 5, "0.594"), (0.594, 4, "0.59"), (0.594, 3, ".59"), (-0.594, 5, "-0.59"),
        (-0.594, 4, "-.59"), (-13.96, 5, "-14.0"), (1.0, 5, "1"), (0.0, 3, "0"),
        (0.0001, 3, "~0"), (0.0004, 5, ".0004"), (15_230.0, 4, "15k"), (-100.0, 3, "###"),
    ],
)  # fmt: skip
def test_fit_number(value: float, width: int, shown: str) -> None:
    assert text.fit_number(value, width) == shown


def test_fit_number_never_exceeds_its_width_and_never_lies_about_zero() -> None:
    rng = random.Random(2)
    for _ in range(3000):
        value = rng.choice((1, -1)) * 10 ** rng.uniform(-8, 8)
        width = rng.randrange(2, 9)
        shown = text.fit_number(value, width)
        assert 0 < len(shown) <= width
        assert shown != "0"
        if shown.strip("#") and shown != "~0" and shown[-1] not in "kMGTP":
            assert 0.5 <= float(shown) / value <= 2


def test_glyphs_are_one_cell_wide_and_ascii_is_ascii() -> None:
    for glyph_set in (glyphs.UNICODE, glyphs.ASCII):
        for field in glyph_set.__slots__:
            value = getattr(glyph_set, field)
            parts = value.values() if isinstance(value, dict) else value
            if isinstance(value, bool):
                continue
            for char in "".join(parts):
                assert cell_len(char) == 1, (field, char)
                assert ord(char) < 0x10000
                assert char.isascii() or not glyph_set.ascii, (field, char)


def test_the_glyph_set_follows_setting_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ICEMAZE_ASCII", "LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.ISO-8859-1")
    glyphs.choose(None)
    assert glyphs.current().ascii
    monkeypatch.setenv("ICEMAZE_ASCII", "0")
    glyphs.choose(None)
    assert not glyphs.current().ascii
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("ICEMAZE_ASCII", "1")
    glyphs.choose(None)
    assert glyphs.current().ascii
    assert glyphs.plain("δ → ★ é 丸") == "delta -> G e ?"
    assert glyphs.plain("π(←|s)") == "pi(<|s)"
    assert glyphs.plain("G ← r₁ + γⁿ⁻¹ rₙ") == "G <- r_1 + gamma^(n-1) r_n"
    glyphs.choose(False)
    try:
        assert not glyphs.current().ascii
    finally:
        monkeypatch.undo()
        glyphs.choose(None)


def test_each_slug_is_listed_once_in_reading_order() -> None:
    shown = [Term("state", "state"), Term("reward", "reward"), Term("s", "state")]
    assert unique(shown) == [Term("state", "state"), Term("reward", "reward")]
