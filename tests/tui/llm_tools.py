"""Recorded runs of tiny random language models, for the tests of the screens."""

from __future__ import annotations

import sys
from pathlib import Path

from trainer_tools import record

sys.path.append(str(Path(__file__).parents[1] / "engine" / "llm"))

ACTION = """
title = "Asked in every cell"
group = "llm"
[maze]
map = '''
SFFF
FHFH
FFFH
HFFG
'''
rewards = {{goal = 1.0, step = -0.01}}
max_steps = 20
[model]
name = "{model}"
quantization = "none"
{more}
[algorithm]
name = "grpo"
episodes = 24
group_size = 8
learning_rate = 0.01
[budget]
updates = 6
[run]
seed = 3
"""
PLAN = "policy = 'plan'\nmax_tokens = 10"


def tiny_model(folder: Path) -> Path:
    """A tiny random model in a folder of its own."""
    import torch
    from tiny_models import build

    torch.set_num_threads(1)
    return build("llama", folder / "tiny-llama")


def record_llm(folder: Path, model: Path, more: str = "", name: str = "llm") -> Path:
    """A finished run, carried out in this process; `more` goes into `[model]`."""
    return record(folder, ACTION.format(model=model, more=more), name)
