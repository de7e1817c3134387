"""`icemaze presets`: what can be trained, what it says, and whether it keeps its promises."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.errors import UserError
from tui import kinds
from tui.cli.options import Json, Settings
from tui.cli.output import complain, emit, leave, on_terminal, say, show, table, write
from tui.cli.own import Trust, say_loaded, trusting
from tui.cli.shell import completion
from tui.ui.text import clean

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.experiments.lab.challenge import Challenge
    from engine.experiments.lab.compare import Result
    from engine.experiments.lab.runner import LabJob
    from tui.cli.claims import Verdict
    from tui.cli.follow import Signals

LONGEST_VALUE = 60
"""Characters of a setting in a table of differences."""

app = typer.Typer(help="List, show and check presets.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def presets(ctx: typer.Context) -> None:
    """List, show and check presets."""
    if ctx.invoked_subcommand is None:
        list_presets()


@app.command("list")
def list_presets(as_json: Json = False) -> None:
    """List the shipped presets by group."""
    # start-up time
    from tui.library.shelf import GROUPS, read_presets

    cards = read_presets()
    if as_json:
        for card in cards:
            broken = {"error": card.error} if card.error else {}
            emit(name=card.name, group=card.group, title=card.title, summary=card.summary, **broken)
        return
    rows = [(card.name, GROUPS[card.group], card.error or card.title) for card in cards]
    table(("name", "group", "title"), rows)


@app.command("show")
def show_preset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A shipped name, a file, or a share string.",
            autocompletion=completion.presets,
        ),
    ],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Show a preset as TOML; with --json as one object with every default filled in."""
    # start-up time
    from engine import presets
    from engine.config.shipped import find_preset
    from engine.tabular.custom.trust import NotTrustedError

    source = presets.read(name)
    try:
        preset = presets.parse(source.text, source.where, settings, source.folder)
    except NotTrustedError as error:
        if settings or as_json:
            raise
        complain(f"{error} What stands in the preset for it was not checked.")
        text = source.text
    else:
        say_loaded([preset])
        if as_json:
            path = None if presets.is_share(name) else find_preset(name)
            about = {"name": path.stem, "path": str(path)} if path else {}
            emit(**about, **presets.as_data(preset))
            return
        text = presets.dump(preset) if settings else source.text
    text = clean(text, lines=True).rstrip("\n") + "\n"
    if not on_terminal():
        write(text)
        return
    from rich.syntax import Syntax

    show(Syntax(text, "toml", theme="ansi_dark", background_color="default", word_wrap=True))


