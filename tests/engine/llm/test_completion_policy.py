"""The packed training pass of completions equals the naive one: values, entropies, gradients."""

import pytest
import torch
from policy_tools import MAPS, clipped, gradients, naive_next, relative, tiny, worlds
from tiny_models import ARCHITECTURES

from engine.llm.forward import output_head
from engine.llm.forward.completion_policy import CompletionPolicy, move_words
from engine.llm.forward.packing import TOLERANCE, TokenTree
from engine.llm.forward.prompts import route_prompt
from engine.llm.forward.sampling import end_tokens

TEMPERATURE = 0.7


def batch(model, tokenizer, restricted, told="map"):
    """Two prompts with five completions each, of all lengths, some beginning alike."""
    prompts = [route_prompt(maze, mdp, tokenizer, 0, told) for maze, mdp in worlds(*MAPS)]
    words = move_words(prompts[0], end_tokens(model, tokenizer))
    left, down, right, up = (tokens[0] for tokens in prompts[0].word_tokens)
    end = tokenizer.eos_token_id
    routes = [[end], [right, right, down, end], [right, right, up], [left], [down, left, end]]
    owners = [prompt.tokens for prompt in prompts for _ in routes]
    policy = CompletionPolicy(
        model, tokenizer, temperature=TEMPERATURE, words=words if restricted else None
    )
    return policy, owners, routes * len(prompts)


def naive(model, policy, owners, routes):
    """Log-probabilities and entropies [tokens], row by row, from all logits of the whole model."""
    log_probs, entropies = [], []
    for prompt, route in zip(owners, routes, strict=True):
        scores = naive_next(model, [*prompt, *route])[len(prompt) - 1 : -1] / TEMPERATURE
        if policy.head.words is not None:
            scores = scores[:, policy.head.words]
            column = [policy.head.words.tolist().index(token) for token in route]
        else:
            column = route
        log_pi = torch.log_softmax(scores, -1)
        log_probs.append(log_pi[torch.arange(len(route)), column])
        entropies.append(-(log_pi.exp() * log_pi).sum(-1))
    return torch.cat(log_probs), torch.cat(entropies)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return tiny(request.param)


@pytest.mark.parametrize(
    ("restricted", "told"), [(True, "map"), (False, "map"), (True, "local"), (True, "map+local")]
)
def test_values_and_gradients_equal_the_naive_ones(architecture, restricted, told):
    model, tokenizer = architecture
    policy, owners, routes = batch(model, tokenizer, restricted, told)
    expected, entropy = naive(model, policy, owners, routes)
    generator = torch.Generator().manual_seed(0)
    advantages = torch.randn(expected.shape, generator=generator)
    old = expected.detach() + 0.3 * torch.randn(expected.shape, generator=generator)
    ratio = (expected.detach() - old).exp()
    assert ((ratio > 1.2) & (advantages > 0)).any() and ((ratio < 0.8) & (advantages < 0)).any()
    wanted = gradients(model, clipped(expected, old, advantages) - 0.3 * entropy.sum())
    for packed in (True, False):
        policy.packed = packed
        scores = policy.forward(owners, routes)
        log_probs, entropies = scores.log_probs[scores.mask], scores.entropy[scores.mask]
        assert (log_probs - expected).abs().max() <= TOLERANCE
        assert (entropies - entropy).abs().max() <= TOLERANCE
        assert (scores.log_probs[~scores.mask] == 0).all()
        found = gradients(model, clipped(log_probs, old, advantages) - 0.3 * entropies.sum())
        assert relative(found - wanted, wanted) <= 1e-3


def test_chunks_of_logits_change_nothing_and_stay_small(architecture, monkeypatch):
    model, tokenizer = architecture
    policy, owners, routes = batch(model, tokenizer, restricted=False)

    def run():
        scores = policy.forward(owners, routes)
        return scores, gradients(model, scores.log_probs.sum() + scores.entropy.sum())

    whole, expected = run()
    rows = []
    logits = policy.head.logits

    def watched(hidden):
        rows.append(hidden.shape[0])
        return logits(hidden)

    monkeypatch.setattr(policy.head, "logits", watched)
    monkeypatch.setattr(output_head, "CHUNK_BYTES", 3 * 4 * policy.head.n_words)
    parts, found = run()
    assert max(rows) == 3 and len(rows) > 4
    assert torch.allclose(parts.log_probs, whole.log_probs, atol=1e-5)
    assert torch.allclose(parts.entropy, whole.entropy, atol=1e-5)
    assert relative(found - expected, expected) <= 1e-6


