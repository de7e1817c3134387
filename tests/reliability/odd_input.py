"""Presets, settings and maps as nobody should write them: strategies for hypothesis.

Most are a shipped preset with something changed, so that what is odd about them comes late: past
the parser, past the types, in the checks of what goes together.
"""

from __future__ import annotations

import copy
import tomllib
from functools import cache
from typing import Any

from hypothesis import strategies as st

from engine.config.shipped import shipped_files
from engine.env.maze import TILES
from engine.presets import toml
from engine.presets.schema import llm_preset_type, preset_type, schema_of

Data = dict[str, Any]
Path = tuple[str | int, ...]

HUGE = (10**6, 10**9, 2**31, 2**63 - 1, -(2**63), 2**64, 10**18, 10**30, 10**400)
NUMBERS = (0, 1, -1, 2, 0.5, -0.0, 1e-300, 1e300, 1e308, -1e308, float("nan"), float("inf"), *HUGE)
TEXTS = (
    "", " ", "\n", "é", "\u202e", "\u200b", "\x1b[31m", "\x00", "\x7f", "\x9b", "[@click=app.bell]",
    "[/foo]", "{}", "{key}", "%s", "𝔘", "a" * 300, "a\tb", "'", '"', "\\", "'''", '"""', "nan",
    "file:", "file:x.py", "file:../../etc/passwd", "/etc/passwd", "..", "random", "1/n", "S", "SG",
)  # fmt: skip


@cache
def shipped() -> dict[str, Data]:
    """The data of every shipped preset by name."""
    return {name: tomllib.loads(file.read_text("utf-8")) for name, file in shipped_files().items()}


@cache
def keys() -> list[str]:
    """Every dotted key that some preset may have, down to nested tables."""
    found: dict[str, None] = {}
    for kind in (preset_type(), llm_preset_type()):
        schema = schema_of(kind)
        _collect(schema, schema, "", 4, found)
    return list(found)


def _collect(node: Data, schema: Data, path: str, depth: int, found: dict[str, None]) -> None:
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    for branch in node.get("anyOf", ()):
        _collect(branch, schema, path, depth, found)
    for key, child in node.get("properties", {}).items() if depth else ():
        inside = f"{path}.{key}" if path else key
        found[inside] = None
        _collect(child, schema, inside, depth - 1, found)


# ---------------------------------------------------------------- values

texts = st.sampled_from(TEXTS) | st.text(max_size=20)
leaves = (
    st.sampled_from(NUMBERS) | texts | st.booleans() | st.integers() | st.floats()
    | st.dates() | st.times() | st.datetimes() | st.sampled_from(["end", "cell", "off", "you"])
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
"""Anything TOML can hold, and some that it cannot."""

rows = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.text(TILES + "X 0\t", min_size=n, max_size=n), min_size=1, max_size=6)
)
maps = rows.map("\n".join) | st.text(TILES + "\n", max_size=80) | texts


@st.composite
def changed(draw: st.DrawFn) -> Data:
    """The data of a shipped preset with up to four changes."""
    data = copy.deepcopy(shipped()[draw(st.sampled_from(sorted(shipped())))])
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from(CHANGES))
        change(draw, data)
    return data


def _paths(data: Any, path: Path = ()) -> list[Path]:
    inside = data.items() if isinstance(data, dict) else enumerate(data)
    found: list[Path] = []
    for key, value in inside:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += _paths(value, (*path, key))
    return found


def _somewhere(draw: st.DrawFn, data: Data) -> tuple[Any, str | int] | None:
    """A table or list of the data, and a key in it."""
    paths = _paths(data)
    if not paths:
        return None
    *way, key = draw(st.sampled_from(paths))
    inside: Any = data
    for step in way:
        inside = inside[step]
    return inside, key


def _replace(draw: st.DrawFn, data: Data) -> None:
    if (place := _somewhere(draw, data)) is not None:
        place[0][place[1]] = draw(values)


def _scale(draw: st.DrawFn, data: Data) -> None:
    """Another number where a number was."""
    place = _somewhere(draw, data)
    if place is not None and isinstance(place[0][place[1]], int | float):
        place[0][place[1]] = draw(st.sampled_from(NUMBERS) | st.integers() | st.floats())


def _remove(draw: st.DrawFn, data: Data) -> None:
    if (place := _somewhere(draw, data)) is not None:
        del place[0][place[1]]


