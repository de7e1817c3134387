"""What all tests share: which are fast, on how many cores they run, and signals as usual.

Markers, see CONTRIBUTING.md: `slow` trains for long, starts a process or drives the whole app;
`llm` needs torch; `fast` is every other test, and nobody writes it.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from forked_processes import Forks

from engine.core import child

# Each test process and each worker that it starts computes on one core: they share the machine, and
# sums over another number of threads would not be equal bit for bit. Read when torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
# Compiled files are kept, whatever the environment says: each test process would compile half of
# the project anew, test files included, and so would all that the tests start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Tests see the same terminal everywhere: colours and characters follow from it.
os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
os.environ.pop("NO_COLOR", None)

STARTED = child.start
NOT_FAST = re.compile(r"^pytestmark = .*\bmark\.(slow|llm)\b", re.MULTILINE)
NEEDS_TORCH = Path(__file__).parent / "engine" / "llm"


def only_fast(config: pytest.Config) -> bool:
    """Whether `-m fast` was asked for."""
    return bool(config.getoption("markexpr") == "fast")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, do not even import files without a fast test: torch alone takes seconds."""
    if not only_fast(config):
        return None
    if collection_path == NEEDS_TORCH:
        return True
    if collection_path.match("test_*.py") and NOT_FAST.search(collection_path.read_text("utf-8")):
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what nobody marked, before `-m` chooses; and put first what takes longest, so that no
    test process waits for another at the end."""
    for item in items:
        if NEEDS_TORCH in item.path.parents:
            item.add_marker("llm")
        if not any(item.get_closest_marker(name) for name in ("slow", "llm")):
            item.add_marker("fast")
    items.sort(key=lambda item: item.get_closest_marker("llm") is None)


def pytest_collection_finish() -> None:
    """What importing has made stays: looking for garbage in it takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Fast tests take one process: a second would collect them again."""
    return 0 if only_fast(config) else None


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes that tests start the usual signals, whatever ours are.

    `nohup` ignores SIGHUP and a shell script's `&` ignores SIGINT, and what is ignored is
    inherited: `icemaze train` would rightly stay when its terminal is gone. Handlers are not.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _go_on)


def _go_on(number: int, frame: FrameType | None) -> None:
    """As if ignored."""


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The settings folder of tests and of all that they start: not that of whoever runs them."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def forked() -> Iterator[None]:
    """The engine's processes start without importing torch again, see `forked_processes`."""
    forks = Forks(child.environment())

    def start(command: list[str], **options: Any) -> Any:
        return forks.start(command, child.environment(), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "start", start)
        yield


@pytest.fixture
def real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They start as users' do."""
    monkeypatch.setattr(child, "start", STARTED)


@pytest.fixture
def own_code_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of code that is to be loaded is one the user says yes to, here and in whatever is
    started."""
    # Imported late: most tests need nothing of it.
    from engine.tabular.custom import trust

    monkeypatch.setattr(trust, "check", trust.remember)
