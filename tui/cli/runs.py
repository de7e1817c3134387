"""`icemaze runs`, `status`, `pause`, `rename`, `rm` and others: looking at runs, steering them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.errors import UserError
from tui.cli.options import Json, RunId
from tui.cli.output import complain, emit, on_terminal, say, table
from tui.cli.shell import completion
from tui.ui.text import clean, number, percent

if TYPE_CHECKING:
    from engine.runs.commands import CommandReply
    from engine.runs.reader import RunReader
    from engine.runs.records import Head, RunInfo, RunSummary

STOP_SECONDS = 60.0
"""How long `stop` waits for the last checkpoint. The first compile can keep a worker that long."""
HINT_SECONDS = 5.0
"""After so long a person is told how to end a worker that does not answer."""


def runs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILTER]",
            help="Words and comparisons that must hold, in quotes: "
            "'algorithm=grpo lr>1e-4 success>0.9'. Fields are id, name, title, algorithm, state, "
            "success, return, steps, episodes, seconds, progress and all settings of a preset.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="ORDER",
            help="newest, title, success, return, algorithm, state, steps or time; with a minus "
            "before it the other way round.",
        ),
    ] = "newest",
    as_json: Json = False,
) -> None:
    """List all runs, newest first, or those that a filter finds. Pinned ones stand on top."""
    # start-up time
    from engine.runs import library
    from engine.runs.lists import sorting

    every = library.list_runs()
    summaries = sorting.in_order(_found(every, " ".join(words or [])), sort)
    if as_json:
        for run in summaries:
            emit(**_summary_fields(run))
        return
    if not every:
        say(f"No runs yet in {library.runs_dir()}. `icemaze train PRESET` makes one.")
        return
    if not summaries:
        say(f"None of the {len(every):,} runs is like that.")
        return
    rows = [_row(run) for run in summaries]
    table(("run", "state", "steps", "time", "success", "title"), rows, numbers=(2, 3, 4))
    for run in summaries:
        if run.broken:
            complain(f"{run.id} cannot be read: {clean(run.broken)}")


def _found(every: list[RunSummary], text: str) -> list[RunSummary]:
    """The runs that a filter finds. Raises UserError when it is no filter."""
    # start-up time
    from engine.runs.lists import filters
    from tui.library.shelf import used

    if not text.strip():
        return every
    values = [filters.run_values(r, used(r.budget, r) if r.budget else None) for r in every]
    wanted = filters.parse(text, filters.known_fields(values))
    return [
        run
        for run, fields in zip(every, values, strict=True)
        if wanted.fits(filters.run_words(run), fields)
    ]


def rename(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id or the start of one.")],
    title: Annotated[str, typer.Argument(help="The title; empty brings the preset's back.")],
) -> None:
    """Give a run a title of your own. Its id stays."""
    # start-up time
    from engine.runs import library
    from engine.runs.lists import labels

    path = library.find_run(run)
    label = labels.rename(path, title)
    say(f"{path.name}: {f'now called {label.title}' if label.title else 'has its own title again'}")


def pin(
    run: RunId = None,
    off: Annotated[bool, typer.Option("--off", help="Not on top any more.")] = False,
) -> None:
    """Keep a run on top of lists."""
    # start-up time
    from engine.runs import library
    from engine.runs.lists import labels

    path = library.find_run(run)
    labels.pin(path, not off)
    say(f"{path.name}: {'no longer pinned' if off else 'pinned'}")


def _summary_fields(run: RunSummary) -> dict[str, Any]:
    created = run.created.isoformat() if run.created else None
    fields = {
        "run": run.id, "path": str(run.path), "state": run.state, "preset": run.preset_name,
        "title": run.title, "created": created, "env_steps": run.env_steps,
        "episodes": run.episodes, "seconds": run.seconds, "success_rate": run.success_rate,
        "algorithm": run.algorithm, "pinned": run.pinned,
    }  # fmt: skip
    if run.parent is not None:
        fields |= {"parent": run.parent.run, "parent_step": run.parent.step}
    return {**fields, "broken": run.broken} if run.broken else fields


def _row(run: RunSummary) -> tuple[str, ...]:
    success = "-" if run.success_rate is None else percent(run.success_rate)
    state = f"{run.state}, pinned" if run.pinned else run.state
    title = run.title
    if run.parent is not None:
        title += f" (fork of {run.parent.run} at {run.parent.step:,})"
    return run.id, state, f"{run.step:,}", f"{run.seconds:.1f} s", success, title


def status(run: RunId = None, as_json: Json = False) -> None:
    """Say what a run is doing and how far it is."""
    # start-up time
    from engine.runs import library
    from engine.runs.reader import RunReader

    with RunReader(library.find_run(run)) as reader:
        _say_status(reader, as_json)


def _say_status(reader: RunReader, as_json: bool) -> None:
    # start-up time
    from engine.config.preset import algorithm_name
    from tui.cli.follow import budget_used, why_it_failed
    from tui.cli.progress import counts, what_next
    from tui.cli.text_words import reward_words, told_by_others

    head, info, figures = reader.head(), reader.info(), reader.final()
    share = budget_used(reader, head)
    failed = head.state in ("failed", "dead")
    error = why_it_failed(reader, head) if failed else None
    figures.pop("status")
    if as_json:
        emit(
            run=reader.id, path=str(reader.path), state=head.state, preset=info.preset_name,
            title=info.preset.title, algorithm=algorithm_name(info.preset),
            created=info.created.isoformat(), progress=share, error=error,
            waiting=0 if head.ended else head.waiting, **_parent(info), **figures,
        )  # fmt: skip
        return
    known = f", {percent(share)} of its budget used" if share or "external" not in figures else ""
    say(f"{reader.id}: {doing(head)}{known}")
    say(f"  preset {info.preset_name}: {info.preset.title}")
    if info.parent is not None:
        say(f"  forked from {info.parent.run} at step {info.parent.step:,}")
    if told_by_others(figures):
        say(f"  {counts(figures)} of {clean(algorithm_name(info.preset))}; {reward_words(figures)}")
        say(f"  trained by {clean(figures['external'])}; Ice Maze only looks on")
        if error:
            say(f"  Error: {error}")
        return
    say(
        f"  {counts(figures)} of {algorithm_name(info.preset)} in {head.seconds:.1f} s; "
        f"success {percent(figures['success_rate'])}, return "
        f"{number(figures['expected_return'])} (π* {number(figures['optimal_return'])})"
    )
    if rule := figures.get("success_rule"):
        say(f"  success here is {rule}")
    if error:
        say(f"  Error: {error}")
    if head.state in ("failed", "dead", "stopped"):
        say(f"  {what_next(reader.path, head.state)}")


def _parent(info: RunInfo) -> dict[str, Any]:
    """Of which run a fork is, for scripts; nothing of other runs."""
    if info.parent is None:
        return {}
    return {"parent": info.parent.run, "parent_step": info.parent.step}


def doing(head: Head) -> str:
    """The state of a run, and whether it stands because of whoever reads this."""
    if head.ended or not head.waiting:
        return head.state
    answers = "answer" if head.waiting == 1 else "answers"
    return f"{head.state}, waiting for {head.waiting} {answers} of yours (icemaze open)"


def pause(run: RunId = None, as_json: Json = False) -> None:
    """Make a run stand still, with a checkpoint. `icemaze resume` lets it go on."""
    _command("pause", run, as_json)


def resume(run: RunId = None, as_json: Json = False) -> None:
    """Let a paused run go on. (An ended one: `icemaze train --resume`.)"""
    _command("resume", run, as_json)


def stop(
    run: RunId = None,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="End the worker's process in a few seconds, whatever it does; its last checkpoint "
            "is kept.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """End a run with a checkpoint. `icemaze train --resume` can go on with it."""
    if now:
        _end(run, as_json)
    else:
        _command("stop", run, as_json)


def _end(run: str | None, as_json: bool) -> None:
    # start-up time
    from engine.runs import library
    from engine.runs.ending import end_worker
    from engine.runs.reader import RunReader

    run_dir = library.find_run(run)
    if killed := end_worker(run_dir):
        complain(f"{run_dir.name}: {killed}")
    with RunReader(run_dir) as reader:
        _say_status(reader, as_json)


def _command(name: str, run: str | None, as_json: bool) -> None:
    # start-up time
    from engine.runs import library
    from engine.runs.reader import RunReader

    with RunReader(library.find_run(run)) as reader:
        answer = _answer_to(name, reader, as_json)
        if answer.refused:
            raise UserError(f"{name} {reader.id}: {answer.reply}")
        if name == "stop":
            _wait_for_the_end(reader)
        _say_status(reader, as_json)


def _answer_to(name: str, reader: RunReader, as_json: bool) -> CommandReply:
    command_id, patience = reader.send(name), STOP_SECONDS
    if name == "stop" and not as_json:
        with contextlib.suppress(UserError):
            return reader.wait_reply(command_id, HINT_SECONDS)
        patience -= HINT_SECONDS
        if not reader.head().ended:
            complain(f"{reader.id} has not answered yet. {reader.how_to_end()}")
    return reader.wait_reply(command_id, patience)


def _wait_for_the_end(reader: RunReader) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while not reader.head().ended:
        if time.monotonic() > deadline:
            raise UserError(
                f"{reader.id} is still stopping after {STOP_SECONDS:g} s. The last figures of a "
                "language model on many mazes take minutes; `icemaze status` says when it is over. "
                f"{reader.how_to_end()}"
            )
        time.sleep(0.02)


def rm(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run's id or the start of one.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a run for good. A live one must be stopped first."""
    # start-up time
    from engine.runs import library
    from engine.runs.lists.index import summarise

    if run is None:  # no default: what is deleted is gone
        raise UserError(f"rm: say which run to delete; the newest is {_named(library.newest())}.")
    summary = summarise(library.find_run(run))
    asking = on_terminal() and not as_json and not yes
    if asking and not typer.confirm(clean(f"Delete {_named(summary)} for good?")):
        say("Nothing was deleted.")
        return
    library.remove(summary.path)
    if as_json:
        emit(run=summary.id, path=str(summary.path), title=summary.title, removed=True)
    else:
        say(f"Deleted {_named(summary)}.")


def _named(run: RunSummary) -> str:
    """A run so that nobody takes it for another."""
    return f"{run.id} ({run.state}{', ' if run.title else ''}{run.title})"
