"""The challenges of the lab: what fails, what mends it, and the measured difference claimed.

A challenge is a folder `presets/lab/<name>/` with a `challenge.toml`, the presets it runs, and a
lesson. `load_challenge` reads and validates one; every mistake is a `UserError` that names the
file, the key, what was found and what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.config import shipped
from engine.config.shipped import CHALLENGE_FILE, LAB_FOLDER, shipped_names
from engine.core.errors import UserError, nearest
from engine.experiments.intervals import Statistic
from engine.presets.errors import check_values, explain, show

LESSON = "lesson.md"

Text = Annotated[str, Meta(min_length=1)]

TIMES = frozenset({"first_optimal_step", "first_optimal_episode", "recovery_steps"})
"""Figures that an agent has only once it got there: unless a claim says otherwise, groups of agents
are compared by their medians, in which an agent that never got there counts as infinitely late."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of `challenge.toml`: unknown keys are errors."""


class Claimed(Table, frozen=True, kw_only=True):
    """A claim: the 95 % interval must lie within the bounds, with its near end."""

    at_least: Annotated[
        float | None, Meta(description="the interval's lower end must not be below this")
    ] = None
    at_most: Annotated[
        float | None, Meta(description="the interval's upper end must not be above this")
    ] = None
    says: Annotated[str, Meta(description="the claim as one plain sentence")] = ""


class Comparison(Claimed, frozen=True, kw_only=True):
    """A claim on a figure of one preset's agents against another's."""

    metric: Annotated[Text, Meta(description="a figure that each agent has at the end of its run")]
    of: Annotated[Text, Meta(description="the preset whose figure it is")]
    against: Annotated[Text, Meta(description="the preset it is compared with")]
    kind: Annotated[
        Literal["difference", "ratio"], Meta(description="of minus against, or of over against")
    ] = "difference"
    statistic: Annotated[
        Statistic | None,
        Meta(
            description="what stands for all agents: their mean; their median, where one that has "
            "no such figure is worse than all others (infinite); or the share that has one. "
            "Default: the median for times until something, else the mean"
        ),
    ] = None

    @property
    def measure(self) -> Statistic:
        """The statistic that stands for a group of agents."""
        return self.statistic or default_statistic(self.metric)


class Growth(Claimed, frozen=True, kw_only=True):
    """How a figure grows with the size of the maze: the exponent of a power law fitted to it."""

    preset: Annotated[Text, Meta(description="the preset that is run once for each value")]
    vary: Annotated[Text, Meta(description="the key that is varied, such as maze.size")]
    values: Annotated[list[int | float], Meta(min_length=3, description="its values, rising")]
    against: Annotated[
        Literal["cells", "states", "value"],
        Meta(description="what it is fitted against: cells, states, or the varied value itself"),
    ] = "cells"
    metric: Annotated[Text, Meta(description="a figure each agent has at the end of its run")] = (
        "first_optimal_step"
    )
    statistic: Annotated[
        Literal["mean", "median"] | None,
        Meta(description="what stands for the agents of one run (see compare)"),
    ] = None

    @property
    def measure(self) -> Statistic:
        """The statistic that stands for the agents of one run."""
        return self.statistic or default_statistic(self.metric)


class GrowthComparison(Claimed, frozen=True, kw_only=True):
    """A claim on the difference of two fitted exponents: that of `of` minus that of `against`."""

    of: Annotated[Text, Meta(description="a preset with a [[growth]] of its own")]
    against: Annotated[Text, Meta(description="another preset with a [[growth]] of its own")]


class ChallengeFile(Table, frozen=True, kw_only=True):
    """`challenge.toml`, as written."""

    number: Annotated[int, Meta(ge=1, description="its place in the list")]
    title: Annotated[Text, Meta(description="the challenge's name, for people")]
    question: Annotated[Text, Meta(description="what the experiment answers, in one sentence")]
    terms: Annotated[list[Text], Meta(description="glossary entries it is about")] = []
    failing: Annotated[Text, Meta(description="the preset that fails")]
    remedies: Annotated[list[Text], Meta(min_length=1, description="presets that do better")]
    llm: Annotated[
        list[Text], Meta(description="further presets, which train language models: run on request")
    ] = []
    curves: Annotated[list[Text], Meta(description="figures to show first, side by side")] = []
    compare: list[Comparison] = []
    growth: list[Growth] = []
    growth_compare: list[GrowthComparison] = []


class Challenge(ChallengeFile, frozen=True, kw_only=True):
    """One challenge of the lab. `name` is its folder's."""

    name: str
    folder: Path

    @property
    def presets(self) -> tuple[str, ...]:
        """The names of the presets it is about: the failing one, then the remedies."""
        return (self.failing, *self.remedies)

    @property
    def lesson(self) -> Path:
        """Where its lesson is, or would be."""
        return self.folder / LESSON


def default_statistic(metric: str) -> Statistic:
    """The statistic that stands for a group of agents unless a claim says otherwise."""
    return "median" if metric in TIMES else "mean"


# ---------------------------------------------------------------- finding


