"""Imports of the interface: whoever imports late says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tui

ROOT = Path(tui.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def late_imports(tree: ast.Module) -> Iterator[ast.stmt]:
    """The first of each block of imports of this program inside functions."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
                before: ast.stmt | None = None
                for statement in block if isinstance(block, list) else ():
                    if own_import(statement) and not (before and own_import(before)):
                        yield statement
                    before = statement


def own_import(statement: ast.stmt) -> bool:
    names: list[str] = []
    if isinstance(statement, ast.ImportFrom):
        names = [statement.module or ""]
    elif isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    return any(name.partition(".")[0] in ("engine", "tui") for name in names)


@pytest.mark.parametrize("file", FILES)
def test_a_late_import_says_why(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    lines = text.splitlines()
    for statement in late_imports(ast.parse(text)):
        beside, above = lines[statement.lineno - 1], lines[statement.lineno - 2]
        assert "#" in beside or above.lstrip().startswith("#"), f"{file}:{statement.lineno}"
