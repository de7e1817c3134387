"""`icemaze lab`: the challenges of reinforcement learning as experiments, run and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UserError, nearest
from tui.cli.options import Json
from tui.cli.output import INTERRUPTED, complain, emit, leave, say, table
from tui.cli.shell import completion

if TYPE_CHECKING:
    from pathlib import Path

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A challenge's name, or its number in the list.",
        autocompletion=completion.challenges,
    ),
]
NameOrPage = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A challenge's name, its number in the list, or a page's name.",
        autocompletion=completion.challenges,
    ),
]

app = typer.Typer(help="Challenges of RL as experiments.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def lab(ctx: typer.Context, as_json: Json = False) -> None:
    """The challenges of reinforcement learning as experiments: a run that fails, remedies, and
    the measured difference. Without a command: list them."""
    if ctx.invoked_subcommand is None:
        list_challenges(as_json)


def list_challenges(as_json: bool) -> None:
    """One line for each challenge, then one for each further page; a broken one says why."""
    # start-up time
    from engine.experiments.lab import progress
    from engine.experiments.lab.challenge import challenge_names, load_challenge
    from engine.experiments.lab.lesson import load_lesson
    from tui.cli.lab.report import listing

    known, rows, tried = terms(), [], progress.read()
    for name in challenge_names():
        try:
            challenge = load_challenge(name, known)
        except UserError as error:
            if as_json:
                emit(name=name, error=str(error))
            rows.append(("", name, tried.of(name), str(error)))
            continue
        if as_json:
            emit(**listing(challenge), state=tried.of(name))
        what = f"{challenge.title}: {challenge.question}"
        rows.append((str(challenge.number), name, tried.of(name), what))
    for name, path in pages().items():
        try:
            title = load_lesson(path).title
        except UserError as error:
            if as_json:
                emit(name=name, page=True, error=str(error))
            rows.append(("", name, tried.of(name), str(error)))
            continue
        if as_json:
            emit(name=name, page=True, title=title, state=tried.of(name))
        rows.append(("", name, tried.of(name), f"{title} (a lesson only)"))
    if not as_json:
        table(("", "name", "state", "challenge"), rows, numbers=(0,))
        say()
        say("`icemaze lab run NAME` runs one and compares; `icemaze lab show NAME` is its lesson.")


@app.command("run")
def run_challenge(
    name: Name,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, show_default=False, help="Another seed for all runs."),
    ] = None,
    agents: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=4096,
            show_default=False,
            help="Agents in each run (default: the presets' own); more give narrower intervals.",
        ),
    ] = None,
    llm: Annotated[
        bool, typer.Option("--llm", help="Its presets that train language models too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a challenge's failing preset and its remedies, and compare them.

    Exit status 0 when every claim was kept, 1 when one was not or a run failed. Ctrl-C lets the
    runs write their checkpoints and stops.
    """
    # start-up time
    from engine.experiments.lab.challenge import load_challenge
    from engine.experiments.lab.compare import results
    from engine.experiments.lab.runner import LabRunner, plan
    from tui.cli.follow import Signals, follow_all
    from tui.cli.lab.report import make_reporter

    challenge = load_challenge(name, terms())
    jobs = plan([challenge], seed=seed, agents=agents, llm=llm)
    with Signals() as signals, LabRunner(jobs) as runner:
        reporter = make_reporter(challenge, as_json)
        try:
            reporter.started(runner)
            code = follow_all(runner, reporter, signals)
        finally:
            reporter.close()
        if code is None and runner.stopping:
            code = INTERRUPTED
            reporter.stopped(runner)
        elif code is None:
            result = results(challenge, jobs)
            code = 0 if result.kept else 1
            reporter.finished(result, code)
            _mark_tried(challenge.name)
    leave(code)


def _mark_tried(name: str) -> None:
    """Note that the user has run it; that failing is no reason for the command to fail."""
    # start-up time
    from engine.experiments.lab import progress

    try:
        progress.mark(name, "tried")
    except UserError as error:
        complain(str(error))


@app.command("show")
def show_lesson(name: NameOrPage) -> None:
    """Print a challenge's lesson, or a page that belongs to none, as plain text, the answers to its
    questions at the end."""
    # start-up time
    from engine.experiments.lab.challenge import challenge_names, load_challenge
    from engine.experiments.lab.lesson import load_lesson
    from tui.cli.lab.lesson import lesson_text

    further, names = pages(), challenge_names()
    if name not in names and name in further:
        page = load_lesson(further[name])
        say(page.title)
        say(lesson_text(page))
        return
    if name not in names and not name.isdecimal():
        raise UserError(
            f"There is no challenge or page {name!r}.{nearest(name, [*names, *further])} "
            "`icemaze lab` shows them all."
        )
    challenge = load_challenge(name, terms())
    if not challenge.lesson.is_file():
        raise UserError(
            f"{challenge.name} has no lesson yet ({challenge.lesson}); `icemaze lab run "
            f"{challenge.name}` runs its experiment."
        )
    say(f"{challenge.title}: {challenge.question}")
    say(lesson_text(load_lesson(challenge.lesson)))


def pages() -> dict[str, Path]:
    """The files of the lessons that belong to no challenge, by name."""
    # start-up time
    from engine.experiments.lab.challenge import lab_folder

    return {path.stem: path for path in sorted(lab_folder().glob("pages/*.md"))}


def terms() -> frozenset[str]:
    """The entries of the glossary, which a challenge may name."""
    # start-up time
    from tui.glossary.entries import load

    return frozenset(entry.slug for entry in load())
