"""A preset as one line to paste: `im1:` and letters. It recreates maze, algorithm, budget and seed.

Inside is the preset as TOML, without what is a default anyway, compressed, with a checksum, so that
a line that was cut is told from a wrong preset. What comes in is read like any foreign preset: its
size is bounded before and after it is unpacked, and it holds no code.

    im1:<base64url without padding of: CRC-32 of the TOML, 4 bytes big-endian; raw DEFLATE of it>
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import msgspec

from engine.config.preset import LlmPreset, Preset, algorithm_name
from engine.core.errors import UserError, shown
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.presets import toml

PREFIX = "im1:"
FAMILY = "im"
"""How every version of it begins, before its number."""
LONGEST = 100_000
"""Characters; the longest of the shipped presets has about a thousand."""
LARGEST = 2**18
"""Bytes of TOML that are unpacked: a bomb of a few characters may hold gigabytes."""
DICTIONARY = (
    b'"""\nSFFF\nFHFH\nFFFH\nHFFG\n"""\n[warmup]\n[reward]\n[deploy]\n[[expect]]\nmetric = '
    b'"success_rate"\nat_least = 0.\nat_most = \npolicy = "route"\ngroup = "llm"\nname = "sarsa"\n'
    b'group = "policy-gradient"\ngroup = "challenge"\nsummary = "\nslip = 0.6666666666666666\n'
    b"size = 8\nhole_density = \nstep = -0.0\nmax_steps = \n[maze.rewards]\nrewards = {goal = 1.0, "
    b'hole = -1.0, step = -0.0}\n[model]\nname = "smollm2-135m"\ngroup_size = 8\n[algorithm]\nname '
    b'= "q-learning"\nlearning_rate = 0.1\ngamma = 0.99\nexploration = {kind = "epsilon-greedy", '
    b"start = 1.0, end = 0.05, steps = 000}\nlearning_rate = {start = 0.5, end = 0.0, steps = 000, "
    b'shape = "exponential"}\n[budget]\nenv_steps = 0000\nepisodes = 00\nupdates = 00\n[run]\n'
    b'agents = 1\nseed = 1\npace = 4.0\ntitle = "\n[maze]\nmap = '
)
"""What presets are made of: the compressor refers to it. It belongs to version 1, for ever."""


def is_share(text: str) -> bool:
    """Whether somebody means a share string, of whatever version."""
    head, colon, _ = text.strip().partition(":")
    return bool(colon) and head[:2] == FAMILY and head[2:].isdecimal()


def share(preset: Preset) -> str:
    """The line for a preset; the same preset always gives the same. Raises UserError for one whose
    algorithm is a file of the user's own."""
    if algorithm_name(preset).startswith(CUSTOM_PREFIX):
        raise UserError(
            f"The preset trains with an algorithm of your own ({algorithm_name(preset)}), which a "
            "share string cannot hold: it never carries code. Send the preset and that file."
        )
    text = toml.write(_told(preset)).encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    packed = packer.compress(text) + packer.flush()
    data = zlib.crc32(text).to_bytes(4, "big") + packed
    line = PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")
    if len(line) > LONGEST or len(text) > LARGEST:
        raise UserError(
            f"The preset is too large for a share string ({len(line):,} characters, at most "
            f"{LONGEST:,}); send it as a file."
        )
    return line


def unpack(line: str) -> str:
    """The TOML text in a share string; it is checked as any preset when it is parsed. Raises
    UserError, with what is wrong and what to do."""
    line = line.strip()
    if not line.startswith(PREFIX):
        raise UserError(
            f"{shown(line, 20)}: this share string is of a newer Ice Maze (this one knows "
            f"{PREFIX}…). Update with `pip install -U icemaze`."
        )
    if len(line) > LONGEST:
        raise UserError(
            f"the share string has {len(line):,} characters, more than any ({LONGEST:,}); give the "
            "preset as a file."
        )
    text = _unpacked(line[len(PREFIX) :])
    try:
        decoded = text.decode("utf-8")
        data = toml.read(decoded)
    except (UnicodeDecodeError, UserError) as error:
        raise UserError(f"the share string holds no preset ({error}).") from error
    algorithm = data.get("algorithm")
    name = algorithm.get("name") if isinstance(algorithm, dict) else None
    if isinstance(name, str) and name.startswith(CUSTOM_PREFIX):
        raise UserError(
            f"the share string names a file of code ({shown(name)}), which none may: ask for the "
            "preset and the file."
        )
    return decoded


def _unpacked(letters: str) -> bytes:
    cut = UserError(
        "the share string is damaged: a part of it is missing or was changed. Copy the whole line, "
        "from im1: to its last letter."
    )
    try:
        data = base64.b64decode(
            letters.encode("ascii") + b"=" * (-len(letters) % 4), altchars=b"-_", validate=True
        )
        unpacker = zlib.decompressobj(-15, zdict=DICTIONARY)
        text = unpacker.decompress(data[4:], LARGEST + 1)
    except (UnicodeEncodeError, binascii.Error, zlib.error) as error:
        raise cut from error
    if len(text) > LARGEST:
        raise UserError(
            f"the share string unpacks to more than {LARGEST:,} bytes, which no preset has; it was "
            "not read on."
        )
    if (
        not unpacker.eof
        or unpacker.unused_data
        or zlib.crc32(text) != int.from_bytes(data[:4], "big")
    ):
        raise cut
    return text


def _told(preset: Preset) -> dict[str, Any]:
    """The preset as data, without values that are their defaults."""
    data = _without_defaults(preset)
    if isinstance(preset, LlmPreset) and preset.text is not None:
        data.pop("maze", None)
    return data


def _without_defaults(struct: msgspec.Struct) -> dict[str, Any]:
    config = struct.__struct_config__
    data: dict[str, Any] = {}
    if config.tag is not None:
        data[str(config.tag_field)] = config.tag
    for field in msgspec.structs.fields(type(struct)):
        value = getattr(struct, field.name)
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is msgspec.NODEFAULT or type(value) is not type(default) or value != default:
            data[field.encode_name] = (
                _without_defaults(value)
                if isinstance(value, msgspec.Struct)
                else msgspec.to_builtins(value)
            )
    return data
