"""An adapter folder used by somebody who has no Ice Maze: what its README says is true.

The README's own program is run inside the folder, by a process that has never seen Ice Maze.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_tools import preset
from policy_tools import MAPS, worlds
from tiny_architectures import tiny_base
from tiny_models import build_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests of all runs share

from run_tools import run_here

from engine import factory
from engine.env.build_mdp import build_mdp
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.prompts import NO_PROMPT, CellPrompts, cell_prompts
from engine.llm.models.adapters import load_adapter, save_adapter
from engine.llm.models.catalog import WHEEL
from engine.llm.models.device import Quantization
from engine.llm.models.loading import Loaded, LoraSettings, load_model
from engine.runs import launch
from engine.runs.evaluation import played_worlds
from engine.runs.reader import RunReader

Tiny = Callable[[str], Path]

ALLOWED = 1e-4
"""Of a probability; asked for by whoever wants to use the adapters elsewhere."""

ELSEWHERE = """
import json, os, sys

for line in sys.stdin:
    folder, programs, prompts, words = json.loads(line)
    os.chdir(folder)
    names = {}
    exec(programs[0], names)
    model, tokenizer, torch = (names[name] for name in ("model", "tokenizer", "torch"))
    assert not any(name.partition(".")[0] in ("engine", "tui") for name in sys.modules)
    assert tokenizer.eos_token_id is not None
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0, -1, words] for ids in prompts]
    for program in programs[1:]:
        exec(program, names)
    answer = [row.softmax(-1).tolist() for row in logits]
    print("told", json.dumps([answer, names.get("policy"), names.get("answer")]), flush=True)
"""


SAID: dict[str, list[float]] = {}
"""What the README's own question was answered last: a policy, or the tokens of a route."""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """Torch is imported there once for all folders."""
    log = tmp_path_factory.mktemp("elsewhere") / "log"
    command = [sys.executable, "-P", "-c", ELSEWHERE]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0, log.read_text()


def program(adapter: Path) -> str:
    """The Python of the README."""
    return programs(adapter)[0]


def programs(adapter: Path) -> list[str]:
    """All Python of the README: what loads, what asks where prompts are there, what merges."""
    text = (adapter / "README.md").read_text("utf-8")
    return [str(found) for found in re.findall(r"```python\n(.*?)```", text, re.S)]


def asked_elsewhere(
    process: subprocess.Popen[str],
    adapter: Path,
    tokens: Sequence[Sequence[int]],
    words: Sequence[int],
    merged: bool = True,
) -> np.ndarray:
    """π [N, A] at prompts, as the README's program has it in another process; what asks and merges
    is run behind it."""
    assert process.stdin is not None and process.stdout is not None
    prompts = [list(map(int, row)) for row in tokens]
    question = [str(adapter), programs(adapter)[: None if merged else 1], prompts, list(words)]
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    for line in process.stdout:  # the libraries say something too
        if line.startswith("told "):
            found, policy, answer = json.loads(line.removeprefix("told "))
            SAID.update(policy=policy, answer=answer)
            return np.array(found)
    raise AssertionError("the README's program failed: see the log at the end of these tests")


def with_adapters(name: str, quantization: Quantization, scale: float) -> Loaded:
    """A model whose adapters have an effect."""
    loaded = load_model(name, quantization, "cpu", LoraSettings(rank=4, alpha=8.0))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.adapter_parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return loaded


def prompts_of(loaded: Loaded) -> CellPrompts:
    return cell_prompts(worlds(MAPS[0]), loaded.tokenizer)


def assert_the_same_elsewhere(
    process: subprocess.Popen[str],
    loaded: Loaded,
    folder: Path,
    rows: Sequence[int],
    merged: bool = True,
) -> None:
    """The folder's README leads to the same π at some prompts; the base alone says another."""
    prompts = prompts_of(loaded)
    save_adapter(loaded, folder)
    policy = CellPolicy(loaded.model)
    own = policy.log_probs(prompts, rows).exp().numpy()
    base = policy.reference_log_probs(prompts, rows).exp().numpy()
    found = asked_elsewhere(
        process, folder, [prompts.tokens[row] for row in rows], prompts.action_tokens, merged
    )
    assert np.abs(own - base).max() > 100 * ALLOWED
    np.testing.assert_allclose(found, own, rtol=0, atol=ALLOWED)
    if merged:
        assert_merged(folder, prompts, own)


def assert_merged(adapter: Path, prompts: CellPrompts, expected: np.ndarray) -> None:
    """The README's last program wrote a model that needs neither PEFT nor bitsandbytes."""
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(adapter / "merged")
    assert not hasattr(merged.config, "quantization_config")
    with torch.no_grad():
        row = merged(torch.tensor([prompts.tokens[0]])).logits[0, -1, list(prompts.action_tokens)]
    np.testing.assert_allclose(row.softmax(-1), expected[0], rtol=0, atol=ALLOWED)


# ---------------------------------------------------------------- the same probabilities