def _set(draw: st.DrawFn, data: Data) -> None:
    """A key that some preset may have, with anything as its value."""
    *way, key = draw(st.sampled_from(keys())).split(".")
    inside: Any = data
    for step in way:
        if not isinstance(inside.get(step), dict):
            inside[step] = {}
        inside = inside[step]
    inside[key] = draw(maps if key == "map" else values)


def _mix(draw: st.DrawFn, data: Data) -> None:
    """A whole table of another preset."""
    other = shipped()[draw(st.sampled_from(sorted(shipped())))]
    name = draw(st.sampled_from(sorted(other)))
    data[name] = copy.deepcopy(other[name])


CHANGES = (_replace, _scale, _scale, _remove, _set, _set, _set, _mix)


# ---------------------------------------------------------------- texts


def text_of(data: Data) -> str:
    """Data as TOML; `toml.write` is for what has the shape of a preset."""
    return "".join(f"{toml.inline(key)} = {toml.inline(value)}\n" for key, value in data.items())


changed_texts = changed().map(text_of)


@st.composite
def garbled(draw: st.DrawFn) -> bytes:
    """The bytes of a shipped preset, cut, doubled or with others among them."""
    data = toml.write(shipped()[draw(st.sampled_from(sorted(shipped())))]).encode()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 40)))
        kind = draw(st.integers(0, 3))
        more = draw(st.binary(max_size=12)) if kind == 0 else b""
        if kind == 1:
            more = draw(st.sampled_from(FRAGMENTS))
        data = data[:at] + more + (data[at:] if kind == 1 else data[to:])
        if kind == 3:
            data = data[:to] + data[at:]
    return data


FRAGMENTS = (
    b"\xef\xbb\xbf", b"\x00", b"\xff\xfe", b"[", b"]", b"[[", b"{", b"}", b"=", b"\n", b"\r",
    b'"""',
    b"'''", b'"', b"#", b".", b"a.b.c = 1\n", b"[maze]\n", b"[algorithm]\n", b"[[expect]]\n",
    b"[" * 5000, b"x = " + b"[" * 3000 + b"]" * 3000, b"x = " + b"{a = " * 2000,
    b".".join([b"a"] * 3000) + b" = 1\n", b"9" * 5000, b"x = 0x" + b"f" * 9000, b"1e999", b"1e-999",
    b"1979-05-27T07:32:00Z", b"25:61:61", b"\\ud800", b"name = []\n", b"name = {a = 1}\n",
)  # fmt: skip

overrides = st.one_of(
    st.builds("{}={}".format, st.sampled_from(keys()), values.map(toml.inline)),
    st.builds("{}={}".format, st.sampled_from(keys()), texts),
    st.builds("{}={}".format, texts, texts),
    st.builds("maze.map={}".format, maps),
    st.builds("maze.changes=[{{step = 5, map = {}}}]".format, maps.map(toml.inline)),
    st.builds(
        "{}={}".format, st.sampled_from(keys()),
        st.sampled_from(["[" * 3000, "9" * 5000, "9" * 400 + "e9", "1e99", "{a=" * 900, "1\nb=2"]),
    ),
    st.builds("{}={}".format, st.sampled_from(keys()), st.sampled_from(["\ud800", "\udcff x"])),
    st.sampled_from(["a." * 5000 + "a=1", "=", "", ".=1", "a..b=1", "maze=1", "algorithm=[]",
                     "run.seed.x=1", "expect.metric=1", "maze.map", "=1", "maze.=1"]),
)  # fmt: skip
"""What may stand after `--set`."""

maze_overrides = st.one_of(
    st.builds(
        "{}={}".format,
        st.sampled_from([key for key in keys() if key.startswith("maze.")]),
        values.map(toml.inline),
    ),
    st.builds("maze.map={}".format, maps),
    st.builds("maze.slip={}".format, st.floats()),
)
"""Those that change the maze."""

environments = st.builds(
    lambda name, kwargs: [f"maze.gymnasium={name}", f"maze.kwargs={toml.inline(kwargs)}"],
    st.sampled_from(
        ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v4", "CartPole-v1", "MaximizationBias-v0", "x"]
    ) | texts.map(repr),
    st.dictionaries(
        st.sampled_from(["desc", "map_name", "is_slippery", "render_mode", "success_rate", "env"]),
        values | rows | st.sampled_from(["4x4", "8x8", "9x9"]), max_size=3,
    ),
)  # fmt: skip
"""An environment of Gymnasium's with arguments, as changes by `--set`."""
