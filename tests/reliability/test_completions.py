"""Whatever a model writes is read, paid for, counted and shown: no traceback, no hang."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from long_form import count
from textual.app import ComposeResult

sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "llm"))

from engine.config.rewards import PlanRewards
from engine.config.text import TextTask
from engine.env.build_mdp import build_mdp
from engine.env.maze import ACTION_NAMES, Maze
from engine.learning.events import Group, Member, decode, encode
from engine.llm.tasks.route_search import distances
from engine.llm.tasks.routes.rewards import parse_moves, progress, reward_route, walk
from engine.llm.tasks.text.features import distinct, readable, words
from engine.llm.tasks.text.preference_judge import ruled
from tui.features.groups.member_view import MemberView
from tui.ui.ascii import GlyphApp
from tui.watching.completion_card import CompletionCard

pytestmark = pytest.mark.slow

MAZE = Maze(rows=("SF", "FG"))
MDP = build_mdp(MAZE)
WAYS = distances(MDP)
PIECES = (
    *ACTION_NAMES, "LEFT", "←", "↓", "→", "↑", " ", "\n", ",", "then ", "go ", "1. ", "ſ", "İ", "ß",
    "\u0301", "\u200b", "\x1b[2J", "[/foo]", "lef", "right" * 40, "\U0001f600", "\ufffd", "ﬀ", "…",
)  # fmt: skip
COMPLETIONS = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=9)), max_size=30).map("".join),
)
EXAMPLES = count(100, 10_000)
AT_LENGTH = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@AT_LENGTH
@given(text=COMPLETIONS, cut_off=st.booleans(), seed=st.integers(0, 9))
def test_a_route_is_read_walked_and_paid_for(text: str, cut_off: bool, seed: int) -> None:
    for mode in ("exact", "tolerant"):
        parsed = parse_moves(text, mode)
        assert len(parsed.moves) == len(parsed.spans) and 0 <= parsed.stopped <= len(text)
        ends = [place for span in parsed.spans for place in span]
        assert ends == sorted(ends) and all(0 <= place <= len(text) for place in ends)
        for action, (first, end) in zip(parsed.moves, parsed.spans, strict=True):
            assert text[first:end].lower() in (ACTION_NAMES[action], "←↓→↑"[action])
        walked = walk(MDP, parsed.moves, 0, np.random.default_rng(seed))
        reward = reward_route(MDP, parsed, walked, WAYS, PlanRewards(), cut_off)
        assert math.isfinite(reward.total) and -1 <= progress(walked, WAYS) <= 1
        assert reward.unparseable == (not parsed.moves)


@AT_LENGTH
@given(texts=st.tuples(COMPLETIONS, COMPLETIONS), prompt=COMPLETIONS, cut_off=st.booleans())
def test_a_text_is_counted_and_judged(texts: tuple[str, str], prompt: str, cut_off: bool) -> None:
    counted = readable(texts, (prompt, prompt), (cut_off, cut_off))
    assert counted.shape == (2, 6) and np.isfinite(counted).all()
    assert 0 <= distinct(texts) <= 1
    for rule in ("shorter", "longer", "word"):
        task = TextTask(prompts=["a"], judge="rule", rule=rule)
        first, second = ruled(task, texts), ruled(task, (texts[1], texts[0]))
        assert {first, second} in ({"tie"}, {"first", "second"})
    assert all(word == word.lower() for word in words(texts[0]))


@pytest.mark.parametrize("piece", ["left", "left ", "then ", "[", "1", "\n", "e\u0301", "'", " go"])
def test_a_long_completion_takes_no_long_time(piece: str) -> None:
    text, started = piece * 20_000, time.process_time()
    parse_moves(text), parse_moves(text, "exact"), readable([text], [text], [False])
    assert time.process_time() - started < 20


@pytest.mark.llm
def test_any_tokens_are_a_route() -> None:
    """Those too that the tokenizer does not know: an embedding may have more rows than it."""
    from tiny_models import END, build_tokenizer

    from engine.llm.tasks.routes.events import _member, move_log_probs
    from engine.llm.tasks.routes.writer import RouteWriter
    from engine.llm.worlds import WorldSet

    tokenizer = build_tokenizer()
    end = tokenizer.convert_tokens_to_ids(END)
    writer = RouteWriter(
        WorldSet("train", 0, (MAZE,), (MDP,), 0.99), tokenizer, PlanRewards(), [end]
    )
    rng = np.random.default_rng(0)
    for _ in range(count(200, 10_000)):
        tokens = [int(token) for token in rng.integers(0, 380, rng.integers(1, 24))]
        log_probs = [-0.5] * len(tokens)
        route = writer._walked((0, 0), tokens, log_probs, end not in tokens, {}, rng)
        member = _member(writer, route, route.total, 0.5)
        assert len(member.tokens) == len(tokens) and math.isfinite(route.total)
        assert len(move_log_probs(writer, route)) == len(route.made)
        recorded = decode(encode(_group(member)))
        assert isinstance(recorded, Group) and recorded.members == (member,)


def _group(member: Member) -> Group:
    return Group(step=1, world_id=0, index=0, size=1, prompt="?", members=(member,))


class Shown(GlyphApp[None]):
    """The two widgets that show what a model wrote."""

    def compose(self) -> ComposeResult:
        yield MemberView()
        yield CompletionCard()


async def test_a_completion_is_shown() -> None:
    seen: list[str] = []

    @settings(AT_LENGTH, max_examples=count(60, 10_000))
    @given(text=COMPLETIONS, pieces=st.lists(COMPLETIONS, max_size=6))
    def collect(text: str, pieces: list[str]) -> None:
        member = Member(
            actions=(), states=(0,), total=0.5, advantage=0.1, success=False, terminated=False,
            truncated=True, text=text, tokens=tuple(pieces), log_probs=(-1.0,) * len(pieces),
            spans=parse_moves(text).spans, parts={text: 1.0},
        )  # fmt: skip
        view.show(member, MAZE, text, whole_prompt=bool(len(text) % 2))
        seen.append("\n".join(line.plain for line in view.render().renderables))
        card.show(text, text)

    async with Shown().run_test() as pilot:
        view, card = pilot.app.query_one(MemberView), pilot.app.query_one(CompletionCard)
        collect()
        await pilot.pause()
    assert len(seen) >= count(60, 10_000) and not any("\x1b" in text for text in seen)
