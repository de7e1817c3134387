"""Every shipped tabular preset keeps its claims, on another seed than its own.

In process, without a worker: the same learner and the same judgement as `icemaze presets check`.
"""

from __future__ import annotations

import pytest
from claim_tools import run

from engine import presets
from engine.config import shipped
from engine.config.preset import Expect, LlmPreset
from engine.config.shipped import LAB_FOLDER, shipped_files
from engine.presets.claims import judge

OTHER_SEED = 2
OF_THE_LAB = shipped.FOLDER / LAB_FOLDER
TABULAR = [
    name
    for name, path in shipped_files().items()
    if OF_THE_LAB not in path.parents and not isinstance(presets.load(name), LlmPreset)
]
"""Those of the lab's challenges are run with their comparisons: see test_lab_claims.py."""

MEANT_TO_FAIL = {"baird-diverges": ["deadly-triad"]}
"""Presets that show what goes wrong, with the terms of the notes that say so."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TABULAR)
def test_a_preset_keeps_its_claims_on_another_seed(name: str) -> None:
    own = presets.load(name).run.seed
    assert own != OTHER_SEED
    preset = presets.load(name, [f"run.seed={OTHER_SEED}"])
    assert preset.expect, "a shipped preset says what it achieves"
    found, _ = run(preset)
    claims = [judge(claim, found) for claim in preset.expect]
    assert [claim for claim in claims if not claim.kept] == []
    why = "the rewards of a shipped preset ask for the prize, and its values do not diverge"
    assert found["notes"] == MEANT_TO_FAIL.get(name, []), why


def test_a_claim_is_judged_by_its_bounds_and_by_nothing_else() -> None:
    known = {
        "success_rate": 0.5,
        "updates": 7,
        "metrics": {"epsilon": 0.1, "td_error": float("nan")},
    }

    def kept(metric: str, low: float | None = None, high: float | None = None) -> bool:
        return judge(Expect(metric=metric, at_least=low, at_most=high), known).kept

    assert kept("success_rate", 0.5) and kept("success_rate", 0.4, 0.6) and kept("updates", high=7)
    assert not kept("success_rate", 0.5001) and not kept("updates", high=6.9)
    assert kept("epsilon", 0.1, 0.1) and not kept("td_error", high=1.0)
    missing = judge(Expect(metric="sucess_rate", at_least=0.0), known)
    assert not missing.kept
    assert "Did you mean 'success_rate'" in missing.problem
