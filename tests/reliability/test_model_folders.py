"""Model folders from anywhere: trained, or refused in one sentence before a run is made."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
from pathlib import Path

import pytest
from long_form import count
from model_folders import ALL, BEYOND, TEMPLATE, WRONG, preset, question, spoil_at_random, template

import engine.llm.evaluation.fit as fit
from engine import factory
from engine.core.errors import UserError
from engine.llm.evaluation import fit_process
from engine.llm.models.folder import check_folder
from engine.runs import launch

pytestmark = [pytest.mark.slow, pytest.mark.llm]

SHORT_LIFE = """
import sys
from engine.llm.evaluation import fit_process
fit_process.CPU_SECONDS = 4
sys.exit(fit_process.main())
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_models

    return tiny_models.build("llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    (tmp_path / "evil.py").write_text("raise SystemExit('it was run')")
    copy = shutil.copytree(tiny, tmp_path / "model")
    shutil.copy(tmp_path / "evil.py", copy / "evil.py")
    return copy


def look(folder: Path, policy: str) -> None:
    """What is looked at before a run is made, here instead of in a process of its own."""
    asked = question(folder, policy)
    check_folder(folder)
    fit_process.check(asked)


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_belong_together_is_one_sentence(folder: Path, what: str) -> None:
    spoil, policies, said = WRONG[what]
    for policy in ALL:
        look(folder, policy)
    spoil(folder)
    for policy in policies:
        with pytest.raises(UserError) as refused:
            look(folder, policy)
        told = str(refused.value)
        assert said in told and "\n" not in told and told.endswith(".")
    for policy in set(ALL) - set(policies):
        look(folder, policy)


def test_before_a_run_is_made(folder: Path, tmp_path: Path) -> None:
    made = preset(folder, "route")
    fit.check_fit(made, folder)
    BEYOND(folder)
    with pytest.raises(UserError, match=r"uses token 329"):
        launch.create_run(made, "tiny", runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_template_that_never_ends_is_ended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "PROGRAM", ("-P", "-c", SHORT_LIFE))
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    template(loop + TEMPLATE)(folder)
    with pytest.raises(UserError, match="does not come to an end"):
        fit.check_fit(preset(folder, "action"), folder)


def test_what_is_only_unusual_is_trained(folder: Path) -> None:
    """An embedding larger than the vocabulary, a token nobody uses, no padding, Python beside."""
    import torch
    from model_folders import added_token, edit
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = "model.embed_tokens.weight"
    weights[name] = torch.cat([weights[name], torch.randn(40, 64)])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder, "config.json", vocab_size=369)
    edit(folder, "tokenizer_config.json", pad_token=None)
    added_token("<|unused|>")(folder)
    moved = folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(moved)
    for policy in ALL:
        look(folder, policy)
        _train(folder, policy)


def test_weights_that_are_no_numbers_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for policy in ALL:
        with pytest.raises(UserError, match="not finite"):
            _train(folder, policy)


def _train(folder: Path, policy: str) -> None:
    """An update, in this process."""
    made = factory.make_learner(preset(folder, policy))
    made.prepare()
    made.begin()
    made.advance(1)


# ---------------------------------------------------------------- anything at all


def test_any_damage_is_a_sentence_or_nothing(tiny: Path, tmp_path: Path) -> None:
    """Files beside the weights; those that are taken for whole are loaded, some of them."""
    rng = random.Random(10)
    loads = count(2, 200)
    for n in range(count(60, 4000)):
        folder = shutil.copytree(tiny, tmp_path / str(n))
        done, policy = spoil_at_random(folder, rng), rng.choice(ALL)
        try:
            look(folder, policy)
        except UserError as refused:
            assert "\n" not in str(refused), (n, done)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the tokenizers' own language
                raise AssertionError((n, done)) from error
            with pytest.raises(UserError):  # in a process of its own it is a sentence as well
                fit.check_fit(preset(folder, policy), folder)
        else:
            if loads and "weights" not in done:
                loads -= 1
                with contextlib.suppress(UserError):
                    _train(folder, policy)
        shutil.rmtree(folder)
    assert "evil" not in sys.modules
