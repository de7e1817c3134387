"""Completions of another trainer, as the groups of a run.

What is kept of an update is what anybody reads: the first groups, of each the best, the worst, and
members between them; long texts are cut, with a word that they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, pstdev

import msgspec

from engine.external.names import whole
from engine.learning.events import Group, Member

KEPT_GROUPS = 4
KEPT_MEMBERS = 16
"""As of Ice Maze's own runs."""
LONGEST_TEXT = 20_000
"""Characters of a prompt or a completion that are kept."""
MOST_TOKENS = 4096
MOST_PARTS = 20

Messages = list[dict[str, object]]
"""A conversation: objects with `role` and `content`, as chat templates take them."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One completion: what was asked, what was written, and what it earned."""

    prompt: str | Messages = ""
    completion: str | Messages
    reward: float | None = None
    parts: dict[str, float | None] = {}
    """The reward's named parts, before they are weighed; None where one did not judge."""
    advantage: float | None = None
    group: int | str | None = None
    """Completions with the same one were compared; by default those of the same prompt."""
    cut_off: bool | None = None
    """Whether it ran into the token limit; None where that is not known."""
    tokens: list[str] = []
    log_probs: list[float] = []
    """Of each token, where it is known."""


def text_of(told: str | Messages) -> str:
    """A text, or a conversation as one: each message behind its role."""
    if isinstance(told, str):
        return told
    return "\n".join(f"{m.get('role', '?')}: {_content(m.get('content', ''))}" for m in told)


def _content(content: object) -> str:
    """A message's text; of parts of several kinds, the text among them."""
    if isinstance(content, list):
        texts = [part.get("text", "…") for part in content if isinstance(part, dict)]
        return " ".join(str(text) for text in texts)
    return str(content)


def groups(step: int, told: Sequence[Rollout]) -> Iterator[Group]:
    """The groups of an update that are kept, as events."""
    by_group: dict[str, list[Rollout]] = {}
    for one in told:
        key = text_of(one.prompt) if one.group is None else f"group {one.group}"
        by_group.setdefault(key, []).append(one)
    for index, members in enumerate(list(by_group.values())[:KEPT_GROUPS]):
        totals = [reward_of(one) for one in members]
        known = [total for total in totals if math.isfinite(total)]
        yield Group(
            step=step,
            world_id=0,
            index=index,
            size=len(members),
            prompt=_cut(text_of(members[0].prompt)),
            members=tuple(_member(members[i], totals[i]) for i in _kept(totals)),
            mean=fmean(known) if known else math.nan,
            spread=pstdev(known) if known else math.nan,
        )


def reward_of(one: Rollout) -> float:
    """What it earned: as told, else the sum of its parts; NaN where nothing is known."""
    if one.reward is not None:
        return one.reward
    parts = [part for part in one.parts.values() if part is not None and math.isfinite(part)]
    return sum(parts) if parts else math.nan


def _kept(totals: Sequence[float]) -> list[int]:
    """Which members are kept: the best, the worst, and between them at even distances in rank."""
    order = sorted(range(len(totals)), key=lambda i: -totals[i] if math.isfinite(totals[i]) else 0)
    if len(order) <= KEPT_MEMBERS:
        return sorted(order)
    places = [round(i * (len(order) - 1) / (KEPT_MEMBERS - 1)) for i in range(KEPT_MEMBERS)]
    return sorted(order[place] for place in places)


def _member(one: Rollout, total: float) -> Member:
    text = _cut(text_of(one.completion))
    tokens = (
        tuple(map(whole, one.tokens[:MOST_TOKENS]))
        if sum(map(len, one.tokens)) <= LONGEST_TEXT
        else ()
    )
    known = len(one.log_probs) == len(one.tokens)
    parts = [(whole(name[:60]), part) for name, part in one.parts.items() if part is not None]
    return Member(
        actions=(),
        states=(),
        total=total,
        advantage=math.nan if one.advantage is None else one.advantage,
        success=False,
        terminated=one.cut_off is False,
        truncated=bool(one.cut_off),
        text=text,
        tokens=tokens,
        log_probs=tuple(one.log_probs[: len(tokens)]) if known else (),
        parts=dict(parts[:MOST_PARTS]),
        cut_off=bool(one.cut_off),
    )


def _cut(text: str) -> str:
    text = whole(text)
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n… and {len(text) - LONGEST_TEXT:,} characters more"
