"""The expressions that lists of runs and presets are filtered by: `algorithm=grpo lr>1e-4 cliff`.

    filter = term …                 all of them must hold
    term   = word                   occurs in id, names, title, algorithm or state
           | -word                  does not
           | field op value
    op     = "=" | "!=" | "<" | "<=" | ">" | ">="
    field  = a figure or fact (`FIELDS`), a key of the preset, or its last part; lr: learning_rate
    value  = a number (1e-4, 90%, 20k), a text in which * is anything, or several: grpo,rloo

Case does not matter; "double quotes" keep blanks and commas together; blanks around an operator do
no harm. Who lacks a field fits no comparison with it. A schedule counts by its start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.core.errors import UserError, nearest, shown
from engine.runs.records import RunSummary

Value = str | float | bool
Values = Mapping[str, Value]
"""The fields of a run or preset: those of `FIELDS` by their names, settings by their full keys."""

FIELDS = {
    "id": "the run's id", "name": "its preset's name", "title": "its title",
    "algorithm": "the algorithm", "state": "running, finished, …", "pinned": "yes or no",
    "success": "success rate", "return": "expected return", "score": "expected score",
    "length": "expected length", "greedy": "success of the greedy policy",
    "steps": "environment steps", "episodes": "episodes", "seconds": "training time",
    "progress": "share of the budget used",
}  # fmt: skip
"""The facts and figures, beside the settings of the preset."""
ALIASES = {"lr": "learning_rate", "preset": "name", "time": "seconds", "env_steps": "steps"} | {
    f"expected_{name}": name for name in ("return", "score", "length")
}
ALIASES |= {"success_rate": "success", "greedy_success_rate": "greedy"}
NUMBERS = ("success", "return", "score", "length", "greedy", "steps", "episodes", "seconds")
TEXTS = ("id", "name", "title", "algorithm", "state")
LONGEST = 500
"""Characters of an expression."""
LEFT_OUT = ("title", "summary", "group", "expect", "maze.map", "run.pace")
"""Keys of a preset that are no settings to search by, or too long."""

_TOKEN = re.compile(r'"([^"]*)"?|(!=|<=|>=|=|<|>)|((?:[^\s"<>=!]|!(?!=))+)')
_SUFFIXES = {"%": 0.01, "k": 1e3, "m": 1e6}
YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


class _Token(NamedTuple):
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `keys` are the full names that its field stands for; none is a word."""

    keys: tuple[str, ...]
    holds: Callable[[Any], bool]
    without: bool = False
    """The word must not occur."""

    def fits(self, words: str, values: Values) -> bool:
        """Whether it holds for these; `words` must be casefolded."""
        if not self.keys:
            return self.holds(words) is not self.without
        return any(key in values and self.holds(values[key]) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Filter:
    """An expression that was understood."""

    terms: tuple[Term, ...] = ()

    def fits(self, words: str, values: Values) -> bool:
        """Whether all of it holds for something with these (casefolded) words and fields."""
        return all(term.fits(words, values) for term in self.terms)

    def only_words(self) -> bool:
        """Whether it compares no field."""
        return not any(term.keys for term in self.terms)


def known_fields(all_values: Iterable[Values]) -> dict[str, type]:
    """The fields that something in a list has, with the type of its values; str for mixed ones."""
    known: dict[str, type] = dict.fromkeys(NUMBERS, float) | dict.fromkeys(TEXTS, str)
    known |= {"progress": float, "pinned": bool}
    for values in all_values:
        for key, value in values.items():
            kind = type(value)
            if known.setdefault(key, kind) is not kind:
                known[key] = str
    return known


def parse(text: str, known: Mapping[str, type]) -> Filter:
    """The filter of an expression over fields such as `known_fields` gives.

    Raises UserError for an unknown field (naming the nearest), a value that is no number where one
    is needed, an operator without its field or value, and for what is too long.
    """
    if len(text) > LONGEST:
        raise UserError(f"A filter has at most {LONGEST} characters, and this has {len(text):,}.")
    tokens = [_token(match) for match in _TOKEN.finditer(text)]
    terms, i = [], 0
    while i < len(tokens):
        token = tokens[i]
        if token.kind == "op":
            raise UserError(f"Expected a field before {token.text!r}, such as success{token.text}…")
        if i + 1 < len(tokens) and tokens[i + 1].kind == "op":
            op = tokens[i + 1].text
            if i + 2 >= len(tokens) or tokens[i + 2].kind == "op":
                raise UserError(f"Expected a value after {shown(token.text)}{op}")
            terms.append(_comparison(token.text, op, tokens[i + 2], known))
            i += 3
        else:
            terms.append(_word(token))
            i += 1
    return Filter(tuple(terms))


def _token(match: re.Match[str]) -> _Token:
    quoted, op, word = match.groups()
    if op:
        return _Token("op", op)
    return _Token("word", word) if word else _Token("quoted", quoted or "")


def _word(token: _Token) -> Term:
    text = token.text.casefold()
    without = token.kind == "word" and len(text) > 1 and text.startswith("-")
    wanted = text[1:] if without else text
    return Term((), lambda words: wanted in words, without)


def _comparison(field: str, op: str, value: _Token, known: Mapping[str, type]) -> Term:
    keys = _keys_of(field, known)
    kind = known[keys[0]] if len({known[key] for key in keys}) == 1 else str
    given = [value.text] if value.kind == "quoted" else value.text.split(",")
    if op in ("=", "!="):
        tests = [_equals(field, op, kind, one) for one in given if one or len(given) == 1]
        if not tests:
            raise UserError(f"Expected a value after {shown(field)}{op}")
        same = op == "="
        return Term(keys, lambda found: any(test(found) for test in tests) is same)
    if kind is str and not any(known[key] is float for key in keys) and keys[0] in TEXTS:
        raise UserError(f"{shown(field)} is a text, so it has no {op}: compare it with = or !=.")
    limit = _number(field, op, value.text)
    compare: Callable[[Any], bool] = {
        "<": lambda found: found < limit, "<=": lambda found: found <= limit,
        ">": lambda found: found > limit, ">=": lambda found: found >= limit,
    }[op]  # fmt: skip
    return Term(keys, lambda found: _is_number(found) and bool(compare(found)))


def _keys_of(field: str, known: Mapping[str, type]) -> tuple[str, ...]:
    """The full names that a field stands for: itself, or all keys whose last part it is."""
    name = field.casefold()
    name = ALIASES.get(name, name)
    if name in known:
        return (name,)
    keys = tuple(key for key in known if key.endswith(f".{name}"))
    keys = keys or tuple(key for key in known if key.endswith(f"{name}.name"))
    if not keys:
        short = {key.rpartition(".")[2] for key in known}
        valid = sorted({*known, *short, *ALIASES})
        near = nearest(name, valid)
        if near.startswith(" Valid"):  # all of them would be a page
            near = f" There are {', '.join(FIELDS)}, and the settings of the presets."
        raise UserError(f"Nothing here has a field {shown(field)!r}.{near}")
    return keys


def _equals(field: str, op: str, kind: type, given: str) -> Callable[[Any], bool]:
    if kind is float:
        wanted = _number(field, op, given)
        return lambda found: _is_number(found) and math.isclose(found, wanted, rel_tol=1e-9)
    if kind is bool:
        word = given.casefold()
        if word not in (*YES, *NO):
            raise UserError(f"Expected yes or no after {shown(field)}{op}, found {shown(given)!r}.")
        return lambda found: found is (word in YES)
    parts = given.casefold().split("*")
    return lambda found: _is_like(str(found).casefold(), parts)


def _is_like(text: str, parts: list[str]) -> bool:
    """Whether a text is these parts with anything between them, in linear time."""
    first, *more = parts
    if not more:
        return text == first
    last = more.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in more:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return text.endswith(last)


def _number(field: str, op: str, given: str) -> float:
    text = given.strip().casefold()
    factor = _SUFFIXES.get(text[-1:], 1.0)
    try:
        number = float(text[:-1] if factor != 1.0 else text) * factor
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"Expected a number after {shown(field)}{op}, such as 0.9, 90% or 1e-4; found "
            f"{shown(given)!r}."
        )
    return number


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


