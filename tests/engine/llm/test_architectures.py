"""Every causal language model that transformers knows is trained for a step, or refused in words.

Both policies: all prompts of a maze at once, and completions behind a prompt. Each adapter must get
a gradient, a packed pass must say what the model itself says, and `docs/architectures.md` is the
table of what was found.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_architectures import ALL, NOT_TINY, tiny_base
from tiny_models import build_tokenizer

from engine.core.errors import UserError
from engine.llm.forward.attention import why_not_packed
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.packing import TOLERANCE
from engine.llm.forward.probe import check_computes
from engine.llm.forward.prompts import CellPrompts
from engine.llm.models.architecture import REFUSED, check_architecture
from engine.llm.models.folder import quantized_share
from engine.llm.models.loading import LoraSettings, _with_adapters, load_model
from engine.llm.models.targets import ROUTER, has_experts

TABLE = Path(__file__).parents[3] / "docs" / "architectures.md"
TOKENS = ((5, 9, 7, 11, 6, 8, 10, 12, 3, 14, 15, 9), (5, 9, 7, 11, 6, 8, 10, 4))
PROMPTS = CellPrompts(("a", "b"), TOKENS, np.arange(2)[None], tuple("ldru"), (20, 21, 22, 23))


TOKENIZER = SimpleNamespace(eos_token_id=2, chat_template=None)


def with_adapters(kind: str) -> Any:
    """A tiny model with adapters that have an effect; UserError where it is refused."""
    base = tiny_base(kind).requires_grad_(False)
    model: Any = _with_adapters(base, LoraSettings(rank=2, alpha=4.0), 0, kind)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    check_computes(kind, model)
    return model


def train_cells(model: Any) -> None:
    policy = CellPolicy(model)
    assert policy.agreement(PROMPTS).error < TOLERANCE
    one_step(model, lambda: policy.forward(PROMPTS).log_probs)


def train_routes(model: Any) -> None:
    policy = CompletionPolicy(model, TOKENIZER, max_tokens=2)
    drawn = policy.sample([TOKENS[0]], 2, torch.Generator().manual_seed(0))
    rows, prompts = drawn.rows(), [TOKENS[0]] * 2
    assert policy.agreement(prompts, rows).error < TOLERANCE
    one_step(model, lambda: policy.forward(prompts, rows).log_probs)


def one_step(model: Any, log_probs: Callable[[], torch.Tensor], of: str = "lora") -> None:
    """A step up a weighted log-probability, which every adapter has a part in and which rises.

    `of`: which parts of the adapters; A of a fresh one has no gradient yet."""
    model.train()
    adapters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    before = log_probs()
    weights = torch.arange(1.0, before.numel() + 1).reshape(before.shape).cos()
    (-(weights * before).sum()).backward()
    without = [n for n, p in adapters.items() if p.grad is None or not p.grad.any()]
    assert not [name for name in without if of in name]
    norm = torch.nn.utils.get_total_norm([p.grad for p in adapters.values() if p.grad is not None])
    torch.optim.SGD(adapters.values(), lr=0.01 / float(norm)).step()
    model.zero_grad()
    assert (weights * (log_probs() - before)).sum() > 0


def told() -> dict[str, str]:
    """The table in the documentation."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", TABLE.read_text("utf-8"), re.M)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def found(kind: str) -> str:
    """What becomes of a tiny model of this kind, as the table says it."""
    if kind in NOT_TINY:
        return f"not tried: {NOT_TINY[kind]}"
    if kind in REFUSED:
        with pytest.raises(Exception) as raised:
            model = with_adapters(kind)
            train_cells(model)
            train_routes(model)
        if isinstance(raised.value, UserError):  # found without the list as well
            assert REFUSED[kind] in str(raised.value)
        return f"refused: {REFUSED[kind]}"
    model = with_adapters(kind)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert not has_experts(model) or not [n for n in trained if ROUTER.search(n)]
    train_cells(model)
    train_routes(model)
    reason = why_not_packed(model)
    return "trains, packed" if reason is None else f"trains, each sequence on its own: {reason}"


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind in told() and kind not in NOT_TINY])
def test_it_is_trained_or_refused_as_the_table_says(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found(kind) == told()[kind]


def test_the_table_has_them_all() -> None:
    table = told()
    if f"transformers {transformers.__version__.rpartition('.')[0]} " in TABLE.read_text("utf-8"):
        assert set(table) == set(ALL)  # another version has others besides
    for kind, reason in NOT_TINY.items():
        assert table[kind] == f"not tried: {reason}"
    counts = Counter(row.partition(":")[0].partition(",")[0] for row in table.values())
    assert (
        f"{len(table)} architectures: {counts['trains']} train, {counts['refused']} are refused, "
        f"{counts['not tried']} were not tried."
    ) in TABLE.read_text("utf-8")


WITHOUT_SDPA = ("gemma2", "gpt_oss", "bloom", "mamba", "mamba2", "falcon_h1")


@pytest.mark.parametrize("kind", WITHOUT_SDPA)
def test_a_folder_of_it_loads_in_4_bits(kind: str, tmp_path: Path) -> None:
    """These were refused, or ended in an error of PEFT's, while `sdpa` was demanded of all."""
    tiny_base(kind).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "nf4", "cpu", LoraSettings(rank=2))
    assert loaded.attention == ("sdpa" if kind == "falcon_h1" else "eager")
    assert loaded.quantized > 0 and loaded.adapted
    policy = CellPolicy(loaded.model)
    one_step(loaded.model, lambda: policy.forward(PROMPTS).log_probs, of="lora_B")


def test_a_refused_one_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    with pytest.raises(UserError, match="architecture bert cannot be trained, because its logits"):
        check_architecture(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}', "utf-8")
    with pytest.raises(UserError, match="vit not as a causal language model"):
        check_architecture(tmp_path)


def test_the_estimated_share_is_near_the_counted(tmp_path: Path) -> None:
    for name in ("qwen3", "gpt2", "qwen3_moe"):
        folder = tmp_path / name
        tiny_base(name).save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)
        counted = load_model(str(folder), "nf4", "cpu").quantized
        assert quantized_share(folder) == pytest.approx(counted, abs=0.02)
