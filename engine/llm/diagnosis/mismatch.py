"""When sampler and training pass differ by more than rounding makes: causes and remedies."""

from __future__ import annotations

from engine.learning.events import Note
from engine.llm.diagnosis.evidence import Rule, UpdateView

MISMATCHED = 0.05
"""Mean |Δ log π| of a token between sampler and training pass. Rounding to bfloat16 makes 0.02 to
0.04 with SmolLM2-135M."""
WHOLE_MISMATCHED = 2.0
"""Ratio between both for a whole completion, where that is the action."""
CUT = 0.1
"""Share of tokens whose weight is cut: as many are no longer corrected."""


def _mismatched(view: UpdateView) -> bool:
    if view.settings.rollout_correction != "none":
        return view["mismatch_cut"] > CUT
    whole = view.writes and view.algorithm.ratio.one_action
    return view["mismatch"] > MISMATCHED or (whole and _whole_ratio(view) > WHOLE_MISMATCHED)


def _whole_ratio(view: UpdateView) -> float:
    """By what factor sampler and training pass differ most about a completion."""
    return max(view["mismatch_ratio_max"], 1 / max(view["mismatch_ratio_min"], 1e-9))


def _matched(view: UpdateView) -> bool:
    if view.settings.rollout_correction != "none":
        return view["mismatch_cut"] < 0.7 * CUT
    return view["mismatch"] < 0.7 * MISMATCHED and not _mismatched(view)


def _mismatched_note(view: UpdateView) -> Note:
    settings, dropout = view.settings, view.preset.model.lora.dropout
    level = "sequence" if view.algorithm.ratio.one_action else "token"
    remedy = f'algorithm.rollout_correction to "{level}", which weighs the difference away'
    if settings.rollout_correction != "none":
        remedy = view.to("rollout_cap", settings.rollout_cap, lambda cap: 2 * cap)
    if dropout:
        remedy = f"model.lora.dropout to 0 (it is {dropout:.3g}: the sampler has none), or {remedy}"
    elif view.preset.model.quantization == "int8":
        remedy = f"model.quantization to 'nf4' (int8 rounds inputs on a GPU), or {remedy}"
    return Note(
        step=view.step,
        level="warning",
        term="training-inference-mismatch",
        text=f"Sampler and training pass differ by {view['mismatch']:.2g} in log π of a token on "
        f"average, at most {view['mismatch_max']:.2g}; about a whole completion by a factor of up "
        f"to {_whole_ratio(view):.3g}. That is more than rounding should make: what is learned "
        "from was drawn from another policy.",
        remedy=f"Set {remedy}; a model on a CPU computes in float32 and has next to none.",
    )


MISMATCH = Rule("mismatch", 3, _mismatched, _matched, _mismatched_note)
