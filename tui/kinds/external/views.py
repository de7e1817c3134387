"""The curves of another trainer's run: those whose meaning is known, others by their names."""

from __future__ import annotations

from collections.abc import Iterable

from tui.kinds.llm_views import LLM_VIEWS
from tui.kinds.views import Figure, View, from_zero
from tui.ui.text import clean

UNKNOWN = "external-run"
"""The glossary entry of a metric of which only the name is known."""
PARTS, MEAN = "rewards/", "/mean"
"""TRL's names of a reward function's mean: `rewards/correct/mean`."""
MOST = 6
"""Curves of one chart."""

KNOWN = (
    View(
        "Reward",
        (
            Figure("reward_spread", "spread", "verifiable-reward"),
            Figure("reward", "mean", "verifiable-reward"),
        ),
    ),
    from_zero(
        "Text",
        Figure("cut_off_share", "cut off at the token limit", "truncated-completion"),
    ),
    from_zero("Length", Figure("completion_tokens", "tokens of a completion", "completion")),
)
SHARED = ("KL", "Entropy", "Clip", "Mismatch", "Gradient", "Loss", "Groups", "Rate", "Seconds")
"""Titles of the charts that runs of Ice Maze have too."""

VIEWS = (*KNOWN, *(view for view in LLM_VIEWS if view.title in SHARED))


def views_of(metrics: Iterable[str]) -> tuple[View, ...]:
    """All charts of a run that has these metrics: reward and its parts first, then what is known
    of every trainer, then the rest, by what stands before a slash."""
    known = {figure.metric for view in VIEWS for figure in view.figures}
    others = [name for name in metrics if name not in known]
    parts = [name for name in others if name.startswith(PARTS) and name.endswith(MEAN)]
    rest: dict[str, list[str]] = {}
    for name in others:
        if name not in parts:
            rest.setdefault(name.partition("/")[0] if "/" in name else name, []).append(name)
    first, *shared = VIEWS
    return (
        first,
        *_charts("Parts", [(name, name[len(PARTS) : -len(MEAN)]) for name in parts]),
        *shared,
        *(
            chart
            for title, members in rest.items()
            for chart in _charts(title, [(name, name) for name in members])
        ),
    )


def _charts(title: str, members: list[tuple[str, str]]) -> list[View]:
    """Charts of at most `MOST` metrics, given with what they are called."""
    slug = "reward-parts" if title == "Parts" else UNKNOWN
    figures = [Figure(name, clean(label), slug) for name, label in members]
    return [
        View(clean(title)[:20], tuple(figures[i : i + MOST])) for i in range(0, len(figures), MOST)
    ]
