"""Tiny models with adapters that matter, and the yardsticks of the policies' tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tiny_models import build
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.mdp import MDP

MAPS = (("SFFF", "FHFH", "FFFH", "HFFG"), ("SFFF", "FHFF", "FFHF", "FHFG"))


@cache
def tiny(architecture: str, attention: str = "sdpa") -> tuple[Any, Any]:
    """A tiny model with LoRA on all linear layers, none of it zero, and its tokenizer."""
    folder = build(architecture, Path(mkdtemp(prefix="tiny-")))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    )
    return with_adapter(base), tokenizer


def with_adapter(base: Any, layers: str | list[str] = "all-linear", seed: int = 0) -> Any:
    """LoRA of rank 4 whose B matrices are random too: a fresh adapter would change nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(
            base, LoraConfig(r=4, lora_alpha=8, target_modules=layers, task_type="CAUSAL_LM")
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def worlds(*maps: Sequence[str], slip: float = 0.0) -> list[tuple[Maze, MDP]]:
    """The given maps, or all of `MAPS`, as worlds."""
    mazes = [Maze(rows=tuple(rows), slip=slip) for rows in maps or MAPS]
    return [(maze, build_mdp(maze)) for maze in mazes]


def gradients(model: Any, loss: Tensor) -> Tensor:
    """The gradient of every adapter parameter, flattened."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, parameters)
    return torch.cat([grad.flatten() for grad in grads])


def relative(difference: Tensor, size: Tensor) -> float:
    return float(difference.norm() / size.norm())


def clipped(log_probs: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    """−Σ min(ρA, clip(ρ, 0.8, 1.2)A): Schulman et al. 2017, equation 7."""
    ratio = (log_probs - old).exp()
    return -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).sum()


def naive_next(model: Any, tokens: Sequence[int]) -> Tensor:
    """[T, V] log-probabilities of what follows each token, by the whole model, one sequence."""
    logits = model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def adapters(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


@cache
def recurrent() -> tuple[Any, Any]:
    """A tiny Mamba, which has no attention at all, and its tokenizer."""
    from tiny_models import build_tokenizer
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = MambaForCausalLM(
            MambaConfig(
                vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=4,
                initializer_range=0.5,
            )
        )  # fmt: skip
    return with_adapter(base, ["in_proj", "x_proj"]), tokenizer