def lab_folder() -> Path:
    """Where the shipped challenges are, one folder each."""
    return shipped.FOLDER / LAB_FOLDER


def challenge_names() -> list[str]:
    """The names of the shipped challenges, by their number as far as it can be read."""
    return [name for _, name in sorted((_number(path), path.parent.name) for path in _files())]


def all_challenges(terms: Collection[str] | None = None) -> list[Challenge]:
    """Every shipped challenge by its number. Raises UserError for the first mistake in one.

    `terms` are the glossary's entries, where they are known: others are then refused.
    """
    found = sorted((_load(path, terms) for path in _files()), key=lambda c: (c.number, c.name))
    for before, after in pairwise(found):
        if before.number == after.number:
            raise UserError(
                f"{after.name}/{CHALLENGE_FILE}: number: found {after.number}, which "
                f"{before.name} has too; expected a number of its own."
            )
    return found


def load_challenge(name: str, terms: Collection[str] | None = None) -> Challenge:
    """The shipped challenge of that name, or of that number. Raises UserError.

    `terms` are the glossary's entries, where they are known: others are then refused.
    """
    files = {path.parent.name: path for path in _files()}
    if name.isdecimal():
        numbers = {_number(path): path for path in files.values()}
        path = numbers.get(int(name))
    else:
        path = files.get(name)
    if path is None:
        names = challenge_names()
        raise UserError(
            f"There is no challenge {name!r}.{nearest(name, names)} `icemaze lab` shows them all."
        )
    return _load(path, terms)


def _files() -> list[Path]:
    return sorted(lab_folder().glob(f"*/{CHALLENGE_FILE}"))


def _number(path: Path) -> int:
    """The challenge's number; those that cannot be read stand last."""
    try:
        number = tomllib.loads(path.read_text("utf-8")).get("number")
    except (OSError, ValueError):
        number = None
    return number if isinstance(number, int) else 10**9


# ---------------------------------------------------------------- reading


def _load(path: Path, terms: Collection[str] | None) -> Challenge:
    where = f"{path.parent.name}/{path.name}"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Expected a UTF-8 TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {error}; mend it.") from error
    try:
        written = convert(data)
        _check(written, terms)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    fields = {name: getattr(written, name) for name in written.__struct_fields__}
    return Challenge(name=path.parent.name, folder=path.parent, **fields)


def convert(data: dict[str, Any]) -> ChallengeFile:
    """Parsed TOML to `ChallengeFile`. Raises UserError for anything that does not fit."""
    check_values(data)
    try:
        return msgspec.convert(data, ChallengeFile, strict=True)
    except msgspec.ValidationError as error:
        raise UserError(explain(error, data, msgspec.json.schema(ChallengeFile))) from error


def _check(challenge: ChallengeFile, terms: Collection[str] | None) -> None:
    """Check what types cannot say: presets and terms exist, and claims are about them."""
    known = shipped_names()
    own = [challenge.failing, *challenge.remedies, *challenge.llm]
    _among("failing", [challenge.failing], known)
    _among("remedies", challenge.remedies, known)
    _among("llm", challenge.llm, known)
    for i, name in enumerate(own):
        if name in own[:i]:
            raise UserError(f"the preset {show(name)} is named twice; name it once.")
    if terms is not None:
        _among("terms", challenge.terms, terms, "glossary entry")
    for key in ("compare", "growth", "growth_compare"):
        for i, claim in enumerate(getattr(challenge, key)):
            where = f"{key}[{i}]"
            _check_bounds(where, claim, needed=key != "growth")
            if isinstance(claim, Growth):
                _check_growth(where, claim, known)
    for i, comparison in enumerate(challenge.compare):
        for side in ("of", "against"):
            _among(f"compare[{i}].{side}", [getattr(comparison, side)], own, "preset it runs")
    grown = [growth.preset for growth in challenge.growth]
    for i, pair in enumerate(challenge.growth_compare):
        for side in ("of", "against"):
            name = getattr(pair, side)
            _among(f"growth_compare[{i}].{side}", [name], grown, "preset with a [[growth]]")


def _among(
    key: str, names: Iterable[str], known: Collection[str], what: str = "shipped preset"
) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}: found {show(name)}, expected the name of a {what}."
                f"{nearest(name, sorted(known))}"
            )


def _check_bounds(where: str, claim: Claimed, needed: bool) -> None:
    if needed and claim.at_least is None and claim.at_most is None:
        raise UserError(f"{where}: the claim has no bound; add at_least or at_most.")
    if claim.at_least is not None and claim.at_most is not None and claim.at_least > claim.at_most:
        raise UserError(
            f"{where}: found at_least = {claim.at_least:g} above at_most = {claim.at_most:g}; "
            "expected bounds with something between them."
        )


def _check_growth(where: str, growth: Growth, known: Collection[str]) -> None:
    _among(f"{where}.preset", [growth.preset], known)
    values = growth.values
    if any(a >= b for a, b in pairwise(values)) or values[0] <= 0:
        raise UserError(
            f"{where}.values: found {show(values)}, expected numbers above 0, each larger than "
            "the one before."
        )
