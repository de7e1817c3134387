"""Sampling long texts: how many passes, how many bytes, and the same words however it is cut."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from learner_tools import same_state, train
from policy_tools import recurrent, tiny
from route_tools import route_learner
from test_sampling import counting, prompts_of, seeded
from tiny_models import ARCHITECTURES, build_tokenizer

from engine.llm.forward import cache_budget, sampling, shared_prefix
from engine.llm.forward.cache_budget import SamplingMemory, cache_token_bytes, measured
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.packing import TokenTree
from engine.llm.forward.shared_prefix import Rows, cache_parameter, can_share, places
from engine.llm.models.architecture import decoder_of

PLENTY, OLD = SamplingMemory(10**6, True), SamplingMemory(4096, False)
ENDLESS = [40, 41, 42, 43]
"""Words none of which ends a completion."""


def endless(policy: CompletionPolicy) -> CompletionPolicy:
    policy.head.words = torch.tensor(ENDLESS)
    return policy


def same_words(a: sampling.Completions, b: sampling.Completions) -> None:
    assert torch.equal(a.tokens, b.tokens)
    assert (a.log_probs - b.log_probs).abs().max() <= 1e-5


# ---------------------------------------------------------------- passes


def test_a_pass_a_token_where_memory_allows_and_more_where_it_does_not(monkeypatch):
    model, tokenizer = tiny("llama")
    prompt = prompts_of(tokenizer)[0].tokens
    policy = endless(CompletionPolicy(model, tokenizer, max_tokens=6, memory=PLENTY))
    read = counting(policy, monkeypatch)
    whole = policy.sample([prompt], 64, seeded())
    assert whole.lengths.tolist() == [6] * 64
    assert len(read) == 6 and read[0] == (1, len(prompt)) and read[-1][1] == 1
    assert sum(rows * tokens for rows, tokens in read) <= len(prompt) + 64 * 5
    policy.cache_budget = len(prompt) + 10 * 6  # ten rows: seven parts
    del read[:]
    parts = policy.sample([prompt], 64, seeded())
    assert len(read) == 7 * 6 and max(rows for rows, _ in read) == 10
    same_words(whole, parts)


def test_64_rows_of_1024_tokens():
    def passes(cache_tokens: int) -> int:
        asked = [range(94)] * 64
        return 1024 * len(list(sampling._parts(asked, 1024, cache_tokens, shared=True)))

    assert passes(94 + 64 * 1024) == 1024
    assert passes(4096) == 22 * 1024  # what every machine did


@pytest.mark.slow
def test_they_take_a_pass_a_token_for_real(monkeypatch):
    model, tokenizer = tiny("llama")
    prompt = prompts_of(tokenizer)[0].tokens
    policy = endless(CompletionPolicy(model, tokenizer, max_tokens=128, memory=PLENTY))
    read = counting(policy, monkeypatch)
    policy.sample([prompt], 64, seeded())
    assert len(read) == 128


def test_prompts_that_differ_too_much_stand_apart():
    """A row is compared with every token of the prompts it stands behind, also those of others."""
    asked = [tuple(range(1000 * n, 1000 * n + 900)) for n in range(5) for _ in range(2)]
    parts = list(sampling._parts(asked, 8, 10**6, shared=True))
    assert parts == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert list(sampling._parts(asked, 8, 10**6, shared=False)) == [
        slice(n, n + 2) for n in range(0, 10, 2)
    ]


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_token_in_the_cache_takes_what_the_configuration_says(architecture):
    model, tokenizer = tiny(architecture)
    tree = TokenTree.build([prompts_of(tokenizer)[0].tokens])
    with torch.no_grad():
        _hidden, cache = sampling._read(model, tree)
    stored = sum(of.nbytes for layer in cache.layers for of in (layer.keys, layer.values))
    assert stored == len(tree) * cache_token_bytes(model)
    rows = Rows(model, cache, tree, np.array([len(tree) - 1]), most=5, room=9)
    reserved = sum(of.nbytes for layer in rows.layers for of in (layer.keys, layer.values))
    assert reserved == 5 * 9 * cache_token_bytes(model)
    shared = sum(layer.shared_keys.nbytes + layer.shared_values.nbytes for layer in rows.layers)
    assert shared == stored  # once, for five rows


def test_latent_attention_is_counted_as_it_is_stored():
    model = other("latent attention")
    answer = model(input_ids=torch.arange(7)[None], use_cache=True)
    cache = getattr(answer, cache_parameter(decoder_of(model)) or "")
    stored = sum(of.nbytes for layer in cache.layers for of in (layer.keys, layer.values))
    assert stored == 7 * cache_token_bytes(model)


def test_the_budget_follows_free_memory(monkeypatch):
    model, tokenizer = tiny("llama")

    def with_free(free: int) -> SamplingMemory:
        monkeypatch.setattr(cache_budget, "free_memory", lambda device: free)
        return measured(model)

    token = cache_token_bytes(model)
    weights = cache_budget.merged_bytes(model)
    assert weights == sum(
        4 * layer.in_features * layer.out_features
        for name, layer in model.named_modules()
        if name.endswith("base_layer")
    )
    assert weights == 576 * token
    assert with_free(2 * weights) == (512, False)  # half of it is 576 tokens
    assert with_free(5 * weights) == (1024, True)  # half of what merged weights leave is 1152
    assert with_free(10**6 * weights) == (cache_budget.MOST, True)
    assert with_free(0) == (1, False)  # one row by itself is always tried
    policy = CompletionPolicy(model, tokenizer)
    assert (policy.cache_budget, policy.merges) == (1, False)


def test_a_resumed_run_samples_as_it_did_however_much_memory_is_free(tiny_model, monkeypatch):
    few = ["algorithm.episodes=8", "algorithm.group_size=8"]

    def with_free(free: int) -> Any:
        monkeypatch.setattr(cache_budget, "free_memory", lambda device: free)
        made = route_learner(tiny_model("llama"), "grpo", "algorithm.temperature=0.9", *few)
        made.prepare()
        return made

    whole, resumed = with_free(300_000), with_free(10**9)
    fresh = [(p.cache_budget, p.merges) for p in resumed.task.policies]
    train(whole, 1)
    saved = whole.state()
    train(whole, 2)
    assert whole.task.policy.cache_budget < 1000 and len(fresh) == 2
    resumed.load(saved)
    assert [(p.cache_budget, p.merges) for p in resumed.task.policies] != fresh
    train(resumed, 2)
    same_state(whole, resumed)
    del saved["passes"]  # as runs of older versions: they go on with what there is
    older = with_free(10**9)
    older.load(saved)
    assert [(p.cache_budget, p.merges) for p in older.task.policies] == fresh


# ---------------------------------------------------------------- the same words


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("memory", [PLENTY, PLENTY._replace(merged=False)], ids=str)
def test_log_probs_are_those_of_a_plain_pass_without_a_cache(architecture, memory):
    model, tokenizer = tiny(architecture)
    prompts = [prompt.tokens for prompt in prompts_of(tokenizer)]
    policy = CompletionPolicy(model, tokenizer, max_tokens=12, memory=memory)
    assert can_share(model)
    agrees(policy, prompts)


def agrees(policy: CompletionPolicy, prompts: list[tuple[int, ...]], group: int = 5) -> None:
    drawn = policy.sample(prompts, group, seeded(3), greedy=True)
    for prompt, row, log_probs in zip(drawn.prompt, drawn.rows(), drawn.log_probs, strict=True):
        naive = policy._naive(prompts[int(prompt)], row)
        assert (log_probs[: len(row)] - naive).abs().max() <= 1e-5


SHAPE: dict[str, Any] = {
    "vocab_size": 352, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.1,
    "pad_token_id": 0, "eos_token_id": None, "bos_token_id": None,
}  # fmt: skip
OTHERS: dict[str, tuple[str, str, bool, dict[str, Any]]] = {
    "soft caps": ("Gemma2", "eager", True, {"sliding_window": 8, "query_pre_attn_scalar": 8}),
    "sinks": ("GptOss", "eager", True, {"num_local_experts": 4, "sliding_window": 8}),
    "a window in all layers": ("Mistral", "sdpa", True, {"sliding_window": 8}),
    "heads of their own": ("GPTNeoX", "sdpa", True, {}),
    "latent attention": (
        "DeepseekV3", "sdpa", False,
        {
            "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 4,
            "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
            "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
            "qk_nope_head_dim": 16,
        },
    ),
    "a hybrid of convolutions": (
        "Lfm2", "sdpa", False, {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3},
    ),
    "a hybrid of linear attention": (
        "Qwen3Next", "sdpa", False,
        {
            "layer_types": ["linear_attention", "full_attention"], "num_experts": 4,
            "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1,
            "shared_expert_intermediate_size": 16, "linear_num_value_heads": 2,
            "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        },
    ),
}  # fmt: skip


def other(kind: str) -> Any:
    """A tiny random model without adapters."""
    name, attention, _shares, more = OTHERS[kind]
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **more})
    make = getattr(transformers, f"{name}ForCausalLM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make._from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_attention_are_sampled_right(kind):
    _name, attention, shares, _more = OTHERS[kind]
    model, tokenizer = other(kind), build_tokenizer()
    policy = CompletionPolicy(model, tokenizer, max_tokens=10)
    assert (policy.packed and can_share(model)) is shares
    agrees(policy, [prompt.tokens for prompt in prompts_of(tokenizer)])
    assert decoder_of(model).config._attn_implementation == attention  # what it was


def test_in_bfloat16_rows_are_as_near_to_float32_as_a_plain_pass():
    model, tokenizer = other("a window in all layers"), build_tokenizer()
    short = copy.deepcopy(model).to(torch.bfloat16)
    prompts = [prompt.tokens for prompt in prompts_of(tokenizer)]
    policy = CompletionPolicy(short, tokenizer, max_tokens=12)
    exact = CompletionPolicy(model, tokenizer, max_tokens=12)
    assert not policy.merges  # a merged weight would be rounded
    drawn = policy.sample(prompts, 8, seeded())
    ours, plain = [], []
    for prompt, row, log_probs in zip(drawn.prompt, drawn.rows(), drawn.log_probs, strict=True):
        truth = exact._naive(prompts[int(prompt)], row)
        ours.append((log_probs[: len(row)] - truth).abs())
        plain.append((policy._naive(prompts[int(prompt)], row) - truth).abs())
    assert torch.cat(ours).mean() <= 1.5 * torch.cat(plain).mean()


def test_a_model_that_changes_keys_behind_its_cache_is_sampled_plainly(monkeypatch):
    model, tokenizer = tiny("llama")
    prompts = [prompt.tokens for prompt in prompts_of(tokenizer)]
    policy = CompletionPolicy(model, tokenizer, max_tokens=6, memory=PLENTY)
    expected = policy.sample(prompts, 4, seeded())
    update = shared_prefix._Layer.update

    def changed(self, *args, **how):
        keys, values = update(self, *args, **how)
        return keys.clone(), values

    monkeypatch.setattr(shared_prefix._Layer, "update", changed)
    same_words(policy.sample(prompts, 4, seeded()), expected)


def test_how_many_rows_are_chosen_for_at_once_changes_nothing(monkeypatch):
    model, tokenizer = tiny("llama")
    prompt = prompts_of(tokenizer)[0].tokens
    policy = CompletionPolicy(model, tokenizer, max_tokens=5, memory=PLENTY)
    expected = policy.sample([prompt], 9, seeded(), greedy=True)
    monkeypatch.setattr(sampling, "CHUNK_BYTES", 2 * 4 * policy.head.n_words)
    same_words(policy.sample([prompt], 9, seeded(), greedy=True), expected)


def test_tokens_are_drawn_by_the_inverse_of_the_distribution_function():
    """The draw by the book, from float64 probabilities of the model's own float32 logits."""
    model, tokenizer = tiny("llama")
    prompt = prompts_of(tokenizer)[0].tokens
    policy = CompletionPolicy(model, tokenizer, max_tokens=1, memory=PLENTY)
    drawn = policy.sample([prompt], 200, seeded(7))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
    below = np.cumsum(torch.softmax(logits.double(), -1).numpy())
    uniform = torch.rand((200, 1), generator=seeded(7))[:, 0].double().numpy()
    assert drawn.tokens[:, 0].tolist() == np.searchsorted(below, uniform, side="right").tolist()


def test_a_recurrent_model_reads_its_prompt_once(monkeypatch):
    model, tokenizer = recurrent()
    policy = CompletionPolicy(model, tokenizer, max_tokens=5)
    read = counting(policy, monkeypatch)
    prompt = prompts_of(tokenizer)[0].tokens
    drawn = policy.sample([prompt], 6, seeded())
    assert read[0] == (1, len(prompt))
    assert all(rows <= 6 for rows, _ in read[1:]) and len(read) == int(drawn.lengths.max())


def test_rows_move_as_little_as_possible():
    rng = np.random.default_rng(0)
    for _ in range(200):
        before = int(rng.integers(1, 8))
        parent = np.sort(rng.integers(0, before, int(rng.integers(1, 8))))
        row, source, target = places(parent)
        assert sorted(row.tolist()) == list(range(parent.size))  # no gaps
        held = np.arange(max(before, parent.size))
        held[target] = held[source]
        assert held[row].tolist() == parent.tolist()  # each continues its own
        staying = [p for p in np.unique(parent).tolist() if p < parent.size]
        assert target.size == parent.size - len(staying)
