"""The glossary's terms of language models: every setting, metric and note has one, with values."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from moments import LAKE, RIGHT, moment

from engine import presets
from engine.algorithms import registry
from engine.algorithms.registry import algorithm_of
from engine.config.llm import Lora, ModelSettings, Warmup
from engine.config.rewards import PlanRewards
from engine.env.maze import Maze
from engine.env.settings import MazeSet
from engine.exact.evaluate import optimal_figures
from engine.learning.events import Evaluation, Metric
from engine.runs.curves import Curve
from engine.runs.records import Head
from tui.glossary.entries import load
from tui.glossary.source import ROOT
from tui.glossary.values.language_models import FORMATS, TOLD, VALUES
from tui.model.snapshot import Snapshot

TERMS = ROOT / "tui/glossary/terms/9a_language_models.toml"
SLUGS = [entry["slug"] for entry in tomllib.loads(TERMS.read_text("utf-8"))["entry"]]
ASKED_FOR = """
    token; tokenizer; prompt; completion; chat template; language model; LoRA; LoRA rank;
    quantization; NF4; int8; adapter; base model; reference policy; KL divergence; k3 estimator;
    clip; clip fraction; ratio; group; group size; advantage within the group; all-equal group;
    RLOO; GRPO; Dr. GRPO; DAPO; GSPO; CISPO; clip-higher; dynamic sampling; overlong shaping; MPO;
    E-step; M-step; η; value head; GAE(λ); entropy bonus; packed pass; shared prefix; action policy;
    route policy;
    token budget; micro-batch; temperature; warm start; SFT; verifiable reward; reward parts;
    truncated completion; unreadable completion; reward hacking; held-out mazes; generalization gap;
    epochs; gradient norm; gradient clipping; tokens per second; log-probability; importance weight;
    uniform mixture; observation text
