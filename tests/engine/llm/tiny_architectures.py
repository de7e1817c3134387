"""A tiny configuration of every causal language model that the installed transformers knows.

`tiny_config` takes the class's own defaults and makes small whatever of `SMALL` it has; where that
is not enough, `OVERRIDES` says what else. `NOT_TINY` names the few that cannot be made so, and why.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 64
ALL: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

Settings = dict[str, Any]


def _all(value: Any, names: str) -> Settings:
    return dict.fromkeys(names.split(), value)


SMALL: Settings = {
    **_all(VOCABULARY, "vocab_size vocab_size_per_layer_input"),
    **_all(
        32,
        "hidden_size n_embd d_model embed_dim dim word_embed_proj_dim embedding_size emb_dim "
        "model_dim attention_hidden_size",
    ),
    **_all(
        64,
        "intermediate_size n_inner ffn_dim d_ff decoder_ffn_dim encoder_ffn_dim ffn_hidden_size "
        "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size dff "
        "moe_shared_expert_intermediate_size expert_ffn_hidden_size intermediate_size_mlp "
        "mamba_d_ssm",
    ),
    **_all(
        2,
        "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers "
        "num_decoder_layers",
    ),
    **_all(
        4,
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads "
        "encoder_attention_heads num_local_experts num_experts n_routed_experts moe_num_experts "
        "mamba_d_conv rotary_dim adapter_rank",
    ),
    **_all(
        2,
        "num_key_value_heads num_kv_heads num_experts_per_tok moe_k moe_top_k num_selected_experts "
        "linear_num_key_heads linear_num_value_heads attn_layer_period expert_layer_period "
        "n_mamba_heads mamba_expand index_n_heads",
    ),
    **_all(
        8,
        "head_dim dim_head attention_head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim "
        "state_size ssm_state_size mamba_d_state linear_key_head_dim linear_value_head_dim "
        "mamba_n_heads mamba_d_head mamba_num_heads mamba_head_dim index_head_dim sliding_window "
        "hidden_size_per_layer_input",
    ),
    **_all(16, "q_lora_rank kv_lora_rank chunk_size mamba_chunk_size"),
    **_all(
        1,
        "n_group topk_group first_k_dense_replace mamba_n_groups n_groups n_shared_experts "
        "attn_layer_offset expert_layer_offset num_mem_blocks full_attn_mod bos_token_id",
    ),
    **_all(
        256, "max_position_embeddings n_positions max_seq_len max_sequence_length n_ctx index_topk"
    ),
    **_all(0.1, "initializer_range init_std"),
    **_all(0, "pad_token_id moe_layer_start_index"),
    "eos_token_id": 2,
    "is_decoder": True,
}
"""By the names that configurations have for them: width 32, two layers, four heads of 8, four
experts, windows of 8 tokens."""

TWO_KINDS = {"layer_types": ["linear_attention", "full_attention"]}
CONVOLUTION = {"layer_types": ["conv", "full_attention"]}
ONE_HEAD_EACH = {"num_key_value_heads": 4}
OVERRIDES: dict[str, Settings] = {
    **dict.fromkeys(
        (
            "axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite",
            "glm_moe_dsa", "longcat_flash", "minicpm3", "sarvam_mla", "youtu",
        ),
        ONE_HEAD_EACH,
    ),
    **dict.fromkeys(
        ("granitemoehybrid", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"), TWO_KINDS
    ),
    **dict.fromkeys(("bailing_hybrid", "kimi_linear"), TWO_KINDS | ONE_HEAD_EACH),
    **dict.fromkeys(("lfm2", "lfm2_moe", "lfm3"), CONVOLUTION),
    "bamba": {"attn_layer_indices": [1]},
    "gemma3n_text": {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "longcat_flash": ONE_HEAD_EACH | {"head_dim": 8},
    "mamba2": {"num_heads": 8},
    "moshi": {"sliding_window": 256},  # it keeps to a smaller one in its cache only
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {"axial_pos_embds": False},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip

PARTS = "sees or hears besides: several models in one, of which the text model is tried, if at all"
OWN_NUMBERS = "its sizes depend on each other in ways of their own"
NOT_TINY: dict[str, str] = {
    **_all(
        PARTS,
        "dots3_note emu3 fuyu gemma3 gemma3n gemma4 gemma4_assistant gemma4_unified "
        "gemma4_unified_assistant git got_ocr2 llama4 mllama moss_transcribe_diarize musicgen "
        "musicgen_melody phi4_multimodal qwen3_5 qwen3_5_moe qwen4_exp",
    ),
    **_all(
        OWN_NUMBERS,
        "blt cohere_compass_text dbrx dory dots3_note_text gemma4_text gemma4_unified_text "
        "inkling2_loop_text inkling2_text inkling_text qwen4_exp_text xlstm zamba",
    ),
    "kimi_linear": "its layers take seconds a pass without their kernels for GPUs",
}
"""Why there is no tiny model of some."""


def tiny_config(kind: str) -> Any:
    """A configuration of about 50,000 weights."""
    made: Any = CONFIG_MAPPING[kind]
    default = made()
    names = {field.name for field in dataclasses.fields(made)}
    left_out = {
        name for name in ("sliding_window", "q_lora_rank") if getattr(default, name, 0) is None
    }
    settings = {k: v for k, v in SMALL.items() if k in names - left_out}
    if "qk_rope_head_dim" in names:
        settings.pop("head_dim", None)
    return made(**settings | OVERRIDES.get(kind, {}))


def tiny_base(kind: str, seed: int = 0) -> Any:
    """A random model, in evaluation mode, none of whose weights are all zero."""
    named: Any = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = named._from_config(tiny_config(kind), dtype=torch.float32)
        with torch.no_grad():
            for weight in base.parameters():
                if not weight.isfinite().all() or not weight.any():
                    weight.normal_(0, 0.1)
                elif weight.dim() == 1:
                    weight.add_(0.1 * torch.randn_like(weight))
    return base.eval()
