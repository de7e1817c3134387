"""Learners of free text on tiny models."""

from __future__ import annotations

from pathlib import Path

from engine import factory, presets
from engine.llm.learner import LlmLearner
from engine.llm.tasks.text.task import TextTask

PRESET = """
title = "tiny talk"
group = "llm"
[text]
prompts = ["Write about ice.", "Say a word."]
judge = "{judge}"
rule = "shorter"
pairs = 3
every = 2
[model]
name = "{folder}"
quantization = "none"
policy = "text"
max_tokens = 8
lora = {{rank = 4, alpha = 8.0}}
[algorithm]
name = "{algorithm}"
learning_rate = 0.01
episodes = 16
{more}
[budget]
updates = 4
[run]
seed = 3
"""
GROUPS = "group_size = 8\nkl = 0.01"


def text(folder: Path, judge: str = "rule", algorithm: str = "rloo", more: str = GROUPS) -> str:
    """A preset that has a tiny model write two sorts of text."""
    return PRESET.format(folder=folder, judge=judge, algorithm=algorithm, more=more)


def text_preset(
    folder: Path, judge: str = "rule", *overrides: str, algorithm: str = "rloo", more: str = GROUPS
) -> presets.LlmPreset:
    """The same, validated."""
    made = presets.parse(text(folder, judge, algorithm, more), overrides=list(overrides))
    assert isinstance(made, presets.LlmPreset)
    return made


def text_learner(folder: Path, judge: str = "rule", *overrides: str, **kwargs: str) -> LlmLearner:
    """A learner with its model loaded, before the first look."""
    made = factory.make_learner(text_preset(folder, judge, *overrides, **kwargs))
    made.prepare()
    assert isinstance(made, LlmLearner) and isinstance(made.task, TextTask)
    return made
