"""The process that writes a preset's prompts with a model's tokenizer and chat template.

It answers the question on its standard input: nothing where they fit, else what is wrong.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

import msgspec
import numpy as np

from engine.core.errors import UserError
from engine.llm.evaluation.ask import Answer
from engine.llm.evaluation.fit import CPU_SECONDS, FitQuestion
from engine.llm.forward.prompts import cell_prompts, request_prompt, route_prompt
from engine.llm.models.architecture import check_architecture
from engine.llm.models.folder import read_config
from engine.llm.models.tokenizer import Limits, end_tokens, load_tokenizer, named_ends
from engine.llm.worlds import make_sets

MEMORY = 4 << 30
"""Bytes it may take: a template can write more than any machine holds."""
MAZES = 8
"""Mazes of a set that are looked at; the worker looks at all."""


def main() -> int:
    """Answer the question on stdin on stdout, where nothing else may write."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _bound()
    # With torch, transformers takes three times as long to import; tokenizers need none.
    sys.modules["torch"] = None  # type: ignore[assignment]
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=FitQuestion)
    problem = ""
    try:
        check(question)
    except UserError as error:
        problem = str(error)
    channel.write(msgspec.json.encode(Answer(error=problem)))
    channel.close()
    return 0


def _bound() -> None:
    """Time and memory end, whatever a template does."""
    for kind, most, last in (
        (resource.RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 5),
        (resource.RLIMIT_AS, MEMORY, MEMORY),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with contextlib.suppress(OSError, ValueError):  # systems that do not bound it
            resource.setrlimit(kind, (most, last))


def check(question: FitQuestion) -> None:
    """Raise UserError unless the model can read its prompts, and say what it is to say."""
    folder, model = Path(question.folder), question.model
    tokenizer = load_tokenizer(folder)
    check_architecture(folder)
    limits = Limits.of(model.name, read_config(folder))
    if question.texts:
        prompts = [request_prompt(text, tokenizer)[1] for text in question.texts]
        words: set[int] = set()
    else:
        sets = make_sets(question.maze, question.gamma)
        mazes = [
            (maze, mdp)
            for split in sets
            if split is not None
            for maze, mdp in list(zip(split.mazes, split.mdps, strict=True))[:MAZES]
        ]
        if model.policy == "action":
            cells = cell_prompts(mazes, tokenizer, model.observation_text)
            limits.check(tokenizer, cells.tokens, cells.action_tokens)
            return
        asked = [
            route_prompt(maze, mdp, tokenizer, int(start), model.observation_text)
            for maze, mdp in mazes
            for start in np.flatnonzero(mdp.start)
        ]
        prompts = [prompt.tokens for prompt in asked]
        words = {token for prompt in asked for word in prompt.word_tokens for token in word}
    ends = end_tokens(tokenizer, named_ends(folder))
    limits.check_answers(tokenizer, prompts, words, ends, model.max_tokens)


if __name__ == "__main__":
    sys.exit(main())
