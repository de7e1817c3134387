"""`icemaze algorithms`: the algorithm map in words."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli.options import Json
from tui.cli.output import emit, on_terminal, say, show
from tui.cli.shell import completion
from tui.features.algorithms.words import llm_words, place_words, policy_words

if TYPE_CHECKING:
    from engine.presets.algorithm_map import Branch, Entry

LLM_MARK = "[LLM]"
"""Stands beside every algorithm that language models are trained with."""
WIDTH = 92


def algorithms(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            help="An algorithm's name.",
            autocompletion=completion.algorithms,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the algorithms by family; with NAME one of them, with what it needs."""
    import msgspec

    # start-up time
    from engine.presets import algorithm_map as map_

    found = map_.get(name) if name else map_.entries()
    if as_json:
        for entry in found:
            emit(**msgspec.to_builtins(entry))
        return
    text = "\n\n".join(map(_details, found)) if name else _listing(map_.tree())
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        # start-up time
        from tui.glossary.render import to_ascii

        text = to_ascii(text)
    if on_terminal():
        from rich.text import Text

        shown = Text(text)
        shown.highlight_regex(r"^\S.*$|\[LLM\]", "bold")
        show(shown)
    else:
        say(text)


def _listing(tree: list[Branch]) -> str:
    lines: list[str] = []
    for branch in tree:
        indent = "  " if branch.parent else ""
        if lines and not branch.parent:
            lines.append("")
        lines.append(f"{indent}{branch.title}: {branch.about}")
        for entry in branch.entries:
            mark = f"  {LLM_MARK}" if entry.for_llms else ""
            lines.append(f"{indent}  {entry.name:24}{entry.title}{mark}")
    lines += [
        "",
        f"{LLM_MARK}: language models are trained with it, or with what grew out of it.",
        "`icemaze algorithms NAME` says more about one.",
    ]
    return "\n".join(lines)


def _details(entry: Entry) -> str:
    facts = {
        "idea": entry.idea,
        "update": entry.formula,
        "source": entry.source,
        "needs": entry.needs,
        "chosen when": entry.chosen_when,
        "policy": policy_words(entry),
        "language models": llm_words(entry),
        "presets": ", ".join(entry.presets) or "none",
        "file": entry.file,
    }
    lines = [f"{entry.title} ({entry.name}), {place_words(entry)}"]
    for label, text in facts.items():
        if text:
            head = f"  {label:16}"
            lines.append(_paragraph(head, text))
    return "\n".join(lines)


def _paragraph(head: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    )
