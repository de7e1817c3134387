"""Making a run's folder and starting the background worker in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from engine import presets
from engine.config.preset import Budget, LlmPreset, Preset, algorithm_name
from engine.core import child, private
from engine.core.errors import INSTALL_LLM, UserError
from engine.core.files import replace_file
from engine.learning.custom_file import CustomFile
from engine.llm.evaluation.fit import check_fit
from engine.llm.models import fetch
from engine.llm.models.catalog import resolve
from engine.runs import custom_algorithm, library, schema, stored
from engine.runs.disk.lock import RunLock
from engine.runs.outcome import last_log_line
from engine.runs.reader import RunReader

START_SECONDS = 30.0
"""How long a worker may take to show a sign of life on a busy machine."""
SHORT_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def launch(
    preset: Preset,
    name: str,
    *,
    runs_dir: Path | None = None,
    seed: int | None = None,
    pace: float | None = None,
    paused: bool = False,
    spawned: Callable[[Path], None] | None = None,
) -> Path:
    """Create a run and start its worker; gives the run's folder. Raises UserError.

    `spawned` gets the folder as soon as there is a process, before its sign of life.

    `pace` is in steps per second, None for as fast as it goes: the preset's own `run.pace` is for
    the caller to pass on. With `paused` the run waits before its first step.
    """
    run_dir = create_run(preset, name, runs_dir=runs_dir, seed=seed)
    start_worker(run_dir, pace=pace, paused=paused, spawned=spawned)
    return run_dir


NEEDED = ("torch", "transformers", "peft", "safetensors")
"""The packages of the `llm` extra that every language model needs."""


GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""One of them is there where a GPU may be used (NVIDIA's, WSL's, AMD's): known without torch."""


def _checked_model(preset: LlmPreset) -> LlmPreset:
    """The preset with its model's folder made absolute: the worker runs in the run's folder, where
    a relative path would lead elsewhere. Raises UserError for what would only fail there."""
    model = preset.model
    needed = [*NEEDED, *(["bitsandbytes"] if model.quantization != "none" else [])]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(
            f"Training a language model needs {', '.join(missing)}, not installed here: "
            f"{INSTALL_LLM}."
        )
    if model.device == "cuda" and not any(map(os.path.exists, GPU_DEVICES)):
        raise UserError(
            "model.device is 'cuda', but this machine has no GPU; set it to 'auto' or 'cpu', or "
            "see what `icemaze doctor` finds."
        )
    source = resolve(model.name)
    if (folder := fetch.find(source)) is not None:  # what is not here yet, its worker looks at
        check_fit(preset, folder)
    if source.kind != "folder":
        return preset
    model = msgspec.structs.replace(model, name=source.location)
    return msgspec.structs.replace(preset, model=model)


def create_run(
    preset: Preset, name: str, *, runs_dir: Path | None = None, seed: int | None = None
) -> Path:
    """Make the folder of a new run, with the preset frozen in it. Raises UserError.

    `name` is the preset's name, or the file it came from.
    """
    if seed is not None:
        preset = msgspec.structs.replace(preset, run=msgspec.structs.replace(preset.run, seed=seed))
    if isinstance(preset, LlmPreset):
        preset = _checked_model(preset)
    name = run_name(name)
    run_dir, now = new_folder(runs_dir or library.runs_dir(), name), datetime.now(UTC)
    try:
        with explained(run_dir):
            own = custom_algorithm.freeze(preset, run_dir)
            schema.create(run_dir)
            _write_meta(
                run_dir,
                id=run_dir.name,
                preset_name=name,
                title=preset.title,
                created=now.isoformat(timespec="microseconds"),
                order=library.next_in_order(run_dir.parent, now).isoformat(timespec="microseconds"),
                state="starting",
                generation=0,
                # A file of the user's own is named, with its digest, in `own`.
                **(own or {"algorithm": algorithm_name(preset)}),
            )
    except BaseException:
        shutil.rmtree(run_dir, ignore_errors=True)
        raise
    return run_dir


def run_name(name_or_file: str) -> str:
    """What a run is called after its preset: a shipped name, or the stem of a file's."""
    if name_or_file == "-":
        return "stdin"
    return Path(name_or_file).stem if name_or_file.endswith(".toml") else name_or_file


def new_folder(runs_dir: Path, name: str) -> Path:
    """Make a folder `<time>-<name>-<two characters>` that nobody else has. Raises UserError."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "run"
    with explained(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        while True:
            moment = datetime.now().strftime("%Y%m%d-%H%M%S")
            # Not from the global generator: naming a run must not disturb anybody's seed.
            suffix = "".join(random.SystemRandom().choices(SHORT_ALPHABET, k=2))
            run_dir = runs_dir.absolute() / f"{moment}-{slug}-{suffix}"
            with contextlib.suppress(FileExistsError):
                run_dir.mkdir(mode=0o700)
                return run_dir


@contextlib.contextmanager
def explained(path: Path) -> Any:
    """Turn failures to write in the folder of runs into UserErrors that say what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot write the run ({error.strerror}). Make room or mend the permissions, "
            "or keep runs elsewhere: --runs-dir or ICEMAZE_RUNS_DIR."
        ) from error


