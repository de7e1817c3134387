"""A run of TRL, watched in Ice Maze: three lines in your own training script.

    from engine.trl import IceMazeCallback
    trainer = GRPOTrainer(…)
    trainer.add_callback(IceMazeCallback(trainer))

The callback writes an ordinary run folder beside those of Ice Maze. It never disturbs training:
what goes wrong with recording is one warning of the log. Tried with TRL 1.16 (GRPOTrainer and
RLOOTrainer) and transformers 5; it needs neither to be imported.

Metrics come from `on_log`, the public hook. Completions with rewards and advantages have none: they
are read from the trainer's `_logs`, from which TRL itself makes its table of completions
(`log_completions`). Where a trainer has no such table, curves and diagnosis are there all the same.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import UserError, shown
from engine.external.record import Described, End, ExternalRun
from engine.external.rollouts import Rollout

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    try:
        from transformers import TrainerCallback
    except ImportError:  # then nobody calls it either, but its file can be read and tested
        TrainerCallback = object

log = logging.getLogger("icemaze.trl")

TOLD = (
    "learning_rate",
    "beta",
    "num_generations",
    "num_iterations",
    "loss_type",
    "scale_rewards",
    "epsilon",
    "epsilon_high",
    "temperature",
    "max_completion_length",
    "max_grad_norm",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "importance_sampling_level",
    "use_vllm",
    "seed",
)
"""Settings of a trainer's `args` that are recorded, where it has them."""


class IceMazeCallback(TrainerCallback):
    """Records what a trainer of TRL does. Give it to `trainer.add_callback`.

    `name` is what the run is called (by default after the folder of `args.output_dir`), `runs_dir`
    where runs are kept (by default where Ice Maze keeps its own).
    """

    def __init__(
        self, trainer: Any, name: str | None = None, runs_dir: str | Path | None = None
    ) -> None:
        self._trainer, self._name = trainer, name
        self._runs_dir = None if runs_dir is None else Path(runs_dir)
        self._run: ExternalRun | None = None
        self._newest: object = None
        """The last completion that was seen: while it is the last, nothing new was written."""
        self._rollouts = True
        """Whether completions can be read from this trainer."""

    @property
    def run_dir(self) -> Path | None:
        """The folder of the run that is being recorded."""
        return None if self._run is None else self._run.run_dir

    # ------------------------------------------------------------ TrainerCallback's hooks

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the run's folder, on the main process only."""
        if not state.is_world_process_zero:
            return
        self._end("stopped")
        try:
            self._run = ExternalRun.create(self._described(args, state, kwargs), self._runs_dir)
        except (UserError, OSError) as error:
            log.warning("This run is not recorded for Ice Maze: %s", error)
            return
        self._run.watch_machine()
        self._newest = self._last()
        atexit.register(self._left)
        log.info("Ice Maze watches this run: icemaze watch %s", self._run.run_dir)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record completions that are new since the last step."""
        if self._run is not None and self._last() is not self._newest:
            self._newest = self._last()
            self._record(lambda run: self._take_rollouts(run, state.global_step))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What was written for an evaluation stands in the same table, and is passed over."""
        self._newest = self._last()

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record metrics."""
        values = {
            name: float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if self._run is not None and values:
            self._record(lambda run: _take_metrics(run, state.global_step, values))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The run is over."""
        self._end("finished")

    # ------------------------------------------------------------ recording

    def _record(self, say: Any) -> None:
        """Say something and commit it; a failure ends the recording, not the training."""
        run = self._run
        assert run is not None
        try:
            say(run)
            run.commit()
        except Exception as error:  # training must go on whatever there is in somebody's rewards
            log.warning("Ice Maze stops recording this run (%s: %s)", type(error).__name__, error)
            self._run = None
            run.close()

    def _end(self, status: End, error: str = "") -> None:
        run, self._run = self._run, None
        if run is not None:
            atexit.unregister(self._left)
            with contextlib.suppress(UserError):
                run.end(status, error)

    def _left(self) -> None:
        """The script ends without the trainer having said so: an exception, or Ctrl-C."""
        error = getattr(sys, "last_value", None)
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            self._end("stopped")
        else:
            self._end("failed", f"{type(error).__name__}: {shown(str(error), 500)}")

    def _described(self, args: Any, state: Any, kwargs: Mapping[str, Any]) -> Described:
        trainer = type(self._trainer).__name__
        settings = {name: getattr(args, name, None) for name in TOLD}
        config = getattr(kwargs.get("model"), "config", None)
        output = Path(str(getattr(args, "output_dir", "") or "trl"))
        return Described(
            name=self._name or output.name or "trl",
            trainer=f"TRL {_version()} {trainer}",
            algorithm=trainer.removesuffix("Trainer").lower() or "unknown",
            model=str(getattr(config, "_name_or_path", "") or "unknown"),
            updates=int(state.max_steps) if (state.max_steps or 0) > 0 else None,
            settings={
                name: value
                for name, value in settings.items()
                if isinstance(value, int | float | str)
            },
        )

    # ------------------------------------------------------------ completions

    def _table(self) -> Mapping[str, Any] | None:
        """The trainer's table of completions, if it has one."""
        table = getattr(self._trainer, "_logs", None)
        return table if isinstance(table, Mapping) and "completion" in table else None

    def _last(self) -> object:
        table = self._table()
        return table["completion"][-1] if table and table["completion"] else None

    def _take_rollouts(self, run: ExternalRun, step: int) -> None:
        table = self._table()
        if table is None or not self._rollouts:
            return
        try:
            told = _rollouts(self._trainer, table)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._rollouts = False
            run.note(
                "warning",
                "The completions of this trainer cannot be read "
                f"({type(error).__name__}: {shown(str(error))}): there are curves only.",
                "Ice Maze was tried with TRL 1.16.",
                step,
            )
            return
        run.rollouts(step, told)


def _take_metrics(run: ExternalRun, step: int, values: Mapping[str, float]) -> None:
    if tokens := values.get("num_tokens", 0.0):
        run.tokens = int(tokens) if math.isfinite(tokens) else 0
    run.metrics(step, values)


def _rollouts(trainer: Any, table: Mapping[str, Any]) -> list[Rollout]:
    """The newest completions. Groups stand one behind the other, `num_generations` each."""
    size = int(trainer.num_generations)
    parts = {str(name): list(column) for name, column in table["rewards"].items()}
    weights = [float(weight) for weight in trainer.reward_weights]
    columns = [list(table[name]) for name in ("prompt", "completion", "advantages")]
    return [
        Rollout(
            prompt=prompt,
            completion=completion,
            reward=_total([column[i] for column in parts.values()], weights),
            parts={name: _number(column[i]) for name, column in parts.items()},
            advantage=_number(advantage),
            group=i // size,
        )
        for i, (prompt, completion, advantage) in enumerate(zip(*columns, strict=True))
    ]


def _total(parts: list[Any], weights: list[float]) -> float | None:
    """Σ weight · reward over the functions that judged it; None where none did."""
    known = [w * float(r) for w, r in zip(weights, parts, strict=True) if _number(r) is not None]
    return sum(known) if known else None


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return None if math.isnan(number) else number


def _version() -> str:
    # to import it takes seconds, and whoever trains with it has done that
    return str(getattr(sys.modules.get("trl"), "__version__", ""))