def test_the_budget_changes_nothing(architecture):
    model, tokenizer = architecture
    policy, owners, routes = batch(model, tokenizer, restricted=True)
    whole = policy.forward(owners, routes)
    expected = gradients(model, whole.log_probs.sum())
    for packed in (True, False):
        policy.packed, policy.token_budget = packed, 80
        parts = policy.split(owners, routes)
        assert len(parts) > 2 and [n for part in parts for n in part] == list(range(len(routes)))
        total = torch.zeros_like(expected)
        for part in parts:
            scores = policy.forward([owners[n] for n in part], [routes[n] for n in part])
            total += gradients(model, scores.log_probs.sum())
        assert relative(total - expected, expected) <= 1e-3
        assert torch.allclose(policy.log_probs(owners, routes), whole.log_probs, atol=1e-4)


def test_the_prompt_is_computed_once(architecture):
    model, tokenizer = architecture
    _, owners, routes = batch(model, tokenizer, restricted=True)
    tree = TokenTree.build([[*p, *r[:-1]] for p, r in zip(owners, routes, strict=True)])
    # down, right, right-right, right-right-down, and two prompts; an end is only predicted.
    assert len(tree) <= len(owners[0]) + len(owners[-1]) + 2 * 5


def test_hidden_states_are_those_that_predict(architecture):
    model, tokenizer = architecture
    policy, owners, routes = batch(model, tokenizer, restricted=True)
    with torch.no_grad():
        assert policy.forward(owners, routes).hidden is None  # as large as the model's, or larger
        scores = policy.forward(owners, routes, keep_hidden=True)
        decoder = model.get_base_model().get_decoder()
        whole = decoder(torch.tensor([[*owners[1], *routes[1]]])).last_hidden_state[0]
    assert torch.allclose(scores.hidden[1, :4], whole[len(owners[1]) - 1 : -1], atol=1e-3)


def test_agreement_measures_the_difference(architecture, monkeypatch):
    model, tokenizer = architecture
    policy, owners, routes = batch(model, tokenizer, restricted=True)
    assert policy.agreement(owners, routes).error <= TOLERANCE
    monkeypatch.setattr(policy.head, "_scale", 1.1)
    assert policy.agreement(owners, routes).error > 10 * TOLERANCE


def test_the_reference_is_the_base_model():
    model, tokenizer = tiny("llama")
    policy, owners, routes = batch(model, tokenizer, restricted=True)
    with model.disable_adapter(), torch.no_grad():
        expected, _ = naive(model, policy, owners, routes)
    reference = policy.reference_log_probs(owners, routes)
    mask = policy.forward(owners, routes).mask
    assert (reference[mask] - expected).abs().max() <= TOLERANCE
    assert (reference - policy.log_probs(owners, routes)).abs().max() > 1e-3


def test_what_cannot_be_scored_is_an_error():
    model, tokenizer = tiny("llama")
    policy, owners, routes = batch(model, tokenizer, restricted=True)
    with pytest.raises(ValueError, match="no tokens"):
        policy.forward(owners[:1], [[]])
    with pytest.raises(ValueError, match="not allowed"):
        policy.forward(owners[:1], [[5]])
    with pytest.raises(ValueError, match="ends a completion"):
        CompletionPolicy(model, tokenizer, words=[routes[3][0]])


def test_a_softcapped_scaled_head_is_the_models(monkeypatch):
    """Gemma 2 squashes its final logits: so must ours."""
    model, tokenizer = tiny("gemma3")
    monkeypatch.setattr(model.get_base_model().config, "final_logit_softcapping", 2.0)
    policy, owners, routes = batch(model, tokenizer, restricted=True)
    assert policy.agreement(owners, routes).error <= TOLERANCE
