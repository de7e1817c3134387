"""Models for the tests: tiny random ones, and the real one, fetched and converted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
import torch

from engine.core.uncompiled import import_bitsandbytes
from engine.llm.models import fetch

import_bitsandbytes()  # as the product does, before a test file or TRL imports it


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The tests' processes and their workers share the cores; and sums over another number of
    threads would not be equal bit for bit."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_model(architecture)`: the folder of a tiny random model, made once, to be read only."""
    return tiny_models.made_once(lambda name: tmp_path_factory.mktemp(f"tiny-{name}"))


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The converted SmolLM2-135M, in the cache that users have (`ICEMAZE_CACHE_DIR` moves it).

    Fetched by whoever comes first, about ten seconds; the fetch's own lock makes the others wait.
    """
    return fetch.fetch("smollm2-135m")