def _write_meta(run_dir: Path, **values: Any) -> None:
    with (
        contextlib.closing(schema.open_to_write(run_dir)) as connection,
        schema.explained(run_dir / schema.DATABASE),
    ):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "REPLACE INTO meta VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in values.items()],
        )
        # What was asked of a worker that is gone is not the business of the next one.
        connection.execute(
            "UPDATE commands SET status = 'refused', reply = 'The worker ended before it could "
            "do this.' WHERE status = 'pending'"
        )
        connection.execute("COMMIT")


def _read_meta(run_dir: Path) -> dict[str, Any]:
    with RunReader(run_dir) as reader:
        return reader.meta()


# ---------------------------------------------------------------- starting


def start_worker(
    run_dir: Path,
    *,
    resume: bool = False,
    overrides: list[str] | None = None,
    pace: float | None = None,
    paused: bool = False,
    program: list[str] | None = None,
    spawned: Callable[[Path], None] | None = None,
) -> None:
    """Start the worker of a run; returns when it has shown a sign of life. `spawned` is called
    before that, as soon as there is a process.

    With `resume` it goes on from the last checkpoint, and `overrides` may raise `budget.*`.
    `program` replaces `python -P -m engine.runs.worker`, for tests. Raises UserError when the run
    is already going, when there is nothing left to do, and when the worker does not start; and
    NotTrustedError when it would run code that the user has not said yes to.
    """
    stored.check_started_here(_read_meta(run_dir), run_dir.name, "go on with")
    own = permitted_code(run_dir)
    lock = RunLock.take(run_dir)
    if lock is None:
        raise UserError(
            f"The run {run_dir.name} is already going. `icemaze open {run_dir.name}` watches it, "
            f"`icemaze stop {run_dir.name}` ends it."
        )
    try:
        schema.refuse_newer(run_dir)
        if resume:
            _prepare_resume(run_dir, overrides or [])
        # The number of a worker that is gone may be anybody's by now.
        _write_meta(run_dir, state="starting", pace=pace, paused=paused, pid=None)
        program = program or [sys.executable, "-P", "-m", "engine.runs.worker"]
        trusted = ["--trust", own.sha256] if own else []
        process = _spawn(run_dir, lock, program, trusted)
        if spawned is not None:
            spawned(run_dir)
        _wait_for_life(run_dir, process)
    finally:
        lock.close()  # the worker has inherited it


def permitted_code(run_dir: Path) -> CustomFile | None:
    """The code of the user's own that a run's worker runs, if any. Raises NotTrustedError when the
    user has not said that it may, and UserError when it was changed."""
    private.check_own(run_dir, "run")
    return custom_algorithm.checked(run_dir, _read_meta(run_dir).get(custom_algorithm.META_KEY))


def _prepare_resume(run_dir: Path, overrides: list[str]) -> None:
    """Check and raise the budget, and see that there is something left of it."""
    for override in overrides:
        if not override.strip().startswith("budget."):
            raise UserError(
                f"--set {override}: a resumed run goes on as it was; only its budget can change, "
                "such as --set budget.env_steps=100000. Start a new run to change the rest."
            )
    file = run_dir / "preset.toml"
    meta = _read_meta(run_dir)
    text = stored.read_text(file)
    with stored.trusted_by_nobody(file):
        preset = presets.parse(
            text, where="preset.toml", overrides=overrides, folder=run_dir, run=True
        )
    stored.check_algorithm(file, algorithm_name(preset), meta.get("algorithm"))
    if meta.get("state") == "finished":
        _check_budget(run_dir.name, preset.budget, meta)
    if overrides:
        with explained(file):
            replace_file(file, presets.dump(preset).encode())


def _check_budget(run_id: str, budget: Budget, meta: dict[str, Any]) -> None:
    used = {**meta.get("counters", {}), "seconds": meta.get("seconds", 0.0)}
    for key in ("env_steps", "episodes", "updates", "seconds"):
        limit = getattr(budget, key)
        if limit is not None and used.get(key, 0) >= limit:
            raise UserError(
                f"The run {run_id} has used up its budget ({key}: {used[key]} of {limit}). Raise "
                f"it to go on: icemaze train --resume {run_id} --set budget.{key}={2 * limit}"
            )


def _spawn(
    run_dir: Path, lock: RunLock, program: list[str], options: list[str]
) -> subprocess.Popen[bytes]:
    with (
        explained(run_dir),
        open(run_dir / "worker.log", "ab", opener=private.opener) as output,
    ):
        process = child.start(
            [*program, str(run_dir.absolute()), "--lock-fd", str(lock.descriptor), *options],
            cwd=run_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock.descriptor,),
        )
    # Somebody must collect its exit status, or it stays a zombie while this process lives.
    threading.Thread(target=process.wait, daemon=True, name="worker-reaper").start()
    return process


def _wait_for_life(run_dir: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if _read_meta(run_dir).get("pid") == process.pid:
            return
        if ended:
            reason = last_log_line(run_dir) or f"exit status {process.returncode}"
            _write_meta(run_dir, state="failed", finished={"error": reason})
            raise UserError(f"The worker of {run_dir.name} did not start: {reason}")
        time.sleep(0.02)