def test_the_adapters_of_a_quantized_run(
    tiny_model: Tiny, tmp_path: Path, elsewhere: subprocess.Popen[str]
) -> None:
    overrides = ["model.quantization=nf4", "budget.updates=3"]
    made = preset(tiny_model("llama"), overrides=overrides)
    run_dir = launch.create_run(made, "quantized", runs_dir=tmp_path)
    assert run_here(run_dir, factory.make_learner)
    assert "`grpo`" in (run_dir / "adapter" / "README.md").read_text("utf-8")
    with RunReader(run_dir) as reader:
        (world,) = played_worlds(reader, [])
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    prompts = cell_prompts([(world.maze, build_mdp(world.maze))], tokenizer)
    found = asked_elsewhere(elsewhere, run_dir / "adapter", prompts.tokens, prompts.action_tokens)
    row = prompts.row[0]
    decided = row != NO_PROMPT
    np.testing.assert_allclose(world.policy[decided], found[row[decided]], rtol=0, atol=ALLOWED)
    asked = json.loads((run_dir / "adapter" / "prompts.json").read_text("utf-8"))
    assert [tuple(prompt["tokens"]) for prompt in asked["prompts"]] == list(prompts.tokens)
    assert [prompt["text"] for prompt in asked["prompts"]] == list(prompts.texts)
    np.testing.assert_allclose(SAID["policy"], found[0], rtol=0, atol=1e-6)
    assert_merged(run_dir / "adapter", prompts, found)


def test_a_route_is_asked_for_elsewhere(
    tiny_model: Tiny, tmp_path: Path, elsewhere: subprocess.Popen[str]
) -> None:
    overrides = ["model.policy=route", "model.max_tokens=6", "budget.updates=1"]
    made = preset(tiny_model("llama"), overrides=overrides)
    run_dir = launch.create_run(made, "routes", runs_dir=tmp_path)
    assert run_here(run_dir, factory.make_learner)
    asked = json.loads((run_dir / "adapter" / "prompts.json").read_text("utf-8"))
    asked_elsewhere(elsewhere, run_dir / "adapter", [asked["prompts"][0]["tokens"]], [0, 1])
    lora = LoraSettings(made.model.lora.rank, made.model.lora.alpha)
    loaded = load_model(str(tiny_model("llama")), made.model.quantization, "cpu", lora)
    load_adapter(loaded, run_dir / "adapter")
    prompt = asked["prompts"][0]["tokens"]
    policy = CompletionPolicy(
        loaded.model, loaded.tokenizer, max_tokens=6, words=asked["answer_tokens"]
    )
    written = policy.sample([prompt], 1, torch.Generator(), greedy=True)
    assert SAID["answer"] == written.rows()[1]


@pytest.mark.parametrize(
    ("quantization", "architecture"),
    [("nf4", "gemma3"), ("nf4", "qwen3_moe"), ("int8", "qwen2"), ("none", "qwen3")],
)
def test_whatever_the_quantization(
    tiny_model: Tiny,
    tmp_path: Path,
    elsewhere: subprocess.Popen[str],
    quantization: Quantization,
    architecture: str,
) -> None:
    loaded = with_adapters(str(tiny_model(architecture)), quantization, 0.1)
    assert_the_same_elsewhere(elsewhere, loaded, tmp_path / "adapter", rows=(0, 3, 10))


def test_layers_that_stay_floats(tmp_path: Path, elsewhere: subprocess.Popen[str]) -> None:
    """A Mamba mixer reads its layers as matrices; whoever loads the base in 4 bits must be told."""
    tokenizer, base = build_tokenizer(), tiny_base("mamba")
    base.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        base.get_input_embeddings().weight.normal_(generator=torch.Generator().manual_seed(0))
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    loaded = with_adapters(str(tmp_path / "base"), "nf4", 1.0)
    assert "lm_head" in loaded.floats and "mixer.x_proj" in loaded.floats
    assert_the_same_elsewhere(elsewhere, loaded, tmp_path / "adapter", rows=(0, 3, 10))


def test_the_real_model(smollm: Path, tmp_path: Path, elsewhere: subprocess.Popen[str]) -> None:
    """Its layers are large enough for bitsandbytes' other layout, where the processor has it."""
    loaded = with_adapters(str(smollm), "nf4", 0.01)
    assert_the_same_elsewhere(
        elsewhere, loaded, tmp_path / "adapter", rows=(0, 4, 10), merged=False
    )


# ---------------------------------------------------------------- what it says


def test_the_readme_says_what_the_adapters_are(tiny_model: Tiny, tmp_path: Path) -> None:
    folder = tiny_model("llama")
    loaded = with_adapters(str(folder), "nf4", 0.1)
    save_adapter(loaded, tmp_path, algorithm="grpo")
    text = (tmp_path / "README.md").read_text("utf-8")
    for said in ("`grpo`", "NF4", "float32", "rank 4, alpha 8", f"`{folder}`", "a local folder"):
        assert said in text
    assert "base_model:" not in text and "bitsandbytes" in text


def test_a_base_that_others_can_get_is_named_by_its_id(tiny_model: Tiny, tmp_path: Path) -> None:
    made = with_adapters(str(tiny_model("llama")), "none", 0.1)
    default = dataclasses.replace(made, name="smollm2-135m")
    save_adapter(default, tmp_path / "default")
    text = (tmp_path / "default" / "README.md").read_text("utf-8")
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in text
    assert WHEEL in text and "other probabilities" in text
    assert "bitsandbytes" not in text
    hub = dataclasses.replace(made, name="qwen3-0.6b", base="Qwen/Qwen3-0.6B")
    save_adapter(hub, tmp_path / "hub")
    text = (tmp_path / "hub" / "README.md").read_text("utf-8")
    assert "Qwen/Qwen3-0.6B, from the Hugging Face hub" in text
    assert 'BASE = "Qwen/Qwen3-0.6B"' in program(tmp_path / "hub")
