"""Sampling: the right distribution, the right log-probabilities, whatever the batch."""

import inspect

import pytest
import torch
from policy_tools import MAPS, naive_next, recurrent, tiny, worlds
from tiny_models import ARCHITECTURES

from engine.llm.forward.cache_budget import SamplingMemory
from engine.llm.forward.completion_policy import CompletionPolicy, move_words
from engine.llm.forward.output_head import OutputHead
from engine.llm.forward.prompts import route_prompt
from engine.llm.forward.sampling import end_tokens, sample
from engine.llm.models.architecture import decoder_of

ROOM = SamplingMemory(cache_tokens=4096, merged=True)


def prompts_of(tokenizer, maps=MAPS):
    return [route_prompt(maze, mdp, tokenizer, 0) for maze, mdp in worlds(*maps)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=ARCHITECTURES)
def setting(request):
    model, tokenizer = tiny(request.param)
    prompts = prompts_of(tokenizer)
    words = move_words(prompts[0], end_tokens(model, tokenizer))
    policy = CompletionPolicy(model, tokenizer, temperature=0.8, max_tokens=7, words=words)
    return policy, [prompt.tokens for prompt in prompts]


@pytest.mark.parametrize("restricted", [True, False])
def test_drawn_log_probs_are_the_models(setting, restricted):
    policy, prompts = setting
    if not restricted:
        policy.head.words = None
    drawn = policy.sample(prompts, 6, seeded())
    assert drawn.prompt.tolist() == [0] * 6 + [1] * 6
    owners = [prompts[p] for p in drawn.prompt]
    again = policy.log_probs(owners, drawn.rows())
    assert (again - drawn.log_probs).abs().max() <= 1e-4
    assert policy.agreement(owners, drawn.rows()).error <= 1e-4


def test_rows_end_at_an_end_token_or_are_truncated(setting):
    policy, prompts = setting
    policy.max_tokens, policy.head.temperature = 4, 2.0
    drawn = policy.sample(prompts, 24, seeded(1))
    assert drawn.truncated.any() and not drawn.truncated.all()
    for row, truncated in zip(drawn.rows(), drawn.truncated.tolist(), strict=True):
        ended = row[-1] in policy.ends
        assert ended != truncated
        assert not set(row[:-1]) & set(policy.ends)
        assert len(row) == policy.max_tokens or ended
    assert (drawn.log_probs[~drawn.mask] == 0).all()


def test_a_rows_neighbours_do_not_matter(setting):
    """Finished rows leave, equal rows are one: each row still says what it says alone."""
    policy, prompts = setting
    together = policy.sample(prompts, 5, seeded(2))
    assert len(set(together.lengths.tolist())) > 1
    policy.cache_budget = 1  # every row by itself
    alone = policy.sample(prompts, 5, seeded(2))
    assert torch.equal(alone.tokens, together.tokens)
    assert torch.equal(alone.truncated, together.truncated)
    assert (alone.log_probs - together.log_probs).abs().max() <= 1e-4
    policy.packed = False  # the model's own cache and masks
    plain = policy.sample(prompts, 5, seeded(2))
    assert torch.equal(plain.tokens, together.tokens)
    assert (plain.log_probs - together.log_probs).abs().max() <= 1e-4


def test_tokens_in_the_cache_are_not_run_again(setting, monkeypatch):
    policy, prompts = setting
    read = counting(policy, monkeypatch)
    policy.packed = False
    drawn = policy.sample(prompts[:1], 5, seeded(2))
    assert read[0] == (1, len(prompts[0]))  # once, whoever reads it
    unfinished = [int((drawn.lengths > t).sum()) for t in range(1, int(drawn.lengths.max()))]
    assert read[1:] == [(n, 1) for n in unfinished]


