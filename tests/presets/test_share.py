"""Share strings: they recreate a preset exactly, and nothing else that looks like one is taken."""

from __future__ import annotations

import base64
import re
import zlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import presets
from engine.config.preset import Preset
from engine.config.shipped import shipped_names
from engine.core.errors import UserError
from engine.presets import share_string
from engine.presets.share_string import DICTIONARY, LARGEST, LONGEST, is_share, share, unpack

TOML = """
title = "Shared"
[maze]
size = 4
seed = 3
[algorithm]
name = "sarsa"
[budget]
env_steps = 1_000
[run]
seed = 11
"""
EXAMPLES = settings(max_examples=80, deadline=None, database=None, derandomize=True)


def packed(text: bytes, checksum: int | None = None) -> str:
    """A string as an attacker makes it, with the right checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=DICTIONARY)
    data = packer.compress(text) + packer.flush()
    crc = zlib.crc32(text) if checksum is None else checksum
    return "im1:" + base64.urlsafe_b64encode(crc.to_bytes(4, "big") + data).decode().rstrip("=")


@cache
def sample() -> tuple[Preset, str]:
    preset = presets.parse(TOML)
    return preset, share(preset)


@pytest.mark.slow
def test_every_shipped_preset_is_recreated() -> None:
    for name in shipped_names():
        preset = presets.load(name)
        line = share(preset)
        assert re.fullmatch(r"im1:[A-Za-z0-9_-]{100,1500}", line), name
        found = presets.load(line)
        assert found == preset and share(found) == line, name


@EXAMPLES
@given(
    title=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    summary=st.text(st.characters(exclude_categories=["Cs"])),
    seed=st.integers(0, 2**63 - 1),
    agents=st.integers(1, 4096),
    gamma=st.floats(0, 0.999),
    pace=st.none() | st.floats(1e-3, 1e6),
)
def test_any_preset_is_recreated(
    title: str, summary: str, seed: int, agents: int, gamma: float, pace: float | None
) -> None:
    preset, _ = sample()
    run = replace(preset.run, seed=seed, agents=agents, pace=pace)
    algorithm = replace(preset.algorithm, gamma=gamma)
    preset = replace(preset, title=title, summary=summary, run=run, algorithm=algorithm)
    assert presets.load(share(preset)) == preset


def test_changes_come_on_top_and_spaces_around_it_are_lost() -> None:
    preset, line = sample()
    changed = presets.load(f" {line}\n", ["run.seed=5"])
    assert changed.run.seed == 5 and changed.maze == preset.maze
    with pytest.raises(UserError, match=r"the share string with --set run.seed=x: run.seed"):
        presets.load(line, ["run.seed=x"])


def test_a_part_of_a_string_says_so() -> None:
    _, line = sample()
    for end in range(len("im1:"), len(line)):
        with pytest.raises(UserError, match="damaged"):
            presets.load(line[:end])
    with pytest.raises(UserError, match="damaged"):
        presets.load(line + "AAAA")


@EXAMPLES
@given(data=st.data())
def test_a_changed_letter_is_no_other_preset(data: st.DataObject) -> None:
    preset, line = sample()
    place = data.draw(st.integers(4, len(line) - 1))
    letter = data.draw(st.characters())
    try:
        found = presets.load(line[:place] + letter + line[place + 1 :])
    except UserError as error:
        assert len(str(error)) < 500 and "\n" not in str(error)
    else:
        assert found == preset  # the letter it was, or one whose last bits nobody reads


@EXAMPLES
@given(st.one_of(st.binary(max_size=300), st.text().map(str.encode)))
def test_any_content_is_used_or_refused_in_a_sentence(content: bytes) -> None:
    line = "im1:" + base64.urlsafe_b64encode(content).decode()
    for each in (line, packed(content)):
        with pytest.raises(UserError) as caught:
            presets.load(each)
        assert len(str(caught.value)) < 1_000 and str(caught.value).isprintable()


@EXAMPLES
@given(st.text())
def test_any_text_behind_the_prefix_is_refused(text: str) -> None:
    for prefix in ("im1:", "im2:", "im99999:"):
        with pytest.raises(UserError):
            presets.load(prefix + text)


def test_what_is_large_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed(b"a" * 90_000_000)
    assert len(bomb) > LONGEST
    with pytest.raises(UserError, match="characters, more than any"):
        unpack(bomb)
    small = packed(b"#" * (LARGEST * 100))
    assert len(small) < LONGEST
    given: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, *args: object, **named: object) -> None:
            self.real = real(*args, **named)  # type: ignore[arg-type]

        def decompress(self, data: bytes, most: int) -> bytes:
            given.append(most)
            return self.real.decompress(data, most)

    monkeypatch.setattr(share_string.zlib, "decompressobj", Watched)
    with pytest.raises(UserError, match="unpacks to more than 262,144 bytes"):
        unpack(small)
    assert given == [LARGEST + 1]
    with pytest.raises(UserError, match="too large for a share string"):
        share(replace(sample()[0], summary="x" * (LARGEST + 1)))


def test_versions_code_and_other_things_are_told_apart() -> None:
    _, line = sample()
    assert is_share(line) and is_share("im2:x") and is_share(" im12:")
    assert not any(map(is_share, ("im", "im:", "imx:", "im1", "q-learning", "image1:", "")))
    with pytest.raises(UserError, match="of a newer Ice Maze"):
        presets.load("im2" + line[3:])
    with pytest.raises(UserError, match="names a file of code"):
        presets.load(packed(TOML.replace('"sarsa"', '"file:evil.py"').encode()))
    with pytest.raises(UserError, match="holds no preset"):
        presets.load(packed(b"\xff\xfe"))
    with pytest.raises(UserError, match="damaged"):
        unpack(packed(TOML.encode(), checksum=0))
    with pytest.raises(UserError, match=r"the share string: .*title"):
        presets.load(packed(b"[maze]\nsize = 4\n"))
