"""The same equalities on the real SmolLM2-135M, as floats and as NF4."""

import pytest
import torch
from policy_tools import MAPS, clipped, gradients, relative, worlds

from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.completion_policy import CompletionPolicy, move_words
from engine.llm.forward.packing import TOLERANCE
from engine.llm.forward.prompts import cell_prompts, route_prompt
from engine.llm.forward.sampling import end_tokens
from engine.llm.models.loading import load_model


@pytest.fixture(scope="module", params=["none", "nf4"])
def real(request, smollm):
    """Model and tokenizer, with an adapter that is not zero."""
    loaded = load_model(str(smollm), request.param, "cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01, generator=generator)
    return loaded.model, loaded.tokenizer


def test_action_policy(real):
    model, tokenizer = real
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    rows = [0, 4, 10]
    policy = CellPolicy(model)
    assert policy.packed and policy.agreement(prompts, rows).error <= TOLERANCE
    generator = torch.Generator().manual_seed(0)
    old = policy.log_probs(prompts, rows) + 0.3 * torch.randn((3, 4), generator=generator)
    advantages = torch.randn((3, 4), generator=generator)
    plain, packed = (
        gradients(model, clipped(each.forward(prompts, rows).log_probs, old, advantages))
        for each in (CellPolicy(model, packed=False), policy)
    )
    assert plain.abs().max() > 0
    assert relative(packed - plain, plain) <= 1e-3


def test_plan_policy(real):
    model, tokenizer = real
    [(maze, mdp)] = worlds(MAPS[0])
    prompt = route_prompt(maze, mdp, tokenizer, 0)
    words = move_words(prompt, end_tokens(model, tokenizer))
    policy = CompletionPolicy(model, tokenizer, max_tokens=5, words=words)
    drawn = policy.sample([prompt.tokens], 3, torch.Generator().manual_seed(0))
    owners, routes = [prompt.tokens] * 3, drawn.rows()
    assert (policy.log_probs(owners, routes) - drawn.log_probs).abs().max() <= TOLERANCE
    assert policy.agreement(owners, routes).error <= TOLERANCE
    generator = torch.Generator().manual_seed(0)
    old = drawn.log_probs + 0.3 * torch.randn(drawn.tokens.shape, generator=generator)
    advantages = torch.randn(drawn.tokens.shape, generator=generator) * drawn.mask
    found = []
    for packed in (False, True):
        policy.packed = packed
        log_probs = policy.forward(owners, routes).log_probs
        found.append(gradients(model, clipped(log_probs, old, advantages)))
    plain, packed = found
    assert plain.abs().max() > 0
    assert relative(packed - plain, plain) <= 1e-3
