"""The task of free text: what a round does, and that it can be cut, put off and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_tools import metrics, reproducible, same_state, train
from text_tools import text, text_learner, text_preset

from engine import presets
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Group, Note, Pair, Preference, Update
from engine.learning.learner import AskingLearner, HeavyLearner
from engine.llm.learner import LlmLearner
from engine.llm.models import adapters
from engine.llm.tasks.text.batch import Request, Written, describe, different_pairs, write
from engine.llm.tasks.text.features import NAMES
from engine.runs.session import Session

Tiny = Callable[[str], Path]


def pairs_of(events: list[AnyEvent]) -> list[Pair]:
    return [event for event in events if isinstance(event, Pair)]


def answer(made: LlmLearner) -> list[AnyEvent]:
    """Answers to the open round: the first is always better."""
    events: list[AnyEvent] = []
    for pair in list(made.task.rounds.memory.pairs):
        events += made.prefer(pair.index, "first")
    return events


# ---------------------------------------------------------------- rounds


def test_a_rule_answers_at_once_and_the_model_follows(tiny_model: Tiny) -> None:
    made = text_learner(
        tiny_model("llama"), "rule", "budget.updates=12", "algorithm.episodes=32",
        "text.rule=word", "text.word=ice", "text.pairs=8", "algorithm.learning_rate=0.02",
    )  # fmt: skip
    events = train(made)
    asked = pairs_of(events)
    answers = [event for event in events if isinstance(event, Preference)]
    assert [pair.step for pair in asked[::8]] == [0, 2, 4, 6, 8, 10, 12]
    assert [pair.index for pair in asked] == list(range(len(asked))) == [a.index for a in answers]
    assert all(given.by == "rule" for given in answers)
    assert np.isnan(answers[0].guess) and 0 < answers[-1].guess < 1
    groups = [event for event in events if isinstance(event, Group)]
    assert {group.prompt for group in groups} == {"Write about ice.", "Say a word."}
    assert len(groups[0].members) == 8 and not groups[0].members[0].actions
    assert metrics(events, "true_score")[0] == metrics(events, "true_score")[0]
    assert len(metrics(events, "loss")) == 12 and np.isfinite(metrics(events, "loss")).all()
    assert metrics(events, "reference_kl")[0] == pytest.approx(0.0, abs=1e-5)
    assert metrics(events, "reference_kl")[-1] > 0.01


def test_the_policy_comes_to_write_what_the_reward_model_pays_for(tiny_model: Tiny) -> None:
    made = text_learner(
        tiny_model("llama"), "rule", "budget.updates=30", "text.every=30", "text.pairs=16",
        "text.prompts=['Go.']", "algorithm.episodes=32", "algorithm.kl=0.0", "text.prior=5.0",
    )  # fmt: skip
    scores = metrics(train(made), "reward_model_score")
    assert np.mean(scores[-4:]) > np.mean(scores[:4]) + 0.5


def test_it_waits_for_you(tiny_model: Tiny) -> None:
    made = text_learner(tiny_model("llama"), "you", "budget.updates=2")
    assert isinstance(made, AskingLearner) and isinstance(made, HeavyLearner)
    events = made.begin()
    assert made.waiting == 3 == len(pairs_of(events)) and not made.done
    assert any(isinstance(e, Note) and "You are the reward" in e.text for e in events)
    assert "guess" not in Pair.__struct_fields__  # nobody can peek
    given = made.prefer(0, "second") + made.score(1, (7.0, 4.0))
    assert isinstance(given[1], Preference)
    assert given[1].scores == (7.0, 4.0) and given[1].choice == "first"
    last = made.prefer(2, "skip")
    assert made.waiting == 0
    told = next(event for event in last if isinstance(event, Update))
    assert told.metrics["preferences"].mean == 2
    made.advance(2)
    assert made.run.clock == 2 and made.waiting == 3 and not made.done
    answer(made)
    assert made.done


def test_hacking_is_noticed_where_answers_turn(tiny_model: Tiny) -> None:
    made = text_learner(
        tiny_model("llama"), "you", "budget.updates=12", "text.every=12", "text.pairs=12",
        "text.prompts=['Go.']", "algorithm.episodes=32", "algorithm.kl=0.0",
    )  # fmt: skip
    made.begin()
    for pair in list(made.task.rounds.memory.pairs):  # at first the longer one is preferred
        longer = len(pair.texts[0].split()) >= len(pair.texts[1].split())
        made.prefer(pair.index, "first" if longer else "second")
    made.advance(12)
    assert made.task.climb[1] - made.task.climb[0] > 0.5
    events: list[AnyEvent] = []
    for place, pair in enumerate(list(made.task.rounds.memory.pairs)):  # then always the unexpected
        assert made.task.rounds.model is not None
        guess = made.task.rounds.model.chance(made.task.rounds.open[place])
        events += made.prefer(pair.index, "second" if guess > 0.5 else "first")
    notes = [event for event in events if isinstance(event, Note)]
    assert [note.term for note in notes] == ["over-optimisation"]
    assert "0 of 12" in notes[0].text or "0 of 11" in notes[0].text


# ---------------------------------------------------------------- features


def test_features_are_of_the_base_model_and_stay_what_they_are(tiny_model: Tiny) -> None:
    made = text_learner(tiny_model("llama"), "rule", "algorithm.learning_rate=0.05")
    written = write(
        made.task.policy,
        made.model.tokenizer,
        made.task.requests,
        4,
        torch.Generator().manual_seed(0),
    )
    before = describe(made.task.policy, written)
    train(made, 2)
    after = describe(made.task.policy, written)
    assert before is not None and after is not None
    np.testing.assert_allclose(before.features, after.features, atol=1e-5)
    torch.testing.assert_close(before.log_p_ref, after.log_p_ref, atol=1e-5, rtol=0)
    assert before.features.shape == (8, len(NAMES) + 64)
    # The long way: one text at a time, the whole model, hidden states as transformers gives them.
    one = written[5]
    ids = torch.tensor([[*one.prompt.tokens, *one.tokens[:-1]]])
    with torch.no_grad(), made.model.model.disable_adapter():
        out = made.model.model.get_base_model()(input_ids=ids, output_hidden_states=True)
    hidden = out.hidden_states[-1][0, len(one.prompt.tokens) - 1 :]
    np.testing.assert_allclose(
        before.features[5, len(NAMES) :], hidden.mean(0).double().numpy(), atol=1e-4
    )


def test_pairs_are_of_texts_that_differ() -> None:
    request = Request("q", "q", (1,))

    def written(*texts: str) -> list[Written]:
        return [Written(request, (1,), (0.0,), text, False) for text in texts]

    assert different_pairs(written("a", "a", "b", "c", "d", "d", "d", "d"), 4) == [(0, 2)]


# ---------------------------------------------------------------- cutting and resuming


@pytest.mark.parametrize("algorithm", ["rloo", "grpo", "dr-grpo", "reinforce", "gspo", "cispo"])
def test_micro_batches_change_no_result(tiny_model: Tiny, algorithm: str) -> None:
    how: dict[str, str] = {"algorithm": algorithm}
    how["more"] = "kl = 0.05" if algorithm == "reinforce" else "group_size = 8\nkl = 0.05"
    whole = text_learner(tiny_model("llama"), **how)
    cut = text_learner(tiny_model("llama"), "rule", "model.token_budget=64", **how)
    mine, theirs = train(whole, 1), train(cut, 1)
    for name in ("loss", "gradient_norm", "reference_kl", "reward_model_score"):
        assert metrics(mine, name) == pytest.approx(metrics(theirs, name), rel=1e-3, abs=1e-5)


def test_stopped_and_resumed_equals_never_stopped(tiny_model: Tiny) -> None:
    whole = text_learner(tiny_model("llama"))
    train(whole, 1)
    rest = train(whole, 3)
    first = text_learner(tiny_model("llama"))
    train(first, 1)
    saved = {name: value.copy() for name, value in first.state().items()}
    first.conclude()  # a run that stops has its last words, which shift nothing
    resumed = text_learner(tiny_model("llama"))
    resumed.load(saved)
    assert reproducible(train(resumed, 3)) == reproducible(rest)
    same_state(whole, resumed)


def test_resumed_in_the_middle_of_a_round(tiny_model: Tiny) -> None:
    def half(made: LlmLearner) -> None:
        made.begin()
        made.prefer(0, "tie")

    def rest(made: LlmLearner) -> list[Any]:
        events = made.prefer(1, "second") + made.prefer(2, "first")
        return reproducible(events + made.advance(2) + answer(made))

    whole = text_learner(tiny_model("llama"), "you")
    half(whole)
    first = text_learner(tiny_model("llama"), "you")
    half(first)
    resumed = text_learner(tiny_model("llama"), "you")
    resumed.load({name: value.copy() for name, value in first.state().items()})
    assert resumed.waiting == 2
    assert rest(resumed) == rest(whole)
    same_state(whole, resumed)


@pytest.mark.parametrize("asked", [0, 2])
def test_an_update_put_off_leaves_no_trace(tiny_model: Tiny, asked: int) -> None:
    more = ("model.token_budget=64", "algorithm.epochs=2")
    made = text_learner(tiny_model("llama"), "rule", *more)
    other = text_learner(tiny_model("llama"), "rule", *more)
    train(made, 1)
    train(other, 1)
    count = iter(range(1000))
    made.interrupted = lambda: next(count) >= asked
    assert made.advance(1) == [] and made.yielded and made.run.clock == 1
    same_state(made, other)
    made.interrupted = lambda: False
    assert reproducible(train(made, 2)) == reproducible(train(other, 2))
    same_state(made, other)


def test_the_newest_adapters_are_exported(tiny_model: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    made = text_learner(tiny_model("llama"))
    train(made, 1)
    made.export(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    for name, weight in adapters.adapter_weights(made.model.model).items():
        torch.testing.assert_close(saved[name], weight.detach())


# ---------------------------------------------------------------- presets


def test_no_maze_is_written_or_read(tiny_model: Tiny) -> None:
    made = text_preset(tiny_model("llama"))
    dumped = presets.dump(made)
    assert "[maze]" not in dumped and "[text]" in dumped
    assert presets.parse(dumped) == made
    assert "maze" not in presets.as_data(made)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["maze.size=6"], r"\[maze\] or \[text\], not both"),
        (["maze=1.5"], r"\[maze\] or \[text\], not both"),
        (["model.policy=action"], "model.policy is 'action'"),
        (["warmup.updates=2"], "warmup"),
        (["reward.prize=2.0"], "reward pays for routes"),
        (["budget.success_rate=0.9"], "free text has no success"),
        (["algorithm.credit=state"], "algorithm.credit"),
        (["text.rule=word", "text.word=two words"], "text.word is 'two words'"),
        (["text.prompts=[]"], "text.prompts"),
        (["algorithm.kl_reference=last_map"], "kl_reference"),
        (["algorithm.group_size=5"], "multiple"),
    ],
)
def test_settings_that_cannot_go_together(
    tiny_model: Tiny, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        text_preset(tiny_model("llama"), "rule", *overrides)


@pytest.mark.parametrize("algorithm", ["ppo", "mpo", "dapo"])
def test_algorithms_that_want_more_than_a_reward(tiny_model: Tiny, algorithm: str) -> None:
    with pytest.raises(UserError, match="does not train on preferences"):
        text_preset(tiny_model("llama"), algorithm=algorithm, more="")


def test_a_text_policy_needs_its_table(tiny_model: Tiny) -> None:
    table = text(tiny_model("llama")).split("[model]")[1]
    with pytest.raises(UserError, match=r"model.policy is 'text'"):
        presets.parse(f"title = 't'\n[maze]\nmap = '''\nSG\n'''\n[model]{table}")


def test_only_runs_that_ask_take_answers() -> None:
    """See `tests/engine/test_commands.py` for how commands are parsed."""
    from engine.runs import commands

    session = Session.__new__(Session)
    session.learner = object()  # type: ignore[assignment]
    with pytest.raises(UserError, match="asks nobody"):
        session._change(commands.parse("prefer", {"pair": 0, "choice": "first"}))
    for wrong in ({"pair": -1, "choice": "first"}, {"pair": 0, "choice": "both"}):
        with pytest.raises(UserError, match="pair: the pair's number"):
            commands.parse("prefer", wrong)
    with pytest.raises(UserError, match="two numbers from 0 to 10"):
        commands.parse("score", {"pair": 0, "scores": [11.0, 1.0]})
