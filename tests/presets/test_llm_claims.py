"""A shipped preset that trains a real language model keeps its claims, on another seed.

In process, like `test_claims`. One of them here: SmolLM2 in four bits learns the 4x4 maze from
scratch. `icemaze presets check --all --llm` verifies every one.
"""

from __future__ import annotations

import pytest
import torch
from claim_tools import run

from engine import presets
from engine.presets.claims import judge

pytestmark = [pytest.mark.llm, pytest.mark.timeout(900)]  # a minute, on a machine with room

OTHER_SEED = 5


def test_a_real_language_model_learns_the_maze() -> None:
    torch.set_num_threads(1)  # the tests' processes share the cores
    preset = presets.load("llm-grpo-maze", [f"run.seed={OTHER_SEED}"])
    assert preset.run.seed != presets.load("llm-grpo-maze").run.seed
    found, _ = run(preset)
    assert [claim for claim in (judge(c, found) for c in preset.expect) if not claim.kept] == []
    assert found["updates"] <= 60
