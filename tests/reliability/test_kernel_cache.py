"""Machine code that is kept for the next start: whatever becomes of its files is but a miss."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import long_form
import pytest
from small_kernel import triple

from engine.core import compiling, kernel_cache
from tui.cli.doctor import machine

pytestmark = pytest.mark.slow

KERNEL = "a small kernel"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machine code is kept; the small kernel has been compiled once."""
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(tmp_path / "cache"))
    assert "once" in compiling.announcement(KERNEL, triple)
    assert start() == "compiled"
    assert compiling.announcement(KERNEL, triple) == ""
    return compiling.cache_folder()


def start() -> str:
    """What another process would do: load the kernel or compile it. It computes the same."""
    dispatcher: Any = compiling._machine_code(triple, inside=False)
    assert dispatcher(2.0) == 6.0
    return "loaded" if dispatcher.stats.cache_hits else "compiled"


def files(folder: Path) -> list[Path]:
    """The index and the machine code."""
    found = sorted(folder.rglob("*.nb?"))
    assert [file.suffix for file in found] == [".nbc", ".nbi"]
    return found


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut to nothing": lambda file: file.write_bytes(b""),
    "cut in the middle": lambda file: os.truncate(file, file.stat().st_size // 2),
    "without its last byte": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "with a byte more": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "a pickle": lambda file: file.write_bytes(pickle.dumps(Bomb(file.parent / "exploded"))),
    "pickled twice": lambda file: file.write_bytes(
        pickle.dumps("0") + pickle.dumps(Bomb(file.parent / "exploded"))
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", [0, 1], ids=["code", "index"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again_and_told_once(
    folder: Path, damage: str, which: int
) -> None:
    file = files(folder)[which]
    DAMAGES[damage](file)
    finding = machine.kernel_cache()
    assert finding.level == "warning" and "1 file is damaged" in finding.text
    assert compiling.needs_compiling(triple)
    assert "damaged" in compiling.announcement(KERNEL, triple)
    assert start() == "compiled"
    assert compiling.announcement(KERNEL, triple) == "" and start() == "loaded"
    finding = machine.kernel_cache()
    assert finding.level == "ok" and "1 compiled kernel;" in finding.text
    assert not list(folder.rglob("exploded"))


@pytest.mark.parametrize("which", [0, 1], ids=["code", "index"])
def test_a_flipped_bit_is_never_run(folder: Path, which: int) -> None:
    """Also where nobody asked before whether it is whole."""
    numbers = random.Random(7)
    for _ in range(long_form.count(6, 500)):
        file = files(folder)[which]
        data = bytearray(file.read_bytes())
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
        file.write_bytes(data)
        assert start() == "compiled" and start() == "loaded"


@pytest.mark.parametrize("what", ["code", "index", "room", "folder", "all"])
def test_a_deleted_file_is_compiled_again(folder: Path, what: str) -> None:
    code, index = files(folder)
    for path in {
        "code": [code], "index": [index], "room": [code.parent], "folder": [folder],
        "all": [folder.parent],
    }[what]:  # fmt: skip
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "once" in compiling.announcement(KERNEL, triple)
    assert start() == "compiled" and start() == "loaded"


@pytest.mark.parametrize("what", [shutil.rmtree, lambda path: path.chmod(0o500)])
def test_a_folder_that_goes_while_it_is_used_costs_nothing(
    folder: Path, what: Callable[[Path], object]
) -> None:
    shutil.rmtree(folder)
    dispatcher: Any = compiling._machine_code(triple, inside=False)
    what(folder)
    assert dispatcher(2.0) == 6.0


def test_a_full_disk_costs_only_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder)

    def full(file: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kernel_cache, "replace_file", full)
        assert start() == "compiled"
    assert start() == "compiled" and start() == "loaded"


UNSAFE: dict[str, Callable[[Path], object]] = {
    "open to be written": lambda kernels: kernels.chmod(0o777),
    "another user's": lambda kernels: os.chown(kernels, 12345, -1),
    "a link": lambda kernels: kernels.rename(kernels.with_name("x")) and kernels.symlink_to("x"),
    "a file": lambda kernels: kernels.rename(kernels.with_name("x")) and kernels.touch(),
    "below what others write": lambda kernels: kernels.parent.chmod(0o777),
}


@pytest.mark.parametrize("how", UNSAFE)
def test_a_folder_that_others_could_write_is_not_used(
    folder: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "another user's" and os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    UNSAFE[how](folder.parent)
    monkeypatch.chdir(tmp_path)  # Numba's other places would be beside the file, or at home
    said = compiling.announcement(KERNEL, triple)
    assert "not kept for the next start: " in said and "; kept for" not in said
    assert start() == "compiled" and start() == "compiled"
    assert not list(Path(__file__).parent.rglob("__pycache__/small_kernel*.nb?"))
    finding = machine.kernel_cache()
    assert finding.level == "warning" and finding.text.startswith("not used")
    assert finding.text.partition(": ")[2] in said


def test_the_folder_is_the_users_own(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    finding = machine.kernel_cache()
    assert finding.level == "ok" and str(folder) in finding.text