def test_the_generator_decides(setting):
    policy, prompts = setting
    first, same, other = (policy.sample(prompts, 4, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(first.tokens, same.tokens)
    assert first.tokens.shape != other.tokens.shape or not torch.equal(first.tokens, other.tokens)


def test_frequencies_are_the_distributions():
    """4,000 first tokens against π: within four standard errors of every word."""
    model, tokenizer = tiny("llama")
    prompt = prompts_of(tokenizer, MAPS[:1])[0].tokens
    policy = CompletionPolicy(model, tokenizer, temperature=1.5, max_tokens=1)
    drawn = policy.sample([prompt], 4000, seeded(5))
    with torch.no_grad():
        pi = torch.softmax(naive_next(model, prompt)[-1] / 1.5, -1)
    found = torch.bincount(drawn.tokens[:, 0], minlength=pi.numel()) / 4000
    error = (pi * (1 - pi) / 4000).sqrt()
    assert ((found - pi).abs() <= 4 * error + 1e-3).all()


def test_every_end_token_ends():
    model, tokenizer = tiny("llama")
    ends = end_tokens(model, tokenizer)
    assert set(ends) == {tokenizer.eos_token_id, tokenizer.pad_token_id}  # both are named
    prompt = prompts_of(tokenizer, MAPS[:1])[0].tokens
    head = OutputHead(model, 1.0, [*ends, 40])
    drawn = sample(
        model, [prompt], 64, head=head, ends=ends, max_tokens=5, generator=seeded(), memory=ROOM
    )
    last = {row[-1] for row in drawn.rows()}
    assert set(ends) <= last <= {*ends, 40}


def test_the_templates_end_of_turn_ends_even_if_nobody_names_it():
    model, tokenizer = tiny("llama")
    eos, tokenizer.eos_token = tokenizer.eos_token, tokenizer.pad_token
    configuration = model.get_base_model().generation_config
    named, configuration.eos_token_id = configuration.eos_token_id, None
    try:
        assert tokenizer.convert_tokens_to_ids(eos) in end_tokens(model, tokenizer)
    finally:
        tokenizer.eos_token, configuration.eos_token_id = eos, named


def test_the_models_sampling_defaults_are_not_used():
    model, tokenizer = tiny("llama")
    configuration = model.get_base_model().generation_config
    assert configuration.top_k == 20  # would forbid most words
    prompt = prompts_of(tokenizer, MAPS[:1])[0].tokens
    drawn = CompletionPolicy(model, tokenizer, temperature=5.0, max_tokens=1).sample(
        [prompt], 500, seeded()
    )
    assert len(set(drawn.tokens[:, 0].tolist())) > 50


def counting(policy, monkeypatch):
    """The shapes of all that its decoder reads from here on."""
    read, decoder = [], decoder_of(policy.model)
    forward = decoder.forward

    def counted(*args, **how):
        read.append(tuple(how["input_ids"].shape))
        return forward(*args, **how)

    counted.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(decoder, "forward", counted)
    return read


def test_one_row_of_work_for_rows_that_say_the_same(monkeypatch):
    """A sure policy: 16 rows cost one token a step."""
    model, tokenizer = tiny("llama")
    prompt = prompts_of(tokenizer, MAPS[:1])[0].tokens
    policy = CompletionPolicy(model, tokenizer, temperature=1e-4, max_tokens=6)
    read = counting(policy, monkeypatch)
    policy.sample([prompt], 16, seeded())
    assert read[0] == (1, len(prompt)) and set(read[1:]) == {(1, 1)}


def test_a_recurrent_model_is_sampled_plainly():
    model, tokenizer = recurrent()
    policy = CompletionPolicy(model, tokenizer, max_tokens=4)
    assert not policy.packed
    prompts = [prompt.tokens for prompt in prompts_of(tokenizer)]
    drawn = policy.sample(prompts, 3, seeded())
    owners = [prompts[p] for p in drawn.prompt]
    assert (policy.log_probs(owners, drawn.rows()) - drawn.log_probs).abs().max() <= 1e-4
    assert policy.agreement(owners, drawn.rows()).error <= 1e-4