@app.command("diff")
def diff_presets(
    a: Annotated[str, typer.Argument(metavar="A", help="A shipped name, or a file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    as_json: Json = False,
) -> None:
    """Show in which settings two presets differ; a run's stand in its folder, as preset.toml."""
    # start-up time
    from engine import presets
    from tui.library.differences import differences

    loaded = [presets.load(name) for name in (a, b)]
    say_loaded(loaded)
    found = differences(loaded)
    if as_json:
        for each in found:
            emit(key=each.key, a=each.values[0], b=each.values[1])
    elif found:
        table(
            ("setting", clean(a), clean(b)), [(each.key, *map(_short, each.told)) for each in found]
        )
    else:
        say(f"{a} and {b} have the same settings.")


def _short(value: str) -> str:
    """A value that fits a table: a map is a long one."""
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of a preset, for editors and other tools."""
    import json

    # start-up time
    from engine.presets.schema import json_schema

    write(json.dumps(json_schema(), indent=2) + "\n")


@app.command("check")
def check_presets(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME-OR-FILE",
            help="Shipped names or TOML files.",
            show_default=False,
            autocompletion=completion.presets,
        ),
    ] = None,
    all_shipped: Annotated[
        bool,
        typer.Option(
            "--all", help="Every shipped preset that trains tables, and the lab's challenges."
        ),
    ] = False,
    llm: Annotated[
        bool,
        typer.Option("--llm", help="With --all: those that train language models too (an hour)."),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Another seed than the preset's.", show_default=False),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Run presets and verify the claims they make about their figures ([[expect]]).

    With --all also those that the lab's challenges make about differences; each run is done once.
    """
    # start-up time
    from engine import presets
    from tui.cli.claims import check_preset
    from tui.cli.follow import Signals

    challenges, jobs = _lab(llm, seed) if all_shipped else ([], [])
    compared = {job.task[0] for job in jobs if not job.task[1]}
    shipped = [name for name in _shipped(llm) if name not in compared] if all_shipped else []
    wanted = [*(names or []), *shipped]
    if not wanted and not jobs:
        raise UserError("presets check: name a preset or a TOML file, or give --all.")
    overrides = [] if seed is None else [f"run.seed={seed}"]
    # All are read before the first is run: a typing mistake should not cost an hour.
    loaded = [
        (name, trusting(partial(presets.load, name, overrides), trust, as_json))
        for name in dict.fromkeys(wanted)
    ]
    say_loaded(preset for _, preset in loaded)
    kept = True
    with Signals() as signals:
        for name, preset in loaded:
            verdict = check_preset(name, preset, signals)
            kept = kept and verdict.kept
            _tell(verdict, as_json)
        kept = _check_lab(challenges, jobs, signals, as_json) and kept
    if not kept:
        leave(1)


def _lab(llm: bool, seed: int | None) -> tuple[list[Challenge], list[LabJob]]:
    """The lab's challenges, and the runs they need that can be done here."""
    # start-up time
    from engine.experiments.lab.challenge import all_challenges
    from engine.experiments.lab.runner import plan
    from tui.cli.lab.command import terms

    challenges = all_challenges(terms())
    jobs = plan(challenges, seed=seed, llm=llm)
    return challenges, [job for job in jobs if not _wants_gpu(job.preset)]


def _check_lab(
    challenges: list[Challenge], jobs: list[LabJob], signals: Signals, as_json: bool
) -> bool:
    """Whether the challenges, and the presets they run, keep their claims; says so one by one."""
    # start-up time
    from tui.cli.claims import Verdict, check_challenges

    kept, told = True, set[str]()
    for result in check_challenges(challenges, jobs, signals):
        kept = kept and result.kept
        for run in result.runs:
            if run.name not in told:  # two challenges may share a preset
                told.add(run.name)
                seconds = run.figures.get("seconds", 0.0)
                _tell(Verdict(run.name, run.status, seconds, list(run.claims), run.error), as_json)
        _tell_challenge(result, as_json)
    return kept


def _wants_gpu(preset: Preset) -> bool:
    """Whether a preset needs a GPU, and there is none here."""
    from engine.llm.models.memory import this_machine  # start-up time

    return kinds.of(preset).needs_gpu and not this_machine().gpus


def _shipped(llm: bool) -> list[str]:
    """The shipped presets that can be checked here; says which are left out, and why."""
    # start-up time
    from engine import presets
    from engine.config.shipped import shipped_names

    tables, models = [], []
    for name in shipped_names():
        preset = presets.load(name)
        kind = kinds.of(preset)
        if kind.llm is None:
            tables.append(name)
        elif llm and _wants_gpu(preset):
            complain(f"left out  {name}  (it needs a GPU, and there is none here)")
        elif llm and kind.waits_for_answers:
            complain(f"left out  {name}  (it waits for a person's answers)")
        elif llm:
            models.append(name)
    return [*tables, *models]


def _tell_challenge(result: Result, as_json: bool) -> None:
    # start-up time
    from tui.cli.lab.results import claim_fields, claim_kind, claim_words, found_lines

    if as_json:
        claims = [{"claim": claim_kind(one), **claim_fields(one)} for one in result.claims]
        emit(
            challenge=result.challenge.name, ok=result.kept, claims=claims,
            skipped=list(result.skipped),
        )  # fmt: skip
        return
    number, name = result.challenge.number, result.challenge.name
    say(f"{'ok    ' if result.kept else 'FAILED'}  challenge {number}: {name}")
    for one in result.claims:
        say(f"  {'ok    ' if one.kept else 'FAILED'}  {claim_words(one)}")
        for line in found_lines(one):
            say(f"          {line}")


def _tell(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        emit(**_fields(verdict))
        return
    how = f"{verdict.status} after {verdict.seconds:.1f} s"
    if verdict.error:
        how += f": {verdict.error}"
    elif not verdict.claims:
        how += "; it makes no claims"
    say(f"{'ok    ' if verdict.kept else 'FAILED'}  {verdict.name}  ({how})")
    for claim in verdict.claims:
        wanted = " and ".join(
            f"{word} {bound:.9g}"
            for word, bound in (("at least", claim.at_least), ("at most", claim.at_most))
            if bound is not None
        )
        found = claim.problem or f"{claim.found:.9g}"
        say(f"  {'ok    ' if claim.kept else 'FAILED'}  {claim.metric} {wanted}: {found}")


def _fields(verdict: Verdict) -> dict[str, Any]:
    import dataclasses

    fields = dataclasses.asdict(verdict)
    claims = [
        {**claim, "ok": given.kept}
        for claim, given in zip(fields["claims"], verdict.claims, strict=True)
    ]
    return {"preset": fields.pop("name"), "ok": verdict.kept, **fields, "claims": claims}
