"""TRL's own trainers, watched by the callback: a few updates of a tiny random model on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs.reader import RunReader
from engine.trl import IceMazeCallback


def longer(completions: list[str], **more: Any) -> list[float | None]:
    return [None if not text else len(text) / 10 for text in completions]


def vowels(completions: list[str], **more: Any) -> list[float]:
    return [float(sum(text.count(letter) for letter in "aeiou")) for text in completions]


def trainer_of(name: str, model: Path, folder: Path, reward: Any, **more: Any) -> Any:
    import datasets
    import trl

    config = getattr(trl, f"{name}Config")(
        output_dir=str(folder / "out"), max_steps=2, per_device_train_batch_size=4,
        num_generations=2, max_completion_length=6, logging_steps=1, report_to=[], use_cpu=True,
        beta=0.05, reward_weights=[1.0, 0.5], save_strategy="no", bf16=False, disable_tqdm=True,
        **more,
    )  # fmt: skip
    data = datasets.Dataset.from_dict({"prompt": ["go left", "the maze"] * 4})
    return getattr(trl, f"{name}Trainer")(
        model=str(model), reward_funcs=reward, args=config, train_dataset=data
    )


@pytest.mark.parametrize("name", ["GRPO", "RLOO"])
def test_metrics_and_completions_of_a_real_trainer(
    name: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    trainer = trainer_of(name, tiny_model("llama"), tmp_path, [longer, vowels])
    callback = IceMazeCallback(trainer, name="mine", runs_dir=tmp_path / "runs")
    trainer.add_callback(callback)
    trainer.train()
    (path,) = [folder for folder in (tmp_path / "runs").iterdir() if folder.is_dir()]
    with RunReader(path) as reader:
        assert reader.state() == "finished" and reader.head().step == 2
        preset = reader.info().preset
        assert (preset.title, preset.budget.updates) == ("mine", 2)
        logged = {entry["step"]: entry for entry in trainer.state.log_history if "reward" in entry}
        curves = reader.curves()
        for ours, theirs in (("reward", "reward"), ("reference_kl", "kl"), ("loss", "loss")):
            told = [logged[1][theirs], logged[2][theirs]]
            assert curves[ours].mean.tolist() == pytest.approx(told, abs=1e-12)
        groups = [reader.group(row.id) for row in reader.groups()]
    assert [(group.step, group.index, group.size) for group in groups] == [
        (1, 0, 2), (1, 1, 2), (2, 0, 2), (2, 1, 2),
    ]  # fmt: skip
    for number in (1, 2):
        members = [m for group in groups if group.step == number for m in group.members]
        mean = sum(member.total for member in members) / 4
        assert mean == pytest.approx(logged[number]["reward"], abs=1e-5)
        for member in members:
            judged = longer([member.text])[0] or 0.0, vowels([member.text])[0]
            assert member.parts.get("longer", 0.0) == pytest.approx(judged[0])
            assert member.total == pytest.approx(judged[0] + 0.5 * judged[1])
    by_group = [[member.advantage for member in group.members] for group in groups]
    assert all(abs(sum(pair)) < 1e-4 for pair in by_group) or name == "RLOO"


class Fails:
    """A trainer whose table is not as expected."""

    _logs = {"completion": ["a"], "prompt": ["b"]}  # noqa: RUF012


class State:
    is_world_process_zero, max_steps, global_step = True, 5, 1


def test_a_strange_trainer_and_a_full_disk_never_disturb_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, state = Fails(), State()
    callback = IceMazeCallback(trainer, runs_dir=tmp_path)
    callback.on_train_begin(object(), state, None)
    path = callback.run_dir
    assert path is not None
    trainer._logs = {"completion": ["new"], "prompt": ["b"]}
    callback.on_step_end(object(), state, None)
    callback.on_log(object(), state, None, {"reward": 0.5, "words": "none", "flag": True})
    with RunReader(path) as reader:
        (note,) = reader.notes()
        assert "there are curves only" in note.text
        assert reader.curves()["reward"].mean.tolist() == [0.5]
    monkeypatch.setattr("engine.runs.store.RunWriter.commit", lambda self: 1 / 0)
    callback.on_log(object(), state, None, {"reward": 0.6})  # one warning, and no more recording
    assert callback.run_dir is None
    callback.on_log(object(), state, None, {"reward": 0.7})
    callback.on_train_end(object(), state, None)
    with RunReader(path) as reader:
        assert reader.state() == "dead"
