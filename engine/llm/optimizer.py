"""Adam on the adapters, and its state as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from engine.config.algorithm import Schedule
from engine.core.arrays import Array


class Optimizer:
    """Adam (Kingma and Ba 2015) on named parameters, with clipping of the gradient's norm."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], rate: float) -> None:
        self.parameters = dict(parameters)
        self.adam = torch.optim.Adam(list(self.parameters.values()), lr=rate)

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
            for part, value in self.adam.state.get(parameter, {}).items():
                arrays[f"{prefix}.{name}.{part}"] = value.detach().cpu().numpy().copy()
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
    ) -> dict[str, torch.Tensor]:
        if f"{key}.step" not in state:
            return {}
        step = torch.from_numpy(np.array(state[f"{key}.step"]))  # Adam counts on the CPU
        parts = {
            part: torch.from_numpy(np.array(state[f"{key}.{part}"])).to(parameter.device)
            for part in ("exp_avg", "exp_avg_sq")
        }
        return {"step": step, **parts}


def scheduled(value: float | Schedule, update: int) -> float:
    """The value of a setting at an update count."""
    if not isinstance(value, Schedule):
        return float(value)
    part = min(1.0, update / value.steps)
    if value.shape == "exponential" and value.start > 0 and value.end > 0:
        return float(value.start * (value.end / value.start) ** part)
    return float(value.start + (value.end - value.start) * part)


def named(parameters: Sequence[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The trainable ones by name."""
    return {name: parameter for name, parameter in parameters if parameter.requires_grad}