"""
LLM = """
title = "A language model crosses the ice"
[maze]
train = {count = 4, size = 4}
test = {count = 32, size = 4, seed = 1}
[algorithm]
name = "grpo"
kl = 0.04
[model]
policy = "action"
[warmup]
updates = 5
[budget]
updates = 60
"""
POINTS = {
    "tokens_per_second": 512.0, "seconds_sampling": 0.25, "seconds_training": 1.5, "loss": 0.0,
    "memory_gib": 1.25, "gpu_memory_gib": 6.5, "reference_kl": 0.4, "gradient_norm": 0.3,
    "equal_groups": 0.25, "advantage_std": 0.9, "ratio_mean": 1.0, "ratio_max": 1.3,
    "completion_tokens": 14.0, "cut_off_share": 0.125, "unreadable_share": 0.5,
    "mismatch": 0.02, "mismatch_max": 0.25,
    "warmup_loss": 0.7, "value_loss": 0.2, "reward_prize": 0.5, "reward_format": 0.1,
}  # fmt: skip


def evaluated(split: Any, success: float, kind: Any = "exact") -> Evaluation:
    figures = {
        "success_rate": success, "best_success_rate": 0.9, "random_success_rate": 0.2,
        "one_direction_success_rate": 0.1, "optimal_success_rate": 1.0,
    }  # fmt: skip
    return Evaluation(
        step=9, world_id=0, split=split, optimal_return=1.0, horizon_optimum=1.0,
        success_kind=kind, success_stderr=0.03 if kind == "sampled" else 0.0,
        figures={name: Metric(value, value, value, 1) for name, value in figures.items()},
    )  # fmt: skip


def training(*overrides: str, kind: Any = "exact") -> Snapshot:
    """A run in the middle, in which everything is known that can be."""
    preset = presets.parse(LLM, overrides=list(overrides))
    maze = Maze(rows=LAKE)
    moves = moment(maze, actions=[RIGHT, RIGHT], algorithm="grpo")
    learned: dict[str, Any] = {
        "probabilities": (0.1, 0.2, 0.6, 0.1), "probabilities_after": (0.1, 0.1, 0.7, 0.1),
    }  # fmt: skip
    learned |= {"values": (), "log_prob": float(np.log(0.6))}
    steps = tuple(msgspec.structs.replace(step, **learned) for step in moves.steps)
    curves = {
        name: Curve(
            x=np.array([1.0, 2.0]), mean=np.array([0.5, value]), low=np.zeros(2), high=np.ones(2)
        )
        for name, value in POINTS.items()
    }
    return replace(
        moves,
        preset=preset,
        algorithm=algorithm_of(preset),
        head=Head(state="running", step=9, updates=9),
        optimal_figures=optimal_figures(moves.mdp, 0.99, moves.optimum),
        steps=steps,
        curves=curves,
        evaluation=evaluated("train", 0.75, kind),
        held_out=evaluated("test", 0.5),
    )


def empty(run: Snapshot) -> Snapshot:
    """The same run before anything was recorded."""
    return replace(run, policy=None, evaluation=None, held_out=None, curves={}, steps=())


PLAN = ('model.policy="route"', "algorithm.credit='episode'")
RUNS = {
    "action": (),
    "route": PLAN,
    "ppo": ('algorithm={name="ppo"}',),
    "mpo": ('algorithm={name="mpo", eta=0.4}', 'model.quantization="int8"'),
    "dapo": ('algorithm={name="dapo", overlong=4}', 'model.policy="route"'),
    "reinforce": ('algorithm={name="reinforce"}', "maze.test.count=4", 'model.quantization="none"'),
}


def said(slug: str, run: Snapshot) -> str:
    return VALUES[slug](run) or ""


# ---------------------------------------------------------------- entries


def names(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split(";")]


@pytest.mark.parametrize("term", names(ASKED_FOR))
def test_a_term_of_language_models_has_an_entry(term: str) -> None:
    assert load().for_label(term) is not None


def test_every_setting_of_a_language_models_preset_has_an_entry() -> None:
    kinds = [ModelSettings, Lora, Warmup, PlanRewards, MazeSet]
    kinds += [algorithm.settings for algorithm in registry.LANGUAGE_MODELS.all()]
    fields = {name for kind in kinds for name in kind.__struct_fields__}
    assert {"token_budget", "rank", "eta", "draws"} <= fields
    assert [name for name in sorted(fields) if load().for_label(name) is None] == []


def literals(file: str) -> set[str]:
    """The texts that are keys of a dictionary in a file."""
    tree = ast.parse(Path(ROOT, file).read_text("utf-8"))
    dicts = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    keys = [key for node in dicts for key in node.keys if isinstance(key, ast.Constant)]
    return {str(key.value) for key in keys}


def test_every_metric_of_an_update_has_an_entry() -> None:
    metrics = literals("engine/llm/algorithms/losses.py")
    metrics |= literals("engine/llm/algorithms/rollout_correction.py") | {"mismatch_cut"}
    metrics |= literals("engine/llm/models/memory_use.py")
    metrics |= {"loss", "value_loss", "gradient_norm", "warmup_loss", "learning_rate", "entropy"}
    metrics |= {f"reward_{name}" for name in PlanRewards.__struct_fields__}
    metrics |= {"equal_groups", "advantage_std", "group_draws", "completion_tokens"}
    metrics |= {"cut_off_share", "unreadable_share", "seconds_per_update", "seconds_sampling"}
    metrics |= {"seconds_training", "tokens_per_second", "best_success_rate", "gpu_memory_gib"}
    assert {"clip_fraction", "clip_binding", "reference_kl", "memory_gib"} <= metrics
    assert [name for name in sorted(metrics) if load().for_label(name) is None] == []


def test_every_note_of_the_engine_names_an_entry() -> None:
    terms = set()
    for file in Path(ROOT, "engine/llm").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == "Note":
                terms |= {k.value.value for k in node.keywords if k.arg == "term"
                          and isinstance(k.value, ast.Constant)}  # fmt: skip
            elif node.func.id == "_note" and len(node.args) > 2:
                assert isinstance(node.args[2], ast.Constant)
                terms.add(node.args[2].value)
    assert {"entropy", "all-equal-group", "packed-pass"} <= terms
    slugs = {entry.slug for entry in load()}
    assert sorted(terms - slugs) == []


# ---------------------------------------------------------------- values


def test_every_entry_has_a_value_in_some_run() -> None:
    assert set(VALUES) == set(SLUGS)
    runs = [training(*overrides) for overrides in RUNS.values()]
    assert [slug for slug in SLUGS if not any(said(slug, run) for run in runs)] == []


@pytest.mark.parametrize("name", RUNS)
def test_values_are_one_line_whatever_is_known(name: str) -> None:
    run = training(*RUNS[name])
    for snapshot in (run, empty(run)):
        for slug, value in VALUES.items():
            text = value(snapshot)
            assert text is None or (text.strip() == text != "" and "\n" not in text), slug
            assert text is None or not {"nan", "None"} & set(text.split()), slug


def test_a_table_has_none_of_it() -> None:
    text = LLM.split("[model]")[0].replace("kl = 0.04", "") + "[budget]\nupdates = 3"
    text = text.replace("train = {count = 4, size = 4}\ntest = {count = 32, size = 4, seed = 1}",
                        'map = "SF\\nFG"')  # fmt: skip
    table = replace(moment(Maze(rows=LAKE), algorithm="grpo"), preset=presets.parse(text))
    assert [slug for slug, value in VALUES.items() if value(table) is not None] == []


def test_values_say_what_the_run_says() -> None:
    run = training()
    assert said("language-model", run) == "smollm2-135m, nf4, as action policy"
    assert said("nf4", run) == "yes: nf4: about 0.52 bytes a weight"
    assert said("int8", run).startswith("not in this run")
    assert said("lora", run) == "rank 16, alpha 32: its output counts × 2"
    assert said("group-advantage", run) == "4 groups of 16 an update; spread 0.9"
    assert said("all-equal-group", run).endswith("25% of them in the newest update")
    assert said("clip-higher", run) == "ρ from 0.8 to 1.2"
    assert said("adapter-off", run) == "β = 0.04; KL 0.4"
    assert said("warm-start", run) == "the first 5 updates of this run; loss 0.7"
    assert said("held-out-mazes", run) == "4 to train on, 32 held out; success there 0.5"
    assert said("generalization-gap", run) == "0.25 = 0.75 − 0.5"
    assert said("map-blind-baseline", run) == "random moves 0.2, one direction 0.1, optimum 1"
    assert said("best-adapters", run) == "success 0.9 (now 0.75)"
    assert said("token-probability", run) == "60.0% for right → (log -0.5108)"
    assert said("memory-use", run) == "GiB of the worker 1.25, of the GPU 6.5"
    assert said("sampled-success", run) == "not in this run: its success is exact"
    assert said("completion", run).startswith("not with action policies")
    assert said("route-policy", run) == "not in this run: it has action policies"


def test_values_of_routes_and_of_other_algorithms() -> None:
    plan = training(*PLAN, kind="sampled")
    assert said("completion", plan) == "64 an update; 14 tokens on average lately"
    assert said("truncated-completion", plan) == (
        "at most 24 tokens; 12% of the completions in the newest update"
    )
    assert said("reward-parts", plan).startswith(
        "prize × 1, steps × 0, format × 0.1, progress × 0.2"
    )
    assert said("training-inference-mismatch", plan) == "mean |Δ log π| 0.02, largest 0.25"
    assert said("rollout-correction", plan) == "none in this run"
    corrected = training(*PLAN, "algorithm.rollout_correction=token", "algorithm.rollout_cap=3")
    assert said("rollout-correction", corrected) == "by token, weights up to 3"
    assert said("sampled-success", plan) == "0.75 ± 0.03 (standard error)"
    assert said("value-head", plan) == "not in this run: GRPO has none"
    assert said("e-step", plan) == "not in this run: only MPO has it"
    mpo = training(*RUNS["mpo"])
    assert said("e-step", mpo) == "η = 0.4"
    assert said("clip-higher", mpo) == "no clip in this run"
    assert said("int8", mpo) == "yes: int8: one byte a weight"
    assert said("value-head", training(*RUNS["ppo"])) == "this run's critic; value loss 0.2"
    dapo = training(*RUNS["dapo"])
    assert said("dynamic-sampling", dapo) == "at most 4 draws"
    assert said("overlong-shaping", dapo) == "the last 4 tokens"
    assert said("clip-higher", dapo) == "ρ from 0.8 to 1.28"


def test_each_way_of_storing_and_telling_has_words() -> None:
    kinds = {field.name: get_args(field.type) for field in msgspec.structs.fields(ModelSettings)}
    assert set(FORMATS) == set(get_args(kinds["quantization"][0]) or kinds["quantization"])
    assert set(TOLD) == set(get_args(kinds["observation_text"][0]) or kinds["observation_text"])
