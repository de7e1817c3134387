"""Terms that readers of the usual guides look up: they are found, and told by runs exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from moments import LAKE, moment
from test_glossary_llm import PLAN, RUNS, empty, training

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.settings import MazeSettings, Rewards
from engine.exact.evaluate import evaluate, horizon_optimum
from engine.exact.solve import solve
from engine.learning.events import Policy
from tui.glossary.entries import load
from tui.glossary.values.post_training import VALUES
from tui.model.snapshot import Snapshot

ASKED_FOR = {
    "action space": "action-space",
    "stochastic policy": "stochastic-policy",
    "deterministic policy": "stochastic-policy",
    "reward function": "reward-function",
    "finite horizon": "finite-horizon",
    "infinite horizon": "finite-horizon",
    "objective": "objective",
    "J(π)": "objective",
    "policy optimization": "policy-optimization",
    "trust region": "trust-region",
    "reward-to-go": "return-to-go",
    "generalized policy iteration": "generalized-policy-iteration",
    "bandit": "bandit",
    "DQN": "dqn",
    "target network": "target-network",
    "verifier": "verifier",
    "verifiable reward": "verifiable-reward",
    "process reward": "process-reward",
    "outcome reward": "process-reward",
    "post-training": "post-training",
    "chain of thought": "chain-of-thought",
    "pass@k": "pass-at-k",
    "DPO": "dpo",
    "GSPO": "gspo",
    "CISPO": "cispo",
    "k1": "kl-estimator",
    "k2": "kl-estimator",
    "k3": "k3-estimator",
    "k1/k2/k3": "kl-estimator",
    "template collapse": "template-collapse",
}


@pytest.mark.parametrize("term", ASKED_FOR)
def test_a_term_of_the_usual_guides_is_found(term: str) -> None:
    assert load().find(term).slug == ASKED_FOR[term]
    assert load().find(term.lower()).slug == ASKED_FOR[term]


def test_what_is_not_done_here_is_said() -> None:
    for slug in ("dpo", "trust-region", "chain-of-thought", "post-training", "action-space"):
        said_so = load().get(slug).meaning
        assert "Ice Maze" in said_so and {"no", "not", "none"} & set(said_so.split()), slug


def test_the_value_of_the_start_is_no_bound_where_steps_cost() -> None:
    """What the entry of V* says: what is cut off costs no more; nor does it bring a prize."""
    costly, paying = Rewards(step=-1.0, goal=0.0), Rewards()
    for rewards in (costly, paying):
        mdp = build_mdp(Maze(rows=("S...G",), rewards=rewards, max_steps=2))
        best = float(mdp.start @ solve(mdp, 1.0).values)
        anything = np.full((mdp.n_observations, mdp.n_actions), 0.25)
        got = float(evaluate(mdp, anything, 1.0).expected_return)
        assert best == (-4.0 if rewards is costly else 1.0)
        assert (got > best) == (rewards is costly)
        assert got <= horizon_optimum(mdp, 1.0) + 1e-12
        assert horizon_optimum(mdp, 1.0) == (-2.0 if rewards is costly else 0.0)


def test_a_state_is_a_cell_and_the_keys_held() -> None:
    """The formula of the entry, on a map with two keys."""
    mdp = build_mdp(Maze(rows=("Sk", "kG")))
    assert mdp.n_states == 4 * 2**2
    for state in range(mdp.n_states):
        keys, cell = int(mdp.held[state]), int(mdp.cell[state])
        row, column = cell // 2 + 1, cell % 2 + 1
        assert state == keys * 4 + (row - 1) * 2 + column - 1


# ---------------------------------------------------------------- values


def said(slug: str, run: Snapshot) -> str:
    return VALUES[slug](run) or ""


def test_every_term_has_a_value_in_one_line() -> None:
    runs = [training(*overrides) for overrides in RUNS.values()]
    for slug in VALUES:
        texts = [said(slug, run) for run in (*runs, *map(empty, runs))]
        assert any(texts), slug
        assert all(text == text.strip() and "\n" not in text for text in texts), slug


def test_a_table_has_none_of_it() -> None:
    table = moment(Maze(rows=LAKE))
    assert [slug for slug, value in VALUES.items() if value(table) is not None] == []


def test_values_say_what_the_run_says() -> None:
    cells, routes = training(), training(*PLAN, kind="sampled")
    assert said("post-training", cells) == (
        "SFT for the first 5 updates of this run; then GRPO on computed rewards"
    )
    assert said("verifier", routes) == "the maze: the route is walked"
    assert said("process-reward", routes) == "outcome: one for each route"
    assert said("process-reward", cells) == "the maze pays move by move"
    assert said("chain-of-thought", routes).endswith("only move words may be written")
    assert said("chain-of-thought", training(*PLAN, 'model.words="any"')).endswith("read over")
    assert said("dpo", cells) == "not in this run: it has no preferences"


def test_pass_at_k_is_told_of_one_prompt_only() -> None:
    many = training()
    assert said("pass-at-k", many) == (
        "pass@1 = 0.75, a mean over starts, which does not tell pass@k"
    )
    alone = msgspec.structs.replace(many.preset, maze=MazeSettings(map="SF\nFG"))
    assert said("pass-at-k", replace(many, preset=alone)) == (
        f"pass@1 = 0.75, pass@16 = {1 - 0.25**16:.4g}"
    )


def information(chances: Any) -> str:
    run = training()
    table = np.zeros((run.mdp.n_observations, run.mdp.n_actions))
    table[:] = chances(np.arange(run.mdp.n_observations))
    policy = Policy(
        world_id=0, step=0, target=table, behaviour=table, q=None, values=table[:, 0],
        visits=np.zeros_like(table, np.int64),
    )  # fmt: skip
    return said("template-collapse", replace(run, policy=policy))


def test_the_information_of_a_move_about_its_cell() -> None:
    """0 where all cells have the same chances; all there is where each has its own move."""
    same = information(lambda o: np.tile([0.7, 0.1, 0.1, 0.1], (o.size, 1)))
    assert same == f"between cell and move 0, of at most {np.log(4):.4g}"
    halves = information(lambda o: np.eye(4)[o % 2])
    assert halves != same
    reached = np.flatnonzero(training().optimum.reachable)
    share = (reached % 2).mean()
    expected = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert halves == f"between cell and move {expected:.4g}, of at most {np.log(4):.4g}"
