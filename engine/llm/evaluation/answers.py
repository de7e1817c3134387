"""What saved adapters do in any maze: the answers of the process that has the model.

Shapes: `W` worlds, `O` observations, `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.llm.evaluation.ask import Answer, Question, Sampled
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.completion_policy import CompletionPolicy, move_words
from engine.llm.forward.prompts import cell_prompts, deciding_states, route_prompt
from engine.llm.forward.sampling import end_tokens
from engine.llm.models import adapters, loading
from engine.llm.models.loading import Loaded
from engine.llm.models.memory_use import is_out_of_memory
from engine.llm.models.tokenizer import first_line
from engine.llm.tasks.cells.policy_table import at_observations
from engine.llm.tasks.routes.figures import MOST_MAZES, figures_of
from engine.llm.tasks.routes.writer import RouteWriter
from engine.llm.tasks.streams import stream
from engine.llm.worlds import WorldSet

TEMPERATURE = 1.0
"""Temperature of the target policy, whatever the run sampled with."""
ROUTES = 64
"""Completions that are sampled for each maze."""
STREAM = 4
"""What the random numbers are for, see `engine.llm.tasks.routes.task`."""


def reply(question: Question, progress: Callable[[str], None]) -> Answer:
    """Load base and adapters, and ask them about every maze. Raises UserError."""
    model = question.model
    lora = loading.LoraSettings(model.lora.rank, model.lora.alpha, model.lora.dropout)
    progress(f"Loading {model.name} ({model.quantization}), which takes some seconds.")
    try:
        loaded = loading.load_model(model.name, model.quantization, model.device, lora)
        adapters.load_adapter(loaded, question.adapter)
        return _answer(loaded, question, progress)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        # Often a run trains on the same GPU.
        raise UserError(
            f"The GPU's free memory does not hold {model.name} ({model.quantization}) for an "
            "evaluation. Wait until nothing else uses the GPU (`nvidia-smi`), or put "
            f"CUDA_VISIBLE_DEVICES= before the command to ask it on the CPU. ({first_line(error)})"
        ) from error


def _answer(loaded: Loaded, question: Question, progress: Callable[[str], None]) -> Answer:
    mazes = [maze for split in question.splits for maze in split]
    progress(f"Asking it about {'a maze' if len(mazes) == 1 else f'{len(mazes)} mazes'}.")
    if question.want == "routes":
        return Answer(sampled=routes(loaded, question))
    if question.model.policy == "route":
        return Answer(policies=first_moves(loaded, question, mazes).tolist())
    return Answer(policies=tables(loaded, question, mazes).tolist())


def tables(loaded: Loaded, question: Question, mazes: Sequence[Maze]) -> Array:
    """π [W, O, A] of a loaded model as its adapters are."""
    model = question.model
    mdps = build_mdps(mazes)
    prompts = cell_prompts(
        list(zip(mazes, mdps, strict=True)), loaded.tokenizer, model.observation_text
    )
    loaded.limits.check(loaded.tokenizer, prompts.tokens, prompts.action_tokens)
    budget = model.tokens_at_once(loaded.device.type)
    policy = CellPolicy(loaded.model, temperature=TEMPERATURE, token_budget=budget)
    asked = torch.softmax(policy.table(prompts).logits.double().cpu(), -1).numpy()
    return at_observations(prompts.row, asked, 1.0 / mdps[0].n_actions)


def first_moves(loaded: Loaded, question: Question, mazes: Sequence[Maze]) -> Array:
    """[W, O, A] how likely each move is to be the first of a route from each cell, computed from
    the words' probabilities; what begins otherwise, or ends at once, is left out."""
    model, ends = question.model, end_tokens(loaded.model, loaded.tokenizer)
    mdps = build_mdps(mazes)
    n_actions = mdps[0].n_actions
    table: Array = np.full((len(mazes), mdps[0].n_observations, n_actions), 1.0 / n_actions)
    for w, (maze, mdp) in enumerate(zip(mazes, mdps, strict=True)):
        states = deciding_states(mdp)
        asked = [
            route_prompt(maze, mdp, loaded.tokenizer, int(state), model.observation_text)
            for state in states
        ]
        policy = CompletionPolicy(
            loaded.model,
            loaded.tokenizer,
            temperature=TEMPERATURE,
            words=move_words(asked[0], ends) if model.words == "moves" else None,
            token_budget=model.tokens_at_once(loaded.device.type),
        )
        prompts = [prompt.tokens for prompt in asked for _ in range(n_actions)]
        loaded.limits.check(loaded.tokenizer, prompts, ends)
        words = [word for prompt in asked for word in prompt.word_tokens]
        log_p = policy.log_probs(prompts, words).double().sum(-1).reshape(-1, n_actions)
        table[w, mdp.observation[states]] = log_p.softmax(-1).numpy()
    return table


def routes(loaded: Loaded, question: Question) -> list[Sampled]:
    """Figures of `ROUTES` routes a maze, sampled at temperature 1 with the run's seed."""
    model, ends = question.model, end_tokens(loaded.model, loaded.tokenizer)
    found = []
    for n, mazes in enumerate(question.splits):
        split = WorldSet("train", 0, tuple(mazes), tuple(build_mdps(mazes)), question.gamma)
        told = model.observation_text
        writer = RouteWriter(split, loaded.tokenizer, question.reward, ends, told)
        writer.check(loaded.limits, model.max_tokens)
        words = move_words(writer.prompt(*writer.all_asks([0])[0]), ends)
        policy = CompletionPolicy(
            loaded.model,
            loaded.tokenizer,
            temperature=TEMPERATURE,
            max_tokens=model.max_tokens,
            words=words if model.words == "moves" else None,
        )
        numbers = stream(question.seed, 0, STREAM, n)
        count = ROUTES * min(len(mazes), MOST_MAZES)
        figures, stderr = figures_of(writer, policy, count, numbers)
        found.append(Sampled({name: of.tolist() for name, of in figures.items()}, stderr))
    return found
