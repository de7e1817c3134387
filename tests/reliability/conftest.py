"""What tests that break things share with those of the engine: runs, presets, tiny models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[1] / "engine"
sys.path += [str(ENGINE), str(ENGINE / "llm")]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_model(architecture)`: the folder of a tiny random model, made once, to be read only."""
    import tiny_models

    return tiny_models.made_once(lambda name: tmp_path_factory.mktemp(f"tiny-{name}"))
