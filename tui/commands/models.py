"""`icemaze models`: the language models that can be trained."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from tui.commands.options import Json
from tui.commands.output import complain

EXTRA = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "accelerate", "gguf")
"""What the `llm` extra brings."""
INSTALL = "pip install 'icemaze[llm]'"

app = typer.Typer(help="List and get language models.")


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context) -> None:
    """List and get language models."""
    if ctx.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that can be trained here."""
    require_llm_extra()
    complain("There are none: this version of Ice Maze trains tables only.")


@app.command("get")
def get_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's alias.")],
    as_json: Json = False,
) -> None:
    """Fetch a model into the cache."""
    from engine.errors import UserError

    require_llm_extra()
    raise UserError(
        f"There is no model {name!r} to get: this version of Ice Maze trains tables only."
    )


def missing_packages() -> list[str]:
    """The packages of the `llm` extra that are not installed. Imports none of them."""
    return [name for name in EXTRA if find_spec(name) is None]


def require_llm_extra() -> None:
    """Raise UserError with the line that installs what is missing."""
    from engine.errors import UserError

    if missing := missing_packages():
        raise UserError(
            f"Language models need packages that are not installed ({', '.join(missing)}). "
            f"Install them with: {INSTALL}"
        )