# ---------------------------------------------------------------- what there is to compare


def settings_of(preset: Mapping[str, Any]) -> dict[str, Value]:
    """The settings of a preset by their full keys (`algorithm.learning_rate`), from its plain data.

    A schedule is there as a whole too, by where it starts. Lists and long texts are left out.
    """
    found: dict[str, Value] = {}
    _flatten(preset, "", found)
    return found


def _flatten(table: Mapping[str, Any], prefix: str, found: dict[str, Value]) -> None:
    for name, value in table.items():
        key = prefix + name
        if key in LEFT_OUT:
            continue
        if isinstance(value, dict):
            if isinstance(start := value.get("start"), int | float):
                found[key] = float(start)
            if len(prefix) < LONGEST:  # a damaged file may be nested as deep as it likes
                _flatten(value, f"{key}.", found)
        elif isinstance(value, bool):
            found[key] = value
        elif isinstance(value, int | float):
            if abs(value) < 1e300:
                found[key] = float(value)
        elif isinstance(value, str) and len(value) <= LONGEST:
            found[key] = value


def cast_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """Those of the values that there are: None and NaN are left out, numbers are floats."""
    return {
        key: float(value) if _is_number(value) else value
        for key, value in values.items()
        if value is not None and value == value
    }


def words_of(*texts: str) -> str:
    """Texts as `fits` looks for words in them."""
    return " ".join(texts).casefold()


def run_words(run: RunSummary) -> str:
    """What words are looked for in, of a run."""
    return words_of(run.id, run.title, run.preset_name, run.state, run.algorithm)


def run_values(run: RunSummary, progress: float | None = None) -> dict[str, Value]:
    """The fields of a run; `progress` is the share of its budget that is used."""
    figures = {name.removeprefix("expected_"): value for name, value in run.figures.items()}
    facts = {
        "id": run.id, "name": run.preset_name, "title": run.title, "algorithm": run.algorithm,
        "state": run.state, "pinned": run.pinned, "success": run.success_rate,
        "return": figures.get("return"), "score": figures.get("score"),
        "length": figures.get("length"), "greedy": figures.get("greedy_success_rate"),
        "steps": run.env_steps, "episodes": run.episodes, "seconds": run.seconds,
        "progress": progress,
    }  # fmt: skip
    return {**run.settings, **cast_values(facts)}
