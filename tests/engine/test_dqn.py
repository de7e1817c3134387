"""DQN: its network and gradient against PyTorch, its memory, its target network, and a maze."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine import factory, presets
from engine.core.errors import UserError
from engine.learning.events import Evaluation, Note, Update
from engine.tabular.algorithms.approximation.vectors import matrix

pytestmark = pytest.mark.llm

LAKE = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\n'
MAZE = f"{LAKE}slip = 0.3\nmax_steps = 12\nrewards = {{hole = -1.0, step = -0.05}}"
EXACT = {"rtol": 0.0, "atol": 1e-12}
WEIGHTS = ("w1", "b1", "w2", "b2")
Net = dict[str, torch.Tensor]


def make(settings: str, budget: str = "env_steps = 400", agents: int = 1, maze: str = MAZE) -> Any:
    text = f'title = "t"\n[maze]\n{maze}\n[algorithm]\nname = "dqn"\ngamma = 0.9\n{settings}\n'
    text += f"[budget]\n{budget}\n[run]\nagents = {agents}\nseed = 3\n"
    return factory.make_learner(presets.parse(text))


def network(tables: Any, prefix: str = "") -> Net:
    """A copy of the watched agent's weights, or with `still_` those of its target network."""
    return {name: torch.tensor(getattr(tables, prefix + name)[0].copy()) for name in WEIGHTS}


def q_of(net: Net, x: torch.Tensor) -> torch.Tensor:
    """q̂ [B,A] of feature vectors [B,F], written down anew."""
    if not net["w1"].numel():
        return x @ net["w2"] + net["b2"]
    units = torch.relu(x @ net["w1"] + net["b1"]) * (2.0 / net["b1"].numel()) ** 0.5
    return units @ net["w2"] + net["b2"]


def targets(net: Net, still: Net, r: Any, x2: Any, ends: Any, double: bool) -> torch.Tensor:
    ahead = q_of(still, x2)
    best = q_of(net, x2).argmax(1) if double else ahead.argmax(1)
    return r + 0.9 * (1.0 - ends) * ahead[torch.arange(len(best)), best]


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("double", [False, True])
def test_each_batch_is_a_step_down_its_mean_squared_error(hidden: int, double: bool) -> None:
    settings = f"hidden = {hidden}\ntarget_every = 20\nreplay = {{size = 60, batch = 8}}\n"
    settings += f"double = {str(double).lower()}\nlearning_rate = 0.3\n"
    learner = make(settings + "exploration = {kind = 'epsilon-greedy', start = 0.5}")
    learner.begin()
    tables = learner.tables
    x = torch.tensor(matrix(tables.places[0], tables.worth[0], int(tables.places.max()) + 1))
    learner.advance(7)  # not yet enough for a batch
    assert learner.agents.updates[0] == 0 and not tables.w2.any()
    for count in range(7, 300):
        net, still = network(tables), network(tables, "still_")
        learner.advance(1)
        (step,) = learner.live(count).steps
        s, a, s2, ends = torch.tensor(tables.moves[0][tables.drawn[0]].astype(np.int64)).T
        r = torch.tensor(tables.rewards[0][tables.drawn[0]])
        for weights in net.values():
            weights.requires_grad_(True)
        estimate = q_of(net, x[s])[torch.arange(8), a]
        with torch.no_grad():
            y = targets(net, still, r, x[s2], ends.double(), double)
        np.testing.assert_allclose(
            step.values, q_of(net, x[[step.observation]])[0].detach(), **EXACT
        )
        (0.5 * (y - estimate) ** 2).mean().backward()
        for name in WEIGHTS:
            gradient = net[name].grad
            if hidden == 0 and name in ("b1", "b2", "w1"):
                continue  # a linear value has no use for them
            assert gradient is not None
            after = (net[name] - 0.3 * gradient).detach()
            np.testing.assert_allclose(getattr(tables, name)[0], after, **EXACT)
        end = 1.0 if step.terminated else 0.0
        following = x[[step.next_observation]]
        with torch.no_grad():
            y = targets(
                net, still, torch.tensor([step.reward], dtype=torch.float64), following, end, double
            )
        assert step.target == pytest.approx(y.item(), abs=1e-12)
        assert step.planned == 8
    policy = learner.live(299).policy
    np.testing.assert_allclose(policy.q, q_of(network(tables), x), atol=1e-6)
    assert np.abs(policy.q).max() > 0.1


