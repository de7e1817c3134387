"""`icemaze presets`: what can be trained, what it says, and whether it keeps its promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.commands.options import Json, Settings
from tui.commands.output import complain, emit, leave, on_terminal, say, show, table, write
from tui.commands.own import say_loaded

if TYPE_CHECKING:
    from tui.commands.claims import Verdict

app = typer.Typer(help="List, show and check presets.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def presets(ctx: typer.Context) -> None:
    """List, show and check presets."""
    if ctx.invoked_subcommand is None:
        list_presets()


@app.command("list")
def list_presets(as_json: Json = False) -> None:
    """List the shipped presets by group."""
    from tui.screens.shelf import GROUPS, read_presets

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
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped name, or a file.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Show a preset as TOML; with --json as one object with every default filled in."""
    import msgspec

    from engine import presets
    from tui.widgets.text import clean

    preset = presets.load(name, settings)
    say_loaded([preset])
    path = presets.find(name)
    if as_json:
        emit(name=path.stem, path=str(path), **msgspec.to_builtins(preset))
        return
    text = presets.dump(preset) if settings else path.read_text("utf-8")
    text = clean(text, lines=True).rstrip("\n") + "\n"
    if not on_terminal():
        write(text)
        return
    from rich.syntax import Syntax

    show(Syntax(text, "toml", theme="ansi_dark", background_color="default", word_wrap=True))


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of a preset, for editors and other tools."""
    import json

    from engine import presets

    write(json.dumps(presets.schema(), indent=2) + "\n")


@app.command("check")
def check_presets(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME-OR-FILE", help="Shipped names or TOML files.", show_default=False
        ),
    ] = None,
    all_shipped: Annotated[
        bool, typer.Option("--all", help="Every shipped preset that trains tables.")
    ] = False,
    llm: Annotated[
        bool,
        typer.Option("--llm", help="With --all: those that train language models too (an hour)."),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Another seed than the preset's.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run presets and verify the claims they make about their figures ([[expect]])."""
    from engine import presets
    from engine.errors import UserError
    from tui.commands.claims import check_preset
    from tui.commands.follow import Signals

    wanted = [*(names or []), *(_shipped(llm) if all_shipped else [])]
    if not wanted:
        raise UserError("presets check: name a preset or a TOML file, or give --all.")
    overrides = [] if seed is None else [f"run.seed={seed}"]
    # All are read before the first is run: a typing mistake should not cost an hour.
    loaded = [(name, presets.load(name, overrides)) for name in dict.fromkeys(wanted)]
    say_loaded(preset for _, preset in loaded)
    kept = True
    with Signals() as signals:
        for name, preset in loaded:
            verdict = check_preset(name, preset, signals)
            kept = kept and verdict.kept
            _tell(verdict, as_json)
    if not kept:
        leave(1)


def _shipped(llm: bool) -> list[str]:
    """The shipped presets that can be checked here; says which are left out, and why."""
    from engine import presets
    from engine.llm.memory import this_machine

    tables, models = [], []
    for name in presets.shipped_names():
        preset = presets.load(name)
        if not isinstance(preset, presets.LlmPreset):
            tables.append(name)
        elif llm and preset.model.device == "cuda" and not this_machine().gpus:
            complain(f"left out  {name}  (it needs a GPU, and there is none here)")
        elif llm:
            models.append(name)
    return [*tables, *models]


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
