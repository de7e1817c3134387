"""What is said about an algorithm in words, on the map and by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.presets.algorithm_map import Entry


def place_words(entry: Entry) -> str:
    """Where an algorithm stands on the map, in a few words."""
    kind = {
        "planning": "plans with the known model",
        "prediction": "predicts",
        "value": "learns action values",
        "policy": "changes the policy itself",
    }[entry.family]
    learns_model = ", learns a model" if entry.model_based and entry.family == "value" else ""
    how = "" if entry.policy_type == "none" else f", {entry.policy_type}"
    what = "language models" if entry.kind == "llm" else "tables"
    return f"for {what}, {kind}{learns_model}{how}"


def policy_words(entry: Entry) -> str:
    """How it moves, and which policy it learns about."""
    return f"behaviour: {entry.behaviour_policy}; target: {entry.target_policy}"


def llm_words(entry: Entry) -> str:
    """What it has to do with language models: its relatives, and how well it suits them."""
    names = ", ".join(entry.relatives)
    if names and entry.kind == "llm":
        names = f"comes from {names} for tables"
    return ". ".join(filter(None, (names, entry.with_llms)))
