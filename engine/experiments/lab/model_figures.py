"""Figures of a preset that trains a language model: what it chooses from, and with what.

A completion of T tokens from a vocabulary of V is one of V^T. As a table, its action values would
need a row for each beginning (0 to T − 1 tokens) and a column for each next token:
Σ_{t=1..T} V^t = V (V^T − 1) / (V − 1) numbers.

V and the model's size come from the catalog, or from the `config.json` of a model that is on this
machine; of one that is neither known nor here they are NaN. Neither torch nor weights are read.
"""

from __future__ import annotations

import math
from pathlib import Path

from engine.config.llm import ModelSettings
from engine.config.preset import LlmPreset, Preset
from engine.core.errors import UserError
from engine.llm.models import fetch
from engine.llm.models.catalog import resolve, shape_of
from engine.llm.models.shape import Shape
from engine.runs.library import list_runs
from engine.runs.reader import RunReader

NAMES = {
    "vocabulary": "tokens that the language model knows: what it chooses each token from",
    "completion_tokens": "most tokens of a completion",
    "token_table_size": "numbers in a table of action values over token sequences",
    "token_table_digits": "digits of that count",
    "model_parameters": "weights of the language model",
    "trained_parameters": "weights of the LoRA adapters, the only ones trained",
    "one_step_zero_targets": "one-step targets of a completion without a reward when its end pays",
    "ten_step_zero_targets": "ten-step targets of a completion without a reward when its end pays",
}
"""The figures by name. Counts of completions are of those with as many tokens as there may be, any
token of the vocabulary in each place. Counts too large for a float are inf."""
MEASURED = {
    "tokens_per_second": "tokens computed a second in the preset's newest run on this machine",
    "years_to_write_all": "years to write every completion once at that speed",
}
"""Figures that a run on this machine has to give first; NaN without one."""
YEAR_SECONDS = 365.25 * 24 * 3600


def of_model(preset: Preset) -> dict[str, float]:
    """The figures `NAMES`. Raises UserError as `writing_model` does."""
    model = writing_model(preset)
    shape, tokens = _shape(model), model.max_tokens
    table = table_size(shape.vocabulary, tokens) if shape else None
    return {
        "vocabulary": float(shape.vocabulary) if shape else math.nan,
        "completion_tokens": float(tokens),
        "token_table_size": _float(table) if table else math.nan,
        "token_table_digits": float(_digits(table)) if table else math.nan,
        "model_parameters": float(shape.parameters) if shape else math.nan,
        "trained_parameters": (
            float(shape.lora_parameters(model.lora.rank)) if shape else math.nan
        ),
        "one_step_zero_targets": float(zero_targets(tokens, 1)),
        "ten_step_zero_targets": float(zero_targets(tokens, 10)),
    }


def measured(preset: Preset, name: str, runs_dir: Path | None = None) -> dict[str, float]:
    """The figures `MEASURED` of the newest run of the preset named `name`. Raises UserError as
    `of_model` does."""
    model = writing_model(preset)
    shape, speed = _shape(model), tokens_per_second(name, runs_dir)
    years = math.nan
    if shape is not None and speed > 0:
        tokens = shape.vocabulary**model.max_tokens * model.max_tokens
        years = _float(tokens) / (speed * YEAR_SECONDS)
    return {"tokens_per_second": speed, "years_to_write_all": years}


def tokens_per_second(name: str, runs_dir: Path | None = None) -> float:
    """What the newest run of a preset on this machine reached; NaN when none has said so yet."""
    for run in list_runs(runs_dir):
        if run.preset_name != name:
            continue
        try:
            with RunReader(run.path) as reader:
                speed = reader.final()["metrics"].get("tokens_per_second", math.nan)
                if speed > 0:
                    return float(speed)
        except (UserError, OSError):
            continue  # it may be deleted, or only on its way
    return math.nan


def zero_targets(tokens: int, n: int) -> int:
    """How many of the n-step targets of one completion are zero, with values that begin at zero and
    a reward at the last of its T tokens alone: all but the last n (Sutton & Barto, eq. 7.1)."""
    return max(tokens - n, 0)


def writing_model(preset: Preset) -> ModelSettings:
    """The preset's `[model]`. Raises UserError when it has none, or one that may not write just
    anything: it answers with a move, or only move words are allowed."""
    if not isinstance(preset, LlmPreset):
        raise UserError(
            f"{preset.title!r} trains no language model; expected a preset with a [model] table."
        )
    model = preset.model
    if model.policy == "action" or (model.policy == "route" and model.words == "moves"):
        raise UserError(
            f"{preset.title!r}: its language model only says moves, so that its vocabulary is not "
            'what it chooses from; expected model.policy = "text", or "route" with words = "any".'
        )
    return model


def _shape(model: ModelSettings) -> Shape | None:
    """How big the model is, None when that is not known before it is here."""
    source = resolve(model.name)
    return shape_of(source) or shape_of(source, fetch.find(source))


def table_size(vocabulary: int, tokens: int) -> int:
    """Numbers in a table of action values over completions of T tokens: V + V² + … + V^T."""
    size: int = vocabulary * (vocabulary**tokens - 1) // (vocabulary - 1)
    return size


def _digits(count: int) -> int:
    """How many digits a count has, however many: `str` refuses some."""
    digits = math.floor(math.log10(count)) + 1  # may be one off beside a power of ten
    return digits + int(count >= 10**digits) - int(count < 10 ** (digits - 1))


def _float(count: int) -> float:
    """The count; inf where it is no float."""
    try:
        return float(count)
    except OverflowError:
        return math.inf
