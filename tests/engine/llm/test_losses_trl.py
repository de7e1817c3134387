"""Our token losses next to TRL's own, on the same random completions."""

import collections
import types
from typing import Any

import pytest
import torch
from loss_tools import DAPO, EXACT, LONGEST, loss_of, tokens

from engine.config.llm import RolloutCorrection
from engine.llm.algorithms.losses import TokenBatch, metrics
from engine.llm.algorithms.rollout_correction import truncated_weights
from engine.llm.algorithms.surrogates import Clip


def trl_loss(
    algorithm: str, batch: TokenBatch, clip: Clip, kl: float
) -> tuple[torch.Tensor, dict[str, list[float]]]:
    """TRL's own loss function, called with a stand-in for its trainer: only tensors matter. And the
    metrics it logs."""
    mask = batch.mask.long()
    quiet = types.SimpleNamespace(
        num_processes=1,
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,
    )
    stand_in: Any = types.SimpleNamespace(
        args=types.SimpleNamespace(
            delta=None, use_bias_correction_kl=False, steps_per_generation=1
        ),
        accelerator=quiet,
        model=types.SimpleNamespace(training=True),
        loss_type="grpo" if algorithm == "gspo" else algorithm.replace("-", "_"),
        importance_sampling_level="sequence" if algorithm == "gspo" else "token",
        epsilon_low=clip.low,
        # For CISPO TRL's is the largest weight itself, and there is none below.
        epsilon_high=1 + clip.high if algorithm == "cispo" else clip.high,
        beta=kl,
        max_completion_length=LONGEST,
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=batch.correction is not None,
        vllm_importance_sampling_correction=True,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        _metrics=collections.defaultdict(
            lambda: collections.defaultdict(list)
        ),
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            torch.nan_to_num(batch.log_p), torch.zeros_like(batch.log_p), None,
        ),
    )  # fmt: skip
    inputs = {
        "prompt_ids": mask[:, :1],
        "prompt_mask": mask[:, :1],
        "completion_ids": mask,
        "completion_mask": mask,
        "advantages": batch.advantages,
        "old_per_token_logps": torch.nan_to_num(batch.log_p_old),
        "old_logps": torch.nan_to_num(batch.log_p_old).sum(1),
        "ref_per_token_logps": torch.nan_to_num(batch.log_p_ref),
        "num_items_in_batch": mask.sum(),
        "importance_sampling_ratio": batch.correction,
    }
    if algorithm == "rloo":
        from trl.trainer.rloo_trainer import RLOOTrainer as Trainer
    else:
        from trl.trainer.grpo_trainer import GRPOTrainer as Trainer
    loss: torch.Tensor = Trainer._compute_loss(stand_in, None, inputs)
    return loss, stand_in._metrics["train"]


CLIPS = {"rloo": Clip(0.1, 0.1), "gspo": Clip(0.03, 0.04), "cispo": Clip(1.0, 0.1)}
"""Those under which some of the terms are clipped and some are not; else DAPO's."""


@pytest.mark.parametrize("algorithm", ["grpo", "dr-grpo", "dapo", "rloo", "gspo", "cispo"])
def test_losses_equal_trls(algorithm: str) -> None:
    batch = tokens(algorithm, 11, gap=0.2)
    clip = CLIPS.get(algorithm, DAPO)
    kl = 0.0 if algorithm == "rloo" else 0.04  # TRL's RLOO has the KL in the reward
    theirs, logged = trl_loss(algorithm, batch, clip, kl)
    found = loss_of(algorithm, batch, clip, kl)
    ours = found.loss
    assert 0 < found.sums.clipped_low + found.sums.clipped_high < batch.mask.sum()
    torch.testing.assert_close(ours, theirs, **EXACT)
    told = metrics([found.sums])
    if algorithm in ("grpo", "dr-grpo", "dapo"):  # with one ratio an answer TRL counts answers
        for side in ("low", "high"):
            assert told[f"clip_binding_{side}"] == pytest.approx(
                logged[f"clip_ratio/{side}_mean"][0]
            )
        assert told["clip_binding"] == pytest.approx(logged["clip_ratio/region_mean"][0])
        assert told["clip_fraction"] > told["clip_binding"] > 0
    torch.testing.assert_close(
        torch.autograd.grad(ours, batch.log_p)[0],
        torch.autograd.grad(theirs, batch.log_p)[0],
        **EXACT,
    )


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("algorithm", ["grpo", "dr-grpo", "dapo", "gspo", "cispo"])
def test_rollout_correction_equals_trls(algorithm: str, level: RolloutCorrection) -> None:
    """Its trainer makes the weights where vLLM has sampled (`_generate_and_score_completions`, here
    line by line), and multiplies the loss of a token with them, but not the KL."""
    batch, cap = tokens(algorithm, 11, gap=0.2), 1.5
    noise = torch.randn(batch.mask.shape, generator=torch.manual_seed(0), dtype=torch.float64)
    sampled = torch.nan_to_num(batch.log_p_old) + 0.5 * noise
    away = (torch.nan_to_num(batch.log_p_old) - sampled) * batch.mask
    whole = away.sum(dim=-1, keepdim=True) if level == "sequence" else away
    theirs = torch.clamp(torch.exp(whole), min=None, max=cap)  # [B, T], or [B, 1]
    ours = truncated_weights(batch.log_p_old - sampled, batch.mask, level, cap)
    torch.testing.assert_close(ours[batch.mask], theirs.expand_as(away)[batch.mask], **EXACT)
    assert (ours < cap).any() and (ours == cap).any()
    clip = CLIPS.get(algorithm, DAPO)
    expected, _ = trl_loss(algorithm, batch._replace(correction=theirs), clip, 0.04)
    found = loss_of(algorithm, batch._replace(correction=ours.requires_grad_()), clip, 0.04).loss
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(
        torch.autograd.grad(found, batch.log_p, retain_graph=True)[0],
        torch.autograd.grad(expected, batch.log_p)[0],
        **EXACT,
    )
    assert torch.autograd.grad(found, ours, allow_unused=True) == (None,)  # no gradient through it
    assert found.item() != loss_of(algorithm, batch, clip, 0.04).loss.item()
