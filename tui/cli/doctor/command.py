"""`icemaze doctor`: what this machine can run, and why not."""

from __future__ import annotations

import dataclasses

from tui.cli.options import Json
from tui.cli.output import emit, leave, say


def doctor(as_json: Json = False) -> None:
    """Say what this machine can run, and why not. Exit status 1 when it cannot train."""
    # start-up time
    from tui.cli.doctor.machine import examine

    well, models = True, False
    for finding in examine():
        well = well and finding.level != "bad"
        models = models or finding.check == "LLM device"
        if as_json:
            emit(**dataclasses.asdict(finding))
            continue
        mark = {"ok": "ok  ", "warning": "note", "bad": "BAD "}[finding.level]
        say(f"{mark}  {finding.check:16} {finding.text}")
        if finding.remedy:
            say(f"{'':22} {finding.remedy}")
    if not as_json:
        say()
        what = "tables and language models" if models else "tables"
        say(f"This machine can train {what}." if well else "This machine cannot train: see BAD.")
    if not well:
        leave(1)
