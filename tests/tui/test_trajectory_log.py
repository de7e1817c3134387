"""The trajectory log and the explanation of a row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from moments import DOWN, GAMMA, LAKE, RIGHT, Stage, lines, moment, walk
from msgspec.structs import replace
from textual.geometry import Region

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.learning.events import Episode, Step
from engine.runs.records import EpisodeRow
from tui.features.trainer.loop_figure import LoopFigure
from tui.glossary.entries import load
from tui.log.explain import ExplainView
from tui.log.log_entries import entries, returns_to_go
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_grid import MazeGrid
from tui.model.snapshot import Snapshot
from tui.ui.terms import HasTerms, TermClicked

pytestmark = pytest.mark.slow

LAKE_MAZE = Maze(rows=LAKE)
MDP = build_mdp(LAKE_MAZE)
TABLE = np.zeros((16, 4))
TABLE[:, RIGHT] = 0.5
TO_PRIZE = [DOWN, DOWN, RIGHT, DOWN, RIGHT, RIGHT]
NAMES = {"exploited": "◆", "explored": "◇"}


def played(actions: list[int], episode: int, **changes: object) -> tuple[Step, ...]:
    """The steps of an episode; the step count goes on from a hundred an episode."""
    steps = walk(MDP, actions, TABLE, episode=episode, **changes)
    return tuple(replace(step, step=100 * episode + step.t) for step in steps)


def row(index: int, **changes: object) -> EpisodeRow:
    """A recorded episode."""
    fields: dict[str, object] = {
        "id": index + 1000, "step": 100 * index + 50, "index": index, "agent": 0, "world_id": 0,
        "length": 6, "total_return": GAMMA**5, "score": 1.0, "success": True, "terminated": True,
        "truncated": False,
    }  # fmt: skip
    return EpisodeRow(**(fields | changes))  # type: ignore[arg-type]


def recorded(index: int) -> Episode:
    """What the store answers."""
    steps = played(TO_PRIZE, index)
    return Episode(
        step=steps[-1].step, index=index, steps=steps, returns_to_go=returns_to_go(steps),
        score=1.0, success=True, terminated=True, truncated=False,
    )  # fmt: skip


def shot(*steps: Step, rows: tuple[EpisodeRow, ...] = (), **changes: object) -> Snapshot:
    return moment(
        LAKE_MAZE, q=TABLE, steps=steps, mdp=MDP, episodes=rows, **changes  # type: ignore[arg-type]
    )  # fmt: skip


def newest(log: TrajectoryLog) -> str:
    """The first word of the last row: below it there may be room for the next ones."""
    return [line for line in lines(log) if line.strip()][-1].split()[0]


def line_with(log: TrajectoryLog, text: str) -> int:
    return next(y for y, line in enumerate(lines(log)) if text in line)


async def test_a_row_tells_the_step() -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(90, 12)):
        log.show(shot(*played([RIGHT, DOWN], 7)))
        title, head, first, second = lines(log)[:4]
        assert title.split() == [
            "t", "state", "action", "how", "reward", "target", "error", "δ", "to", "go", "G",
            "A(s,a)",
        ]  # fmt: skip
        assert head.startswith("▾ Episode 7  2 steps") and "○ hole" in head
        assert first.split()[:6] == ["0", "(1,1)", "→", "right", "◆", "exploited"]
        assert first[title.index("target") :].split()[:2] == ["0.4950", "-0.0050"]
        assert second.split()[:6] == ["1", "(1,2)", "⇣", "down", "◇", "explored"]
        assert second[title.index("A(s,a)") :].split()[0] == "-0.500"
        assert second.endswith("○ hole")


async def test_the_return_to_go_is_known_when_the_episode_is_over() -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(90, 12)):
        log.show(shot(*played(TO_PRIZE[:-1], 7)))
        column = lines(log)[0].index("to go")
        assert {line[column:].split()[0] for line in lines(log)[2:7]} == {"…"}
        assert "running" in lines(log)[1]
        log.show(shot(*played(TO_PRIZE, 7)))
        shown = [float(line[column:].split()[0]) for line in lines(log)[2:8]]
        assert shown == pytest.approx([GAMMA**k for k in (5, 4, 3, 2, 1, 0)], abs=5e-5)
        assert "return 0.951" in lines(log)[1] and "★ prize" in lines(log)[1]


def test_returns_are_discounted_sums() -> None:
    steps = [replace(step, reward=r) for step, r in zip(played(TO_PRIZE, 1), range(6), strict=True)]
    expected = [sum(GAMMA**k * steps[t + k].reward for k in range(6 - t)) for t in range(6)]
    assert returns_to_go(steps) == pytest.approx(expected)


async def test_a_truncated_episode_is_told_apart_from_one_that_ended() -> None:
    log = TrajectoryLog()
    steps = played([RIGHT, RIGHT], 7)
    cut = (*steps[:-1], replace(steps[-1], truncated=True))
    async with Stage(log).run_test(size=(90, 12)):
        log.show(shot(*cut, rows=(row(3, success=False), row(2, truncated=True, success=False,
                                                             terminated=False))))  # fmt: skip
        heads = [line for line in lines(log) if "Episode" in line]
        assert "time limit" in heads[0] and "hole" in heads[1] and "time limit" in heads[2]


async def test_recorded_steps_are_asked_for_when_unfolded() -> None:
    log = TrajectoryLog()
    app = Stage(log, TrajectoryLog.EpisodeRequested)
    async with app.run_test(size=(90, 20)) as pilot:
        log.show(shot(*played([RIGHT], 7), rows=(row(5), row(4))))
        assert [line[:12].strip() for line in lines(log)[1:4]] == [
            "▸ Episode 4", "▸ Episode 5", "▾ Episode 7",
        ]  # fmt: skip
        log.focus()
        await pilot.press("home", "right")
        assert [message.episode_id for message in app.heard] == [1004]
        assert "reading the record" in lines(log)[2]
        log.provide(1004, recorded(4))
        assert lines(log)[1].startswith("▾ Episode 4") and lines(log)[7].endswith("★ prize")
        await pilot.press("down", "down", "left")
        assert log.cursor_row is not None and log.cursor_row.position == -1
        await pilot.press("left")
        assert lines(log)[1].startswith("▸ Episode 4") and "▸ Episode 5" in lines(log)[2]
        await pilot.press("right")
        assert len(app.heard) == 1, "what was provided is kept"
        assert lines(log)[2].split()[0] == "0"


async def test_enter_asks_for_an_explanation_of_the_step() -> None:
    log = TrajectoryLog()
    app = Stage(log, TrajectoryLog.ExplainRequested)
    steps = played(TO_PRIZE, 7)
    async with app.run_test(size=(90, 20)) as pilot:
        log.show(shot(*steps))
        log.focus()
        await pilot.press("up", "enter")
        assert [message.step for message in app.heard] == [steps[4]]
        await pilot.press("home", "enter")
        assert len(app.heard) == 1 and lines(log)[1].startswith("▸"), "a header folds"


async def test_it_follows_the_newest_row_until_the_cursor_leaves_it() -> None:
    log = TrajectoryLog()
    steps = played([RIGHT, RIGHT, RIGHT] + [0, 2] * 20, 7)
    async with Stage(log).run_test(size=(90, 8)) as pilot:
        log.show(shot(*steps[:20]))
        assert newest(log) == "19"
        log.show(shot(*steps[:30]))
        assert newest(log) == "29"
        log.focus()
        await pilot.press("up", "up")
        assert not log.following
        before = lines(log)
        log.show(shot(*steps))
        assert lines(log) == before, "nothing moves under the reader's eyes"
        assert log.cursor_row is not None and log.cursor_row.place == ((0, 7), 27)
        await pilot.press("end")
        assert log.following and newest(log) == str(len(steps) - 1)


async def test_between_two_leaps_only_the_newest_lines_are_painted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = TrajectoryLog()
    steps = played([RIGHT, RIGHT, RIGHT] + [0, 2] * 20, 7)
    async with Stage(log).run_test(size=(90, 13)) as pilot:
        log.show(shot(*steps[:20]))
        await pilot.pause()
        asked: list[tuple[int, ...]] = []
        refresh = log.refresh

        def noted(*regions: Region, **how: bool) -> TrajectoryLog:
            assert not how.get("layout"), "nothing is laid out anew"
            asked.append(tuple(region.y for region in regions if region.height == 1))
            refresh(*regions, **how)
            return log

        monkeypatch.setattr(log, "refresh", noted)
        log.show(shot(*steps[:20]))
        assert asked == [], "the same moment again"
        leaps = []
        for end in range(21, 31):
            asked.clear()
            before = log.scroll_y
            log.show(shot(*steps[:end]))
            await pilot.pause()
            assert newest(log) == str(end - 1)
            if log.scroll_y == before:  # the row that was the newest, and the one that is it now
                assert len(asked) == 1 and len(asked[0]) == 2
            else:
                leaps.append(log.scroll_y - before)
        assert leaps and set(leaps) == {4.0}


async def test_the_cursor_stays_on_its_step_when_early_steps_are_forgotten() -> None:
    log = TrajectoryLog()
    steps = played([RIGHT, RIGHT, RIGHT] + [0, 2] * 20, 7)
    async with Stage(log).run_test(size=(90, 12)) as pilot:
        log.show(shot(*steps[:20]))
        log.focus()
        await pilot.press("up", "up")
        log.show(shot(*steps[5:30]))
        assert log.cursor_row is not None and log.cursor_row.step == steps[17]
        log.show(shot(*steps[25:]))
        assert log.cursor_row is not None and log.cursor_row.position == -1


async def test_a_hundred_thousand_rows_cost_no_more_than_what_is_seen() -> None:
    log = TrajectoryLog()
    one = played([RIGHT], 7)[0]
    many = tuple(replace(one, t=t, step=t, episode=7) for t in range(100_000))
    async with Stage(log).run_test(size=(90, 24)) as pilot:
        log.show(shot(*many))
        assert 100_002 <= log.virtual_size.height < 100_002 + 24 / 3
        lines(log)
        assert len(log._strips) <= 24
        log.focus()
        await pilot.press("home", "pagedown")
        assert log.cursor_row is not None and log.cursor_row.step == many[21]


@pytest.mark.parametrize(
    ("width", "shown", "missing"),
    [
        (80, "t state action how reward target error to A(s,a)", ""),
        (64, "t state a reward target error to A(s,a)", "how"),
        (60, "t state a reward error to A(s,a)", "target"),
        (50, "t state a reward δ G", "target"),
        (40, "t state a reward δ G", "A(s,a)"),
        (32, "t state a reward δ", "G"),
    ],
)
async def test_columns_drop_with_the_width(width: int, shown: str, missing: str) -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(width, 12)):
        log.show(shot(*played(TO_PRIZE, 7)))
        titles = lines(log)[0].split()
        assert [title for title in shown.split() if title not in titles] == []
        assert missing not in titles
        assert all(len(line) <= width for line in lines(log))
        first, last = lines(log)[2].split(), lines(log)[7].split()
        assert first[:3] == ["0", "(1,1)", "⇣"] and "+1" in last


async def test_sweeps_show_the_change_of_every_state() -> None:
    log = TrajectoryLog()
    steps = tuple(replace(s, step=3, t=0) for s in played([RIGHT, RIGHT], 3, kind="backup"))
    async with Stage(log).run_test(size=(80, 12)):
        log.show(shot(*steps, algorithm="value-iteration"))
        title, head, first = lines(log)[:3]
        assert title.split() == ["#", "state", "best", "reward", "old", "V", "new", "V", "change"]
        assert head.strip() == "▾ Sweep 3  2 states"
        assert first.split() == ["0", "(1,1)", "→", "right", "0", "0.5000", "0.4950", "-0.0050"]


async def test_another_agent_is_named() -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(80, 12)):
        log.show(shot(*played([RIGHT], 7), rows=(row(5, agent=3), row(4))))
        assert "agent 3" in lines(log)[2] and "agent" not in lines(log)[1]


def test_live_and_recorded_steps_of_one_episode_make_one_entry() -> None:
    whole, part = played(TO_PRIZE, 5), played(TO_PRIZE, 5)[2:]
    (entry,) = entries([row(5)], whole, {}, sweep=False)
    assert entry.id == 1005 and entry.steps == whole and entry.over
    (entry,) = entries([row(5)], part, {}, sweep=False)
    assert entry.steps is None, "the record knows more than the tail"
    (entry,) = entries([row(5)], part, {1005: recorded(5)}, sweep=False)
    assert entry.steps == recorded(5).steps
    (entry,) = entries([], part, {}, sweep=False)
    assert entry.total_return is None and entry.length == 6


async def test_another_run_starts_a_fresh_log() -> None:
    log = TrajectoryLog()
    first = shot(*played(TO_PRIZE, 7), rows=(row(4),))
    other = {f: getattr(first, f) for f in Snapshot.__slots__} | {"run_id": "other"}
    async with Stage(log).run_test(size=(80, 20)) as pilot:
        log.show(first)
        log.focus()
        await pilot.press("home", "right", "down")
        assert not log.following
        log.show(Snapshot(**other))
        assert log.following and lines(log)[1].startswith("▸ Episode 4")


async def test_column_titles_are_terms() -> None:
    log = TrajectoryLog()
    app = Stage(log, TermClicked)
    async with app.run_test(size=(90, 12)) as pilot:
        log.show(shot(*played([RIGHT], 7)))
        await pilot.pause()
        await pilot.click(log, offset=(lines(log)[0].index("error") + 1, 0))
        assert [message.slug for message in app.heard] == ["td-error"]


@pytest.mark.usefixtures("ascii_look")
@pytest.mark.parametrize("width", [40, 60, 90])
async def test_ascii_mode_is_ascii(width: int) -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(width, 20)):
        log.show(shot(*played(TO_PRIZE, 6), *played([RIGHT], 7), rows=(row(4),)))
        assert "\n".join(lines(log)).isascii()


async def test_the_explanation_has_formula_numbers_words_and_facts() -> None:
    view = ExplainView()
    app = Stage(view, TermClicked)
    step = played(TO_PRIZE, 7, log_prob=math.log(0.25))[1]
    async with app.run_test(size=(160, 40)) as pilot:
        snapshot = shot(step)
        view.show(step, snapshot)
        await pilot.pause()
        text = "\n".join(lines(view))
        told = snapshot.algorithm.explain(step)
        for part in (told.formula, *told.numbers.split("\n"), *told.words.split()):
            assert part in text
        assert "chance of this action 0.25" in text
        assert "the target adds γ × 0.500" in text
        slugs = [term.slug for term in view.terms()]
        assert {"reward", "return", "behaviour-policy", "target-policy", "off-policy"} <= set(slugs)
        y = next(y for y, line in enumerate(lines(view)) if line.startswith("target policy"))
        await pilot.click(view, offset=(2, y))
        assert [message.slug for message in app.heard] == ["target-policy"]


@pytest.mark.parametrize(
    ("changes", "slug", "words"),
    [
        ({"terminated": True, "success": True}, "terminated", "the target is the reward alone"),
        ({"truncated": True}, "truncated", "only the time limit stopped it"),
        ({}, "bootstrap", "itself an estimate"),
    ],
)
async def test_it_says_why_it_bootstrapped_or_not(
    changes: dict[str, bool], slug: str, words: str
) -> None:
    view = ExplainView()
    step = replace(played([RIGHT], 7)[0], **changes)
    async with Stage(view).run_test(size=(120, 40)) as pilot:
        view.show(step, shot(step, algorithm="sarsa"))
        await pilot.pause()
        assert words in "\n".join(lines(view))
        assert view.terms()[-1].slug == slug
        assert "on-policy" in [term.slug for term in view.terms()]


async def test_foreign_text_in_an_explanation_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    step = played([RIGHT], 7)[0]
    snapshot = shot(step)
    told = snapshot.algorithm.explain(step)
    nasty = type(told)(formula="[red]x[/red]", numbers="a\x1b[2Jb", words="c\u202ed")
    monkeypatch.setattr(type(snapshot.algorithm), "explain", lambda *_: nasty)
    view = ExplainView()
    async with Stage(view).run_test(size=(80, 40)) as pilot:
        view.show(step, snapshot)
        await pilot.pause()
        text = "\n".join(lines(view))
        assert "[red]x[/red]" in text and "ab" in text and "cd" in text
        assert "\x1b" not in text and "\u202e" not in text


async def test_every_term_on_screen_has_a_glossary_entry() -> None:
    known = {entry.slug for entry in load()}
    moves = (shot(*played(TO_PRIZE, 7)), shot(*played([RIGHT], 7, truncated=True)))
    sweep = shot(*played([RIGHT], 3, kind="backup"), algorithm="value-iteration")
    used = set()
    for snapshot in (*moves, sweep):
        for make in (MazeGrid, LoopFigure, TrajectoryLog, ExplainView):
            widget = make()
            async with Stage(widget).run_test(size=(120, 40)) as pilot:
                assert isinstance(widget, HasTerms)
                if isinstance(widget, ExplainView):
                    assert snapshot.step is not None
                    widget.show(snapshot.step, snapshot)
                else:
                    widget.show(snapshot)
                if isinstance(widget, MazeGrid):
                    widget.show_optimal_path = widget.show_optimal_values = True
                    used |= {slug for _, _, slug in widget.layer_choices}
                await pilot.pause()
                used |= {term.slug for term in widget.terms()}
    assert used - known == set()
