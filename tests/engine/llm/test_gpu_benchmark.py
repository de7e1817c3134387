"""The script for a GPU box, carried out on the CPU with tiny models: it has to work on the day."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.llm.models.catalog import KNOWN

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))  # its scripts are no package

import gpu
import gpu_models
import gpu_report
from gpu_process import Step, rows_of
from gpu_report import Row

RESULTS = gpu.RESULTS
SPEED = {"updates_per_second", "trained_per_second", "peak_gib", "estimate_gib", "over_estimate"}
EXPECTED: dict[str, set[str]] = {
    "gradients after an evaluation: tiny smollm2-135m, nf4": {"adapters", "without"},
    "packed against plain passes: tiny smollm2-135m, nf4": {"largest"},
    "sampler against training pass: tiny smollm2-135m, nf4": {"mean", "largest"},
    "gradients after an evaluation: tiny smollm2-135m, float32": {"adapters", "without"},
    "packed against plain passes: tiny smollm2-135m, float32": {"largest"},
    "sampler against training pass: tiny smollm2-135m, float32": {"mean", "largest"},
    "`llm-grpo-maze`, tiny smollm2-135m, nf4": SPEED,
    "`llm-grpo-maze`, tiny smollm2-135m, float32": SPEED,
    "`llm-plan-grpo`, tiny smollm2-135m, nf4": SPEED | {"sampled_per_second"},
    "`llm-plan-grpo`, tiny smollm2-135m, float32": SPEED | {"sampled_per_second"},
    "an update of 16 completions of at most 24 tokens against TRL's GRPOTrainer: tiny "
    "smollm2-135m, nf4": {"ours", "trl", "ratio", "gradient_gap"},
    "an out-of-memory: tiny smollm2-135m, float32": {"survived", "notes", "off", "moved"},
    "a run stopped after two updates and resumed, after four: tiny smollm2-135m, nf4": {"off"},
    **{
        f"{what}, tiny {model}": figures
        for model in ("qwen3-0.6b, float32", "qwen3-4b, nf4")
        for what, figures in {
            "`llm-grpo-maze`": SPEED,
            "`llm-plan-grpo`": SPEED | {"sampled_per_second"},
            "16 × 6 tokens over all words": SPEED | {"sampled_per_second"},
            "training pass of 16 × 16 tokens": SPEED - {"updates_per_second"},
        }.items()
    },
}


@pytest.mark.slow
def test_every_row_is_there_and_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found: list[Row] = []
    carried_out = gpu.carried_out

    def watched(*arguments: Any) -> Iterator[Row]:
        for row in carried_out(*arguments):
            found.append(row)
            yield row

    monkeypatch.setattr(gpu, "carried_out", watched)
    results, output = RESULTS.read_bytes(), tmp_path / "rows.md"
    status = gpu.main(["--dry-cpu", "--minutes", "60", "--output", str(output)])
    machine, *rows = found
    assert not status, [row.said for row in rows]
    assert "CPU" in machine.result and torch.__version__ in machine.result
    assert [row.what for row in rows] == list(EXPECTED)
    for row in rows:
        assert EXPECTED[row.what] <= row.figures.keys(), row
        assert all(math.isfinite(value) for value in row.figures.values()), row
        assert row.markdown() in output.read_text("utf-8")
    assert RESULTS.read_bytes() == results

    by_name = {row.what: row.figures for row in rows}
    for name, figures in by_name.items():
        if name.startswith("gradients"):
            assert figures["adapters"] == 2 * 7 * 2 and figures["without"] == 0
        if name.startswith(("packed", "sampler")):
            assert figures["largest"] < 1e-4
        if "TRL" in name:
            assert figures["gradient_gap"] < 1e-3 and figures["ratio"] > 0
        if name.startswith("an out"):
            assert figures["survived"] and figures["notes"]
            assert figures["off"] < 1e-3 * figures["moved"]
        if name.startswith("a run"):
            assert figures["off"] == figures["again"] == 0 < figures["moved"]
        if name.startswith("training"):
            assert figures["norm"] > 0 and "reference" in "".join(
                row.beside for row in rows if row.what == name
            )


# ---------------------------------------------------------------- steps that fail


def good() -> Iterator[Row]:
    yield Row("good", "1 s", figures={"seconds": 1.0})


def breaks() -> Iterator[Row]:
    yield Row("first")
    raise ValueError("no luck.\nAnd more of it")


def dies() -> Iterator[Row]:
    yield Row("first")
    os._exit(9)


def hangs() -> Iterator[Row]:
    yield Row("first")
    time.sleep(1000)


def leaves() -> Iterator[Row]:
    yield Row("first")
    raise SystemExit("the ways do not compute the same")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (breaks, "failed: ValueError: no luck."),
        (leaves, "failed: the ways do not compute the same."),
        (dies, "failed: its process died with exit status 9."),
        (hangs, "failed: it was not done after its 1 s."),
    ],
)
def test_a_step_that_fails_says_why_and_keeps_its_rows(run: Any, said: str) -> None:
    context = multiprocessing.get_context("fork")
    rows = list(rows_of(Step("step", run, (), 60), context, 1 if run is hangs else 60))
    *before, last = rows
    assert last.what == "step" and last.failed and said in last.markdown()
    if run is not hangs:  # in a second a busy machine may not even have begun
        assert [(row.what, row.failed) for row in before] == [("first", False)]


def test_steps_that_do_not_fit_are_left_out_and_the_others_go_on() -> None:
    steps = [
        Step("long", good, (), 10**6),
        Step("broken", breaks, (), 60),
        Step("short", good, (), 60),
    ]
    rows = list(gpu.carried_out(steps, False, time.monotonic() + 3600))
    assert [row.what for row in rows] == ["long", "first", "broken", "good"]
    assert "not measured: it may take 1000000 s" in rows[0].markdown() and not rows[0].failed
    assert [row.failed for row in rows] == [False, False, True, False]


def test_a_figure_that_is_not_finite_fails() -> None:
    row = gpu_report.verdict(Row("x", "nan s", figures={"seconds": math.nan}), True, "")
    assert row.failed and "seconds is not finite" in row.markdown()


# ---------------------------------------------------------------- what is written, what is measured


def test_only_its_own_section_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    before, behind = "# Measurements\n\ntext\n\n", "## Figures\n\nmore\n"
    file.write_text(before + behind)
    gpu_report.write(file, gpu_report.section("card A", "gpu.py", [Row("one", "1|2")]))
    text = file.read_text()
    assert text.startswith(before + behind) and "card A" in text and "1\\|2" in text
    file.write_text(before + text.removeprefix(before + behind).lstrip() + "\n" + behind)
    gpu_report.write(file, gpu_report.section("card B", "gpu.py", [Row("two")]))
    text = file.read_text()
    assert text.startswith(before) and text.endswith("\n\n" + behind)
    assert "card B" in text and "card A" not in text and "| one |" not in text
    assert text.count(gpu_report.HEADING) == 1
    gpu_report.write(file, gpu_report.section("card B", "gpu.py", [Row("two")]))
    assert file.read_text() == text


@pytest.mark.parametrize("alias", ["smollm2-135m", "qwen3-0.6b", "qwen3-4b"])
def test_random_models_have_as_many_weights_as_the_published_ones(alias: str) -> None:
    from transformers import AutoModelForCausalLM

    known = next(known for known in KNOWN if known.alias == alias)
    loader: Any = AutoModelForCausalLM
    with torch.device("meta"):
        settings = gpu_models.config(known, known.shape, gpu_models._tokenizer())
        model = loader.from_config(settings, dtype=torch.bfloat16)
    assert sum(p.numel() for p in model.parameters()) == known.shape.parameters
