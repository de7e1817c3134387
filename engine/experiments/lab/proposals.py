"""The runs that a page of a lesson proposes: its `icemaze train …` commands, to be started by key.

A lesson is a shipped file, but what it says is only ever read as a preset with changed settings.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from engine.experiments.lab.lesson import Page, Text

_COMMAND = re.compile(r"`(icemaze train [^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A run that is proposed: `settings` are KEY=VALUE, as after `--set`."""

    command: str
    preset: str
    settings: tuple[str, ...] = ()


def proposals(page: Page) -> list[Proposal]:
    """The runs that a page proposes, in their order; commands with other options are left out."""
    text = "\n".join(part.markdown for part in page.parts if isinstance(part, Text))
    found = [_understood(command) for command in _COMMAND.findall(text)]
    return list(dict.fromkeys(proposal for proposal in found if proposal is not None))


def _understood(command: str) -> Proposal | None:
    try:
        _, _, preset, *options = shlex.split(command)
    except ValueError:
        return None
    if preset.startswith("-") or options[0::2] != ["--set"] * (len(options) // 2):
        return None
    if len(options) % 2:
        return None
    return Proposal(command, preset, tuple(options[1::2]))
