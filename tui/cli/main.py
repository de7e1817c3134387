"""The `icemaze` command: headless commands and the door to the app.

Thin: the commands stand in `tui.cli` and import what they need when they run, so that
`icemaze --help` does not wait for NumPy. Here is only what all have in common: global options, and
how a mistake is told. Exit statuses: 0 finished, 1 the run failed, 2 the input was wrong,
130 interrupted; 129 and 141 (hang-up, closed pipe) when nobody watches any more.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.core.errors import UserError, nearest
from tui.cli import (
    algorithms,
    compare,
    evaluate,
    glossary,
    models,
    play,
    presets,
    runs,
    streams,
    train,
    trust,
)
from tui.cli import app as app_commands
from tui.cli.config import command as config
from tui.cli.doctor import command as doctor
from tui.cli.lab import command as lab
from tui.cli.output import INTERRUPTED, ReaderGoneError, complain, emit, say, stdout
from tui.cli.serve import command as serve
from tui.cli.sharing import export, share
from tui.cli.shell import examples
from tui.cli.streams import HUNG_UP, PIPE_CLOSED
from tui.cli.sweep import command as sweep
from tui.cli.watch import command as watch

RUN_FAILED, WRONG_INPUT = 1, 2
RUNS_DIR, RUNS_DIR_VARIABLE = "--runs-dir", "ICEMAZE_RUNS_DIR"

NO_NUMBER = re.compile(r"(?<=: )('.*') is not a valid (int|float)(eger)?")
"""What Typer says about a word that is no number."""

# Typer brings its own copy of Click or uses the installed one, depending on its version.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="icemaze",
    help="Watch reinforcement learning happen. Without a command: the app.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        # start-up time
        from tui.cli.doctor.finding import version

        say(f"icemaze {version('icemaze')}")
        raise typer.Exit(RUN_FAILED if stdout.lost else 0)


@app.callback(invoke_without_command=True)
def icemaze(
    ctx: typer.Context,
    runs_dir: Annotated[
        Path | None,
        typer.Option(
            RUNS_DIR,
            metavar="FOLDER",
            envvar=RUNS_DIR_VARIABLE,
            show_default=False,
            help="Where runs are kept (may stand after the command too).",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Watch reinforcement learning happen. Without a command: the app."""
    if runs_dir is not None:
        # The option is the variable, so that the app and everything it starts agree with it.
        os.environ[RUNS_DIR_VARIABLE] = str(runs_dir.expanduser().absolute())
    if ctx.invoked_subcommand is None:
        app_commands.open_app()


app.command(cls=train.TrainCommand)(train.train)
app.command("open")(app_commands.open_run)
app.command()(train.fork)
app.command()(watch.watch)
app.command()(runs.runs)
app.command()(runs.status)
app.command()(runs.pause)
app.command()(runs.resume)
app.command()(runs.stop)
app.command()(runs.rename)
app.command()(runs.pin)
app.command()(runs.rm)
app.command("eval")(evaluate.evaluate)
app.command()(compare.compare)
app.command()(export.export)
app.command()(share.share)
app.command()(play.play)
app.add_typer(presets.app, name="presets")
app.add_typer(lab.app, name="lab")
app.command(cls=sweep.SweepCommand)(sweep.sweep)
app.command()(glossary.glossary)
app.command()(algorithms.algorithms)
app.add_typer(models.app, name="models")
app.command()(trust.trust)
app.add_typer(config.app, name="config")
app.command()(serve.serve)
app.command()(doctor.doctor)
examples.add_to(app)


def main() -> None:
    """The entry point: run the command line, and leave with its exit status."""
    streams.open_missing()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a sign the locale lacks is no reason to fail
    sys.exit(streams.close(run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """Carry out a command line and return its exit status. Whatever goes wrong is one sentence."""
    as_json = "--json" in arguments
    stdout.lost = False
    try:
        code = app(_runs_dir_first(arguments), prog_name="icemaze", standalone_mode=False)
        if isinstance(code, int):
            return code  # as the run ended
        return RUN_FAILED if stdout.lost else 0
    except UserError as error:
        return _tell(str(error), WRONG_INPUT, as_json)
    except ReaderGoneError as error:
        return PIPE_CLOSED if _errno(error.__cause__) == errno.EPIPE else HUNG_UP
    except (KeyboardInterrupt, typer.Abort):
        return _tell("Interrupted.", INTERRUPTED, as_json=False)
    except ClickException as error:
        return _tell(_usage(error), WRONG_INPUT, as_json)
    except SystemExit as error:  # of the app, or Click's own when nobody reads its help
        gone = error.code == 1 and type(sys.stdout).__name__ == "PacifyFlushWrapper"
        return PIPE_CLOSED if gone else _status(error)
    except OSError as error:
        if _errno(error) == errno.EIO:  # the terminal went away in the middle of a line
            return HUNG_UP
        about = f"{error.filename}: " if error.filename else ""
        return _tell(f"{about}{error.strerror or error}.", RUN_FAILED, as_json)
    except Exception as error:
        if os.environ.get("ICEMAZE_DEBUG"):
            raise
        return _tell(
            f"This should not happen: {type(error).__name__}: {error}. Please report it, with what "
            "ICEMAZE_DEBUG=1 shows before the same command.",
            RUN_FAILED,
            as_json,
        )


def _tell(message: str, code: int, as_json: bool) -> int:
    """Say what went wrong where it will be read, and give the exit status back."""
    if not as_json:
        complain(f"icemaze: {message}")
        return code
    try:
        emit(event="error", message=message)
    except ReaderGoneError:
        return PIPE_CLOSED
    return code


def _usage(error: Any) -> str:
    """Click's message as one sentence, with the nearest valid option and where to read more."""
    context = getattr(error, "ctx", None)
    message = error.format_message().strip().rstrip(".") + "."
    if (given := getattr(error, "option_name", None)) and context:
        valid = [name for option in context.command.params for name in option.opts]
        message = f"There is no option {given}."
        message += nearest(given, [name for name in valid if name.startswith("--")])
    message = NO_NUMBER.sub(_wanted, message.replace("?.", "?"))
    return f"{message} `{context.command_path if context else 'icemaze'} --help` says more."


def _wanted(message: re.Match[str]) -> str:
    return f"found {message[1]}; expected a {'whole ' * (message[2] == 'int')}number"


def _runs_dir_first(arguments: list[str]) -> list[str]:
    """`--runs-dir` is an option of `icemaze` itself; people write it after the command as well."""
    moved, rest, left = [], [], list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            rest += [argument, *left]
            break
        if argument == RUNS_DIR and left:
            moved += [argument, left.pop(0)]
        elif argument.startswith(f"{RUNS_DIR}="):
            moved.append(argument)
        else:
            rest.append(argument)
    return moved + rest


def _status(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else RUN_FAILED


def _errno(error: BaseException | None) -> int | None:
    return error.errno if isinstance(error, OSError) else None


if __name__ == "__main__":
    main()
