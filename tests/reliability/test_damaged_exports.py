"""Damaged runs, exported in every format and told in plain text: a result or a sentence.

Nothing half is left of what could not be written.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from damage import PRESETS, damage, recorded
from long_form import count

from engine.core.errors import UserError
from engine.exports.formats import FORMATS, default_out, export
from tui.cli.sharing import plain, share

pytestmark = pytest.mark.slow

RAW = re.compile(r"^\w+(Error|Exception|Warning): |Traceback")


def test_a_damaged_run_is_exported_or_refused_in_a_sentence(tmp_path: Path) -> None:
    originals = [recorded(tmp_path, text, name) for name, text in list(PRESETS.items())[:2]]
    found, refused = [], 0
    for seed in range(count(10, 3_000)):
        folder, out = tmp_path / str(seed), tmp_path / f"out-{seed}"
        original = originals[seed % 2]
        path = Path(shutil.copytree(original, folder / original.name))
        out.mkdir()
        what = damage(path, seed)
        calls: dict[str, Callable[[], object]] = {
            to.name: partial(export, path, to, out / default_out(path, to)) for to in FORMATS
        }
        calls |= {"plain": partial(plain.follow, path), "share": partial(share._of_run, path)}
        for name, call in calls.items():
            before = set(out.rglob("*"))
            try:
                call()
            except UserError as error:
                refused += 1
                if RAW.search(str(error)) or "\n" in str(error):
                    found.append(f"{name}, seed {seed} ({what}): no sentence: {error}")
                if set(out.rglob("*")) != before:
                    found.append(f"{name}, seed {seed} ({what}): something is left")
            except Exception as error:
                found.append(f"{name}, seed {seed} ({what}): {type(error).__name__}: {error}")
        shutil.rmtree(folder)
        shutil.rmtree(out)
    assert found == []
    assert refused > 0  # or nothing was damaged
