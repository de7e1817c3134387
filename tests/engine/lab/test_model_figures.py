"""Figures of a preset's language model, by plain counting; none of them needs the model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import presets
from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.experiments.lab import exact_figures, model_figures
from engine.experiments.lab.exact_figures import exact_figures as figures_of
from engine.llm.models import fetch
from engine.llm.models.catalog import KNOWN

TEXT = """
title = "Words"
[text]
prompts = ["Say something."]
judge = "rule"
rule = "shorter"
[model]
name = "MODEL"
policy = "text"
max_tokens = TOKENS
lora = {rank = 2}
[algorithm]
name = "rloo"
[budget]
updates = 1
"""
CONFIG = {
    "vocab_size": 5,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def preset(tmp_path: Path, model: str = "smollm2-135m", tokens: int = 3) -> Preset:
    file = tmp_path / "words.toml"
    file.write_text(TEXT.replace("MODEL", model).replace("TOKENS", str(tokens)), "utf-8")
    return presets.load(str(file))


def folder_model(tmp_path: Path) -> str:
    """A model that is a folder; the weights in it are never read."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"layer.{n}": tensor for n in range(9)}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    return str(folder)


def test_a_table_over_tokens_is_counted_row_by_row(tmp_path: Path) -> None:
    found = model_figures.of_model(preset(tmp_path, folder_model(tmp_path)))
    rows = sum(5**written for written in range(3))  # the empty beginning, one token, two
    assert found["token_table_size"] == rows * 5
    assert found["token_table_digits"] == len(str(rows * 5))
    assert (found["vocabulary"], found["completion_tokens"]) == (5, 3)


def test_the_size_of_a_known_model_needs_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "find", lambda source: None)
    found = model_figures.of_model(preset(tmp_path, tokens=24))
    shape = KNOWN[0].shape
    assert found["vocabulary"] == shape.vocabulary
    assert found["model_parameters"] == shape.parameters
    assert found["trained_parameters"] == shape.lora_parameters(2)
    assert found["token_table_digits"] == len(str(sum(49152**t for t in range(1, 25))))


def test_of_a_model_that_is_not_here_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "find", lambda source: None)
    found = model_figures.of_model(preset(tmp_path, "somebody/something"))
    unknown = {name for name, value in found.items() if math.isnan(value)}
    assert unknown == {
        "vocabulary",
        "token_table_size",
        "token_table_digits",
        "model_parameters",
        "trained_parameters",
    }


def test_a_count_that_is_no_float_is_infinite_and_keeps_its_digits(tmp_path: Path) -> None:
    found = model_figures.of_model(preset(tmp_path, tokens=4096))
    assert found["token_table_size"] == math.inf
    assert found["token_table_digits"] == math.floor(4096 * math.log10(49152)) + 1


@pytest.mark.parametrize(
    ("tokens", "n", "zero"), [(20, 1, 19), (20, 10, 10), (20, 20, 0), (3, 10, 0)]
)
def test_targets_without_a_reward_are_those_that_end_before_it(
    tokens: int, n: int, zero: int
) -> None:
    rewards = [0.0] * (tokens - 1) + [1.0]
    targets = [sum(rewards[t : t + n]) for t in range(tokens)]
    assert model_figures.zero_targets(tokens, n) == targets.count(0.0) == zero


def test_speed_is_that_of_the_newest_run_of_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = preset(tmp_path, folder_model(tmp_path))
    runs = tmp_path / "runs"
    runs.mkdir()
    assert math.isnan(model_figures.measured(words, "words", runs)["tokens_per_second"])
    assert math.isnan(model_figures.measured(words, "words", runs)["years_to_write_all"])
    speeds = {
        "20260101-000000-words-aa": ("words", 50.0),
        "20260102-000000-words-bb": ("words", 100.0),
        "20260103-000000-more-words-cc": ("more-words", 900.0),
        "20260104-000000-words-dd": ("words", math.nan),  # no update yet
    }
    listed = [  # newest first; the newest cannot be read
        SimpleNamespace(path=runs / "20260105-000000-words-ee", preset_name="words"),
        *(
            SimpleNamespace(path=runs / name, preset_name=preset_name)
            for name, (preset_name, _) in reversed(speeds.items())
        ),
    ]
    monkeypatch.setattr(model_figures, "list_runs", lambda _folder: listed)
    monkeypatch.setattr(model_figures, "RunReader", reader_of(speeds))
    found = model_figures.measured(words, "words", runs)
    assert found["tokens_per_second"] == 100.0
    seconds = 5**3 * 3 / 100.0
    assert found["years_to_write_all"] == pytest.approx(seconds / (365.25 * 24 * 3600))


def reader_of(speeds: dict[str, tuple[str, float]]) -> type:
    """A reader of runs that know their preset and their speed."""

    class Reader:
        def __init__(self, folder: Path) -> None:
            if folder.name not in speeds:
                raise UserError(f"{folder}: not a run.")
            self.name, self.speed = speeds[folder.name]

        def __enter__(self) -> Reader:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def meta(self) -> dict[str, str]:
            return {"preset_name": self.name}

        def final(self) -> dict[str, dict[str, float]]:
            return {"metrics": {"tokens_per_second": self.speed}}

    return Reader


def test_a_measured_figure_is_looked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([math.nan, 20.0])
    monkeypatch.setattr(model_figures, "tokens_per_second", lambda name, runs: next(speeds))
    asked = [("scripted-reward", "tokens_per_second")]
    assert math.isnan(figures_of(asked)[asked[0]])
    assert figures_of(asked)[asked[0]] == 20.0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("q-learning", "trains no language model"),
        ("llm-grpo-maze", "only says moves"),
        ("llm-plan-grpo", "only says moves"),
    ],
)
def test_a_preset_without_free_text_is_refused(name: str, why: str) -> None:
    for figure in ("vocabulary", "years_to_write_all"):
        with pytest.raises(UserError, match=why):
            figures_of([(name, figure)])


def test_a_group_is_barren_when_all_its_episodes_fail() -> None:
    wanted = [("grpo-table", "barren_groups"), ("grpo-table", "random_success_rate")]
    barren, success = (figures_of(wanted)[key] for key in wanted)
    assert barren == pytest.approx((1 - success) ** 8)


def test_every_figure_of_models_is_among_the_named_ones() -> None:
    assert set(model_figures.NAMES) | set(model_figures.MEASURED) <= set(exact_figures.NAMES)
    assert not set(model_figures.NAMES) & set(model_figures.MEASURED)
    assert set(model_figures.of_model(presets.load("scripted-reward"))) == set(model_figures.NAMES)