def test_the_target_network_is_the_network_of_some_updates_ago() -> None:
    learner = make("target_every = 25\nreplay = {size = 100, batch = 4}")
    learner.begin()
    tables, copies = learner.tables, []
    held = network(tables)
    for _ in range(200):
        learner.advance(1)
        still = network(tables, "still_")
        if tables.learned[0] and tables.learned[0] % 25 == 0:
            held = network(tables)
            copies.append(int(tables.learned[0]))
        if tables.begun[0] and not copies:
            continue
        assert all((still[name] == held[name]).all() for name in WEIGHTS)
    assert copies == [25, 50, 75, 100, 125, 150, 175]
    assert any((network(tables)[name] != still[name]).any() for name in WEIGHTS)


def test_it_remembers_what_happened_and_all_values_begin_alike() -> None:
    learner = make("initial_value = 0.5\nreplay = {size = 50, batch = 4}")
    learner.begin()
    learner.advance(1)  # the hidden layer is drawn, nothing is learned yet
    assert learner.tables.w1.any()
    assert (learner.algorithm.values(learner.tables) == 0.5).all()
    learner.advance(399)
    steps = learner.live(0).steps[-50:]
    made = [(s.observation, s.action, s.next_observation, int(s.terminated)) for s in steps]
    assert sorted(map(tuple, learner.tables.moves[0].tolist())) == sorted(made)
    assert learner.agents.updates[0] == 400 - 3


def test_hidden_weights_are_drawn_from_each_agents_own_stream() -> None:
    learner = make("hidden = 64", agents=3)
    learner.begin()
    learner.advance(1)
    w1 = learner.tables.w1
    assert w1.mean() == pytest.approx(0.0, abs=0.1) and w1.std() == pytest.approx(1.0, abs=0.1)
    assert (w1[0] != w1[1]).all() and (w1[1] != w1[2]).all()


@pytest.mark.parametrize("settings", ["", "double = true", "hidden = 0\nlearning_rate = 0.5"])
def test_it_finds_the_best_way_through_the_lake(settings: str) -> None:
    settings += "\nexploration = {kind = 'epsilon-greedy', start = 1.0, end = 0.1, steps = 4000}"
    learner = make(settings, "env_steps = 8000", 4, f"{LAKE}max_steps = 100")
    events = learner.begin()
    while not learner.done:
        events += learner.advance(10**6)
    found = [event for event in events if isinstance(event, Evaluation)][-1]
    assert found.figures["expected_return"].low == pytest.approx(found.optimal_return)
    assert not [event for event in events if isinstance(event, Note)]


def test_values_that_diverge_are_noted_once_and_stay_numbers() -> None:
    """The weights are put where no honest update leads."""
    learner = make("target_every = 1\nhidden = 0", agents=2)
    learner.begin()
    learner.tables.w2[:] = 1e20
    events = learner.advance(200)
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.term == "deadly-triad" and "target_every" in note.remedy
    assert [e for e in events if isinstance(e, Update)][-1].metrics["largest_weight"].high > 1e19
    again = make("target_every = 1\nhidden = 0", agents=2)
    again.load(learner.state())  # a resumed run has said it
    assert not [event for event in again.advance(200) if isinstance(event, Note)]


def test_a_memory_beyond_all_measure_is_refused() -> None:
    with pytest.raises(UserError, match=r"replay\.size × run\.agents is 6,400,000"):
        make("replay = {size = 100_000}", agents=64)
