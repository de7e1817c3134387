"""The structure of the source: no import circles, small folders, a reason for deferred imports.

The import graph counts what stands at the top of a file, inside functions and under
`TYPE_CHECKING`. That a package runs before its modules, which Python sees to, is no import here.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "tui")
UNFINISHED = ("engine.llm", "tui")
"""Packages that are being rebuilt: nothing is asked of their files yet. To become empty."""
LARGEST_FOLDER = 20
REASON = "start-up time"
"""The only good reason to import a module of ours inside a function."""


@dataclass(frozen=True)
class Import:
    """One import of a module of ours by another."""

    importer: str
    imported: str
    where: str  # file:line
    deferred: bool = False
    has_reason: bool = False


def modules_of(root: Path, packages: Iterable[str]) -> dict[str, Path]:
    """The files of some packages under `root`, by the names they are imported by."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """What a module imports of `modules`, wherever in the file it does."""
    source = path.read_text("utf-8")
    reasons = [
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and REASON in token.string
    ]

    def inside(node: ast.AST, function: int | None) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                told = any((function or 0) <= line <= (child.end_lineno or 0) for line in reasons)
                for imported in _modules_named(child, name, path, modules):
                    where = f"{path.name}:{child.lineno}"
                    yield Import(name, imported, where, function is not None, told)
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            outermost = child.lineno if is_function and function is None else function
            yield from inside(child, outermost)

    yield from inside(ast.parse(source), None)


def _modules_named(
    statement: ast.Import | ast.ImportFrom, name: str, path: Path, modules: dict[str, Path]
) -> set[str]:
    if isinstance(statement, ast.Import):
        found = {alias.name for alias in statement.names}
    else:
        base = statement.module or ""
        if statement.level:
            up = statement.level - (path.name == "__init__.py")
            base = ".".join([*name.split(".")[: -up or None], *filter(None, [base])])
        within = {f"{base}.{alias.name}" for alias in statement.names}
        found = {module if module in modules else base for module in within}
    return (found & set(modules)) - {name}


def circles(imports: Iterable[Import]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    graph: dict[str, set[str]] = {}
    for each in imports:
        graph.setdefault(each.importer, set()).add(each.imported)
        graph.setdefault(each.imported, set())
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in number:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == number[module]:
            at = stack.index(module)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return found


def is_unfinished(module: str) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in UNFINISHED)


@pytest.fixture(scope="module")
def ours() -> list[Import]:
    """All imports among the modules of the engine and the app."""
    modules = modules_of(ROOT, PACKAGES)
    assert len(modules) > 300
    return [found for name, path in modules.items() for found in imports_of(name, path, modules)]


def test_there_is_no_import_circle(ours: list[Import]) -> None:
    found = circles(ours)
    assert [circle for circle in found if not any(map(is_unfinished, circle))] == []


def test_every_deferred_import_has_a_reason(ours: list[Import]) -> None:
    found = [each for each in ours if each.deferred and not is_unfinished(each.importer)]
    assert [f"{each.importer} ({each.where})" for each in found if not each.has_reason] == []


def test_no_folder_is_a_drawer() -> None:
    sizes: dict[str, int] = {}
    for path in modules_of(ROOT, PACKAGES).values():
        folder = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        sizes[folder] = sizes.get(folder, 0) + (path.name != "__init__.py")
    large = {folder: n for folder, n in sizes.items() if n > LARGEST_FOLDER}
    assert {folder: n for folder, n in large.items() if not is_unfinished(folder)} == {}


# ---------------------------------------------------------------- the checker itself

TREE = {
    "__init__.py": "",
    "base.py": "import math\n",
    "early.py": "def run():\n    from made.late import X\n\n    return X\n",
    "late.py": "from . import early\nX = 1\n",
    "typed.py": "if TYPE_CHECKING:\n    from made.under.user import User\n",
    "under/__init__.py": "from ..base import nothing\n",
    "under/user.py": "import made.typed\nfrom made import base\n",
    "quick.py": "def f():\n    # For start-up time.\n    import made.base\n\n    def g():\n"
    "        from made import under\n",
}


@pytest.fixture
def made(tmp_path: Path) -> list[Import]:
    """The imports of a small tree with a deferred circle and one for types only."""
    for name, text in TREE.items():
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    modules = modules_of(tmp_path, ["made"])
    return [found for name, path in modules.items() for found in imports_of(name, path, modules)]


def test_circles_are_found_behind_functions_and_types(made: list[Import]) -> None:
    assert circles(made) == [["made.early", "made.late"], ["made.typed", "made.under.user"]]


def test_all_imports_are_seen(made: list[Import]) -> None:
    assert {(each.importer, each.imported) for each in made} == {
        ("made.early", "made.late"),
        ("made.late", "made.early"),
        ("made.typed", "made.under.user"),
        ("made.under", "made.base"),
        ("made.under.user", "made.typed"),
        ("made.under.user", "made.base"),
        ("made.quick", "made.base"),
        ("made.quick", "made.under"),
    }


def test_only_what_is_deferred_needs_a_reason(made: list[Import]) -> None:
    deferred = {each.importer: each.has_reason for each in made if each.deferred}
    assert deferred == {"made.early": False, "made.quick": True}


def test_a_circle_of_many_is_one() -> None:
    ring = [Import(f"m{i}", f"m{(i + 1) % 5}", "") for i in range(5)]
    tail = [Import("start", "m0", ""), Import("m3", "end", "")]
    assert circles([*ring, *tail]) == [[f"m{i}" for i in range(5)]]
    assert circles([*ring[:-1], *tail]) == []
