"""Writes docs/run-db.md and docs/events.md from the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import msgspec

from engine.learning import events
from engine.runs import schema

EVENTS = """
worlds World, points Update, metrics Metric, evaluations Evaluation, episodes Episode, live Live,
policies Policy, notes Note, tunes Tuned, groups Group, per_agent PerAgent, ratings Pair,
ratings Preference"""
"""Which tables keep which events."""


def run_db() -> str:
    """The tables of `run.db` as SQL, with links to the events they keep."""
    text = start("engine/runs/schema.py", schema) + f"\nSchema version {schema.SCHEMA_VERSION}.\n"
    for sql in schema.SCHEMA.strip().split("\n\n"):
        table = re.findall(r"CREATE TABLE (\w+)", sql)[0]
        kept = [name for key, name in (pair.split() for pair in EVENTS.split(",")) if key == table]
        links = " and ".join(f"[{name}](events.md#{name.lower()})" for name in kept)
        wrapped = re.sub(r"(last_(?:metrics|policies|groups) [^,]*,) ", r"\1\n  ", sql)
        text += f"\n## {table}\n\n" + (f"Keeps {links}.\n\n" if links else "")
        text += f"```sql\n{wrapped}\n```\n"
    return text


def event_structs() -> str:
    """The events and what they are made of: what each says, then its fields."""
    text = start("engine/learning/events.py", events) + "\nEvery event has its `step` besides.\n"
    for kind in (*get_args(events.AnyEvent), events.Member, events.Metric):
        text += f"\n## {kind.__name__}\n\n{inspect.getdoc(kind)}\n\n```python\n"
        own = inspect.get_annotations(kind)
        for field in msgspec.structs.fields(kind):
            empty = {dict: " = {}", list: " = []"}.get(field.default_factory, "")
            default = empty if field.default is msgspec.NODEFAULT else f" = {field.default!r}"
            if field.name in own:
                text += f"{field.name}: {own[field.name]}{default}\n"
        text += "```\n"
    return re.sub(r"(?<!\w)'(\w*)'", r'"\1"', text)  # as ruff wants it


def start(file: str, module: object) -> str:
    """The head of a page: where it comes from, and what the module says."""
    what, _, more = (inspect.getdoc(module) or "").partition("\n")
    return f"<!-- Made from {file} by docs/generate.py. -->\n\n# {what.rstrip('.')}\n{more}\n"


PAGES = {"run-db.md": run_db, "events.md": event_structs}

if __name__ == "__main__":
    for name, page in PAGES.items():
        Path(__file__).with_name(name).write_text(page(), "utf-8")
