"""What the shell completes: runs, presets, algorithms, terms of the glossary.

A shell calls this at every press of Tab, in a process of its own: so each answer imports only what
it needs and reads no run. Whatever goes wrong, nothing is completed, and no error is drawn into the
line that is being typed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

Completer = Callable[[str], list[str]]


def _quietly(find: Callable[[], Iterable[str]]) -> Completer:
    """A completer: those of the words found that begin with what was typed."""

    @functools.wraps(find)
    def complete(incomplete: str) -> list[str]:
        try:
            return [word for word in find() if word.startswith(incomplete)]
        except Exception:
            return []

    del complete.__wrapped__  # Typer reads the signature
    complete.__annotations__ = {"incomplete": str, "return": list[str]}
    return complete


@_quietly
def runs() -> Iterable[str]:
    """The ids of all runs, newest first."""
    # start-up time
    from engine.runs.library import run_folders

    return [path.name for path in reversed(run_folders())]


@_quietly
def presets() -> Iterable[str]:
    """The names of the shipped presets. (TOML files are the shell's own business.)"""
    # start-up time
    from engine.config.shipped import shipped_names

    return shipped_names()


@_quietly
def runs_and_presets() -> Iterable[str]:
    """Both."""
    return [*runs(""), *presets("")]


@_quietly
def algorithms() -> Iterable[str]:
    """The names of all algorithms."""
    # start-up time
    from engine.algorithms.registry import LANGUAGE_MODELS, TABLES

    return dict.fromkeys([*TABLES.names, *LANGUAGE_MODELS.names])


@_quietly
def terms() -> Iterable[str]:
    """The glossary's entries."""
    # start-up time
    from tui.glossary.entries import load

    return [entry.slug for entry in load()]


@_quietly
def challenges() -> Iterable[str]:
    """The lab's challenges."""
    # start-up time
    from engine.experiments.lab.challenge import challenge_names

    return challenge_names()


@_quietly
def formats() -> Iterable[str]:
    """What a run can be exported to. Written out: to import them takes longer than to type them."""
    return ("html", "csv", "parquet", "json", "tensorboard", "svg", "gif")
