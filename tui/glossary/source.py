"""From an entry's source reference to the lines themselves, without importing anything.

A reference is ``module:name`` (a class, function, method or constant, found by parsing the file),
optionally with ``@ text``: then the lines of that name that contain the text are the ones meant.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Where the packages `engine` and `tui` are: a checkout, or site-packages."""
LONGEST = 28
"""A longer definition is shown in part: around the lines meant, or its beginning."""
AROUND = 6


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a file. Line numbers count from 1."""

    file: str
    """Path relative to where the packages are: `engine/tabular/algorithms/sarsa.py`."""
    name: str
    """What is shown: `sarsa`, `Algorithm.explain`."""
    first_line: int
    text: str
    marked: tuple[int, ...]
    """The numbers of the lines meant; empty when all of them are."""

    @property
    def last_line(self) -> int:
        """The number of the last line."""
        return self.first_line + self.text.count("\n")


def resolve(reference: str) -> Excerpt:
    """The lines a reference names. LookupError says what is missing."""
    place, _, marker = (part.strip() for part in reference.partition(" @ "))
    module, _, name = place.partition(":")
    file = module_file(module)
    lines, tree = _parsed(file)
    node = _find(tree, name, reference)
    first, last = _extent(node)
    marked = [n for n in range(first, last + 1) if marker and marker in lines[n - 1]]
    if marker and not marked:
        raise LookupError(f"{reference}: no line of {name} contains {marker!r}")
    if last - first >= LONGEST:
        if marked:
            first, last = max(first, marked[0] - AROUND), min(last, marked[0] + AROUND)
            marked = [n for n in marked if n <= last]
        else:
            last = first + LONGEST - 1
    shown = lines[first - 1 : last]
    while len(shown) > 1 and not shown[-1].strip():
        shown.pop()
    return Excerpt(
        file=file.relative_to(ROOT).as_posix(),
        name=name,
        first_line=first,
        text=_dedented(shown),
        marked=tuple(marked),
    )


def module_file(module: str) -> Path:
    """The file of a module. LookupError if there is none."""
    base = ROOT.joinpath(*module.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    raise LookupError(f"{module}: there is no such module in {ROOT}")


@cache
def _parsed(file: Path) -> tuple[list[str], ast.Module]:
    text = file.read_text("utf-8")
    return text.splitlines(), ast.parse(text)


def _find(tree: ast.AST, name: str, reference: str) -> ast.stmt:
    body: list[ast.stmt] = getattr(tree, "body", [])
    head, _, rest = name.partition(".")
    for node in body:
        if head in _names(node):
            return _find(node, rest, reference) if rest else node
    raise LookupError(f"{reference}: there is no {head!r}")


def _names(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        targets: list[ast.expr] = [node.target]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    else:
        return []
    return [leaf.id for t in targets for leaf in ast.walk(t) if isinstance(leaf, ast.Name)]


def _extent(node: ast.stmt) -> tuple[int, int]:
    """First and last line, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return first, node.end_lineno or first


def _dedented(lines: list[str]) -> str:
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    common = min(indents, default=0)
    return "\n".join(line[common:] for line in lines)
