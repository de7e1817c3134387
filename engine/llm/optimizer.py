"""Adam on the adapters and the value head, and its state as plain arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from engine.core.arrays import Array


class Optimizer:
    """Adam (Kingma and Ba 2015) on named parameters, with clipping of the gradient's norm."""

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self.parameters = dict(parameters)
        self.adam = torch.optim.Adam(list(self.parameters.values()))

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


class Optimizers:
    """Adam on the adapters of a model and, where there is one, on its value head."""

    def __init__(self, model: torch.nn.Module, value_head: torch.nn.Module | None) -> None:
        self.policy = Optimizer(_trainable(model))
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


def _trainable(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
