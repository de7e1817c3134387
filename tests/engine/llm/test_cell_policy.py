"""Packed equals plain: every architecture, several mazes, several budgets."""

import numpy as np
import pytest
import torch
from policy_tools import MAPS, clipped, gradients, naive_next, recurrent, relative, tiny, worlds
from tiny_models import ARCHITECTURES, SLIDING_WINDOW

from engine.llm.forward.attention import why_not_packed
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.packing import TOLERANCE, TokenTree
from engine.llm.forward.prompts import cell_prompts


def naive_log_probs(model, prompts):
    """[N, A] with nothing of the engine's: one prompt at a time, all logits."""
    rows = [naive_next(model, tokens)[-1] for tokens in prompts.tokens]
    chosen = torch.stack(rows)[:, list(prompts.action_tokens)]
    return torch.log_softmax(chosen, dim=-1)


@pytest.fixture(params=ARCHITECTURES)
def setting(request):
    model, tokenizer = tiny(request.param)
    return model, cell_prompts(worlds(), tokenizer)


def test_packed_equals_the_whole_model_prompt_by_prompt(setting):
    model, prompts = setting
    policy = CellPolicy(model)
    assert policy.packed and policy.note is None
    naive = naive_log_probs(model, prompts)
    packed = policy.log_probs(prompts)
    assert (packed - naive).abs().max() <= TOLERANCE
    assert packed.exp().std(dim=0).min() > 1e-4  # states differ, or nothing would be tested


def test_gradients_equal_with_mixed_signs_and_ratios_outside_the_clip(setting):
    model, prompts = setting
    naive = naive_log_probs(model, prompts)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(naive.shape, generator=generator)
    advantages = torch.randn(naive.shape, generator=generator)
    old = naive.detach() + 0.3 * noise
    ratio = (naive.detach() - old).exp()
    assert ((ratio > 1.2) & (advantages > 0)).any() and ((ratio < 0.8) & (advantages < 0)).any()
    expected = gradients(model, clipped(naive, old, advantages))
    for packed in (True, False):
        table = CellPolicy(model, packed=packed).forward(prompts)
        found = gradients(model, clipped(table.log_probs, old, advantages))
        assert relative(found - expected, expected) <= 1e-3


def test_the_budget_changes_neither_policy_nor_gradient(setting):
    model, prompts = setting
    whole = CellPolicy(model)
    weights = torch.randn((len(prompts), 4), generator=torch.Generator().manual_seed(1))
    expected = gradients(model, (whole.forward(prompts).log_probs * weights).sum())
    for packed in (True, False):
        policy = CellPolicy(model, token_budget=150, packed=packed)
        parts = policy.split(prompts)
        assert len(parts) > 2 and [row for part in parts for row in part] == list(
            range(len(prompts))
        )
        found = sum(
            gradients(model, (policy.forward(prompts, part).log_probs * weights[part]).sum())
            for part in parts
        )
        assert relative(found - expected, expected) <= 1e-3
        assert (policy.log_probs(prompts) - whole.log_probs(prompts)).abs().max() <= TOLERANCE


def test_chosen_rows_are_those_rows(setting):
    model, prompts = setting
    policy = CellPolicy(model)
    everything = policy.table(prompts)
    some = policy.table(prompts, [7, 2, 11])
    assert torch.allclose(some.logits, everything.logits[[7, 2, 11]], atol=1e-4)
    assert torch.allclose(some.hidden, everything.hidden[[7, 2, 11]], atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eager_attention_takes_the_same_masks(architecture):
    model, tokenizer = tiny(architecture, "eager")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    assert CellPolicy(model).agreement(prompts).error <= TOLERANCE


def test_the_sliding_window_is_shorter_than_the_prompt_and_matters():
    model, tokenizer = tiny("gemma3")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    assert min(len(tokens) for tokens in prompts.tokens) > 5 * SLIDING_WINDOW
    policy = CellPolicy(model)
    assert policy.agreement(prompts).error <= TOLERANCE
    config = model.get_base_model().config
    window, config.sliding_window = config.sliding_window, 10_000
    try:
        wide = policy.log_probs(prompts)
    finally:
        config.sliding_window = window
    assert (wide - policy.log_probs(prompts)).abs().max() > 1e-3


def test_agreement_finds_a_policy_that_is_not_the_models(monkeypatch):
    model, tokenizer = tiny("llama")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    policy = CellPolicy(model)
    everyone = lambda self: np.tri(len(self), dtype=bool)  # noqa: E731
    monkeypatch.setattr(TokenTree, "ancestors", everyone)  # branches that see their neighbours
    assert policy.agreement(prompts).error > 10 * TOLERANCE


def test_temperature_divides_the_logits():
    model, tokenizer = tiny("llama")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    cold, warm = CellPolicy(model, temperature=0.5), CellPolicy(model)
    assert torch.allclose(cold.table(prompts).logits, 2 * warm.table(prompts).logits, atol=1e-5)
    assert cold.agreement(prompts).error <= TOLERANCE


def test_the_reference_is_the_base_model_and_the_adapter_comes_back():
    model, tokenizer = tiny("qwen3")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    policy = CellPolicy(model)
    before = policy.log_probs(prompts)
    reference = policy.reference_log_probs(prompts)
    assert (reference - before).abs().max() > 1e-3
    with model.disable_adapter(), torch.no_grad():
        assert (reference - naive_log_probs(model, prompts)).abs().max() <= TOLERANCE
    assert torch.equal(policy.log_probs(prompts), before)
    assert all(p.requires_grad for n, p in model.named_parameters() if "lora_" in n)


def test_a_table_pass_leaves_mode_and_gradients_alone():
    model, tokenizer = tiny("llama")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    policy = CellPolicy(model)
    model.train()
    table = policy.table(prompts)
    assert model.training and not table.logits.requires_grad and not table.logits.is_inference()
    assert gradients(model, policy.forward(prompts).log_probs[0, 0]).abs().sum() > 0
    model.eval()


def test_the_first_pass_computes_only_the_rows_of_the_output_layer_it_needs(monkeypatch):
    model, tokenizer = tiny("llama")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    layer = model.get_base_model().get_output_embeddings()

    def refuse(*_):
        raise AssertionError("the whole vocabulary was computed")

    monkeypatch.setattr(layer, "forward", refuse)
    assert CellPolicy(model).log_probs(prompts).shape == (len(prompts), 4)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layer_types", ["full_attention", "linear_attention"], "linear attention"),
        ("_attn_implementation", "flash_attention_2", "flash_attention_2"),
        ("alibi", True, "ALiBi"),
    ],
)
def test_models_that_cannot_branch_say_why(name, value, words):
    model, _ = tiny("qwen2")
    config = model.get_base_model().config
    before = getattr(config, name, None)
    object.__setattr__(config, name, value)
    try:
        assert words in (why_not_packed(model) or "")
        policy = CellPolicy(model)
        assert not policy.packed and words in (policy.note or "")
    finally:
        object.__setattr__(config, name, before)


def test_a_recurrent_model_takes_the_plain_path():
    model, tokenizer = recurrent()
    policy = CellPolicy(model)
    assert not policy.packed and "cannot be told which tokens to see" in (policy.note or "")
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    assert policy.agreement(prompts).error <= TOLERANCE
