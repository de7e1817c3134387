"""Adam on the adapters and the value head, and its state as plain arrays.

Two kinds: torch's, and bitsandbytes' with moments of 8 bits (Dettmers et al. 2022, "8-bit
optimizers via block-wise quantization", section 2), which on a GPU stand in pages that the driver
moves to main memory when it needs room. They take 2 bytes an adapter weight instead of 8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from engine.config.llm import OptimizerName
from engine.core.arrays import Array
from engine.core.errors import UserError

PARTS: dict[OptimizerName, tuple[str, ...]] = {
    "adam": ("exp_avg", "exp_avg_sq"),
    "adam-8bit": ("state1", "state2", "absmax1", "absmax2"),
}
"""What each keeps of a parameter besides its count of steps."""


class Optimizer:
    """Adam (Kingma and Ba 2015) on named parameters, with clipping of the gradient's norm."""

    def __init__(
        self, parameters: Mapping[str, torch.Tensor], name: OptimizerName = "adam"
    ) -> None:
        """Raises UserError for an optimizer that cannot run here."""
        self.parameters = dict(parameters)
        self.name = name
        self.adam = _adam(list(self.parameters.values()), name)

    def zero(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def step(self, rate: float, max_norm: float) -> float:
        """One step with the gathered gradients; gives their norm before clipping.

        Nothing is changed when the norm is not finite: the caller says so and goes on.
        """
        gathered = [p for p in self.parameters.values() if p.grad is not None]
        norm = float(torch.nn.utils.clip_grad_norm_(gathered, max_norm)) if gathered else 0.0
        if np.isfinite(norm):
            for group in self.adam.param_groups:
                group["lr"] = rate
            self.adam.step()
        self.zero()
        return norm

    def state(self, prefix: str) -> dict[str, Array]:
        """Weights and moments by name."""
        arrays: dict[str, Array] = {}
        for name, parameter in self.parameters.items():
            arrays[f"{prefix}.{name}"] = parameter.detach().cpu().numpy().copy()
            kept = self.adam.state.get(parameter, {})
            for part in ("step", *PARTS[self.name]):
                if part in kept:
                    value = torch.as_tensor(kept[part]).detach().cpu()
                    arrays[f"{prefix}.{name}.{part}"] = value.numpy().copy()
        return arrays

    def load(self, state: Mapping[str, Array], prefix: str) -> None:
        """The inverse of `state`. Raises KeyError or ValueError for another model's."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                value = torch.from_numpy(np.array(state[f"{prefix}.{name}"]))
                if value.shape != parameter.shape:
                    raise ValueError(f"{name} has another shape")
                parameter.copy_(value)
        for name, parameter in self.parameters.items():
            moments = self._moments(state, f"{prefix}.{name}", parameter)
            if moments:
                self.adam.state[parameter] = moments
            else:
                self.adam.state.pop(parameter, None)

    def _moments(
        self, state: Mapping[str, Array], key: str, parameter: torch.Tensor
    ) -> dict[str, Any]:
        if f"{key}.step" not in state:
            return {}
        step = torch.from_numpy(np.array(state[f"{key}.step"]))
        parts = {
            part: torch.from_numpy(np.array(state[f"{key}.{part}"])).to(parameter.device)
            for part in PARTS[self.name]
            if f"{key}.{part}" in state
        }
        if self.name == "adam":
            # Adam counts on the CPU; when it is fused, where it computes.
            fused = self.adam.param_groups[0]["fused"]
            return {"step": step.to(parameter.device) if fused else step, **parts}
        moments = dict(self.adam.state[parameter])
        if not moments:
            moments = self._empty_moments(parameter)
        for part, value in parts.items():
            moments[part].copy_(value)  # into the pages that it has made for them
        return {**moments, "step": int(step)}

    def _empty_moments(self, parameter: torch.Tensor) -> dict[str, Any]:
        """The state bitsandbytes begins with, its tables of 256 values included."""
        self.adam.state.pop(parameter, None)
        place = next(n for n, one in enumerate(self.parameters.values()) if one is parameter)
        group = self.adam.param_groups[0]
        self.adam.init_state(group, parameter, 0, place)
        made: dict[str, Any] = self.adam.state.pop(parameter)
        return made


class Optimizers:
    """Adam on the adapters of a model and, where there is one, on its value head."""

    def __init__(
        self,
        model: torch.nn.Module,
        value_head: torch.nn.Module | None,
        name: OptimizerName = "adam",
    ) -> None:
        """Raises UserError for an optimizer that cannot run here."""
        self.policy = Optimizer(_trainable(model), name)
        # The value head is one layer: nothing would be saved, and 8 bits need 4,096 weights.
        self.value = None if value_head is None else Optimizer(_trainable(value_head))

    def zero(self) -> None:
        """Forget the gradients."""
        for _, one in self._all():
            one.zero()

    def step(self, rate: float, max_norm: float, value_rate: float) -> float:
        """One step each; gives the norm of the policy's gradient before clipping."""
        norm = self.policy.step(rate, max_norm)
        if self.value is not None:
            self.value.step(value_rate, math.inf)
        return norm

    def state(self) -> dict[str, Array]:
        """Weights and moments by name."""
        arrays: dict[str, Array] = {}
        for prefix, one in self._all():
            arrays |= one.state(prefix)
        return arrays

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`. Raises KeyError or ValueError for another model's."""
        for prefix, one in self._all():
            one.load(state, prefix)

    def _all(self) -> Iterator[tuple[str, Optimizer]]:
        yield "policy", self.policy
        if self.value is not None:
            yield "value", self.value


def _adam(parameters: list[torch.Tensor], name: OptimizerName) -> Any:
    """On a GPU torch's is fused: one kernel for all adapters, which are hundreds of small tensors.
    On a CPU it stays as it is, for the fused one rounds otherwise."""
    if name == "adam":
        fused = True if all(p.device.type == "cuda" for p in parameters) else None
        return torch.optim.Adam(parameters, fused=fused)
    try:
        import bitsandbytes  # start-up time

        paged = parameters[0].device.type == "cuda"
        kinds: Any = bitsandbytes.optim
        kind = kinds.PagedAdam8bit if paged else kinds.Adam8bit
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"algorithm.optimizer: 'adam-8bit' needs bitsandbytes, which cannot be used ({error}); "
            "set it to 'adam', or see `icemaze doctor`."
        ) from error
    check_8bit(kind, parameters[0].device)
    return kind(parameters)


def check_8bit(kind: Any, device: torch.device) -> None:
    """Take one step with a small parameter there. Raises UserError when that fails."""
    tried = torch.zeros(4096, device=device, requires_grad=True)
    tried.grad = torch.ones_like(tried)
    try:
        kind([tried], lr=1.0).step()
    except Exception as error:  # whatever its kernels raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        if bool((tried < -0.5).all()):  # the first step of Adam is as long as its rate
            return
        why = "its first step is wrong"
    raise UserError(
        f"algorithm.optimizer: 'adam-8bit' cannot run on this {device.type.upper()} with this "
        f"bitsandbytes ({why}); set it to 'adam'."
    )


def _trainable(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
