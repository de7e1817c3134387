"""Tiny random language models in local folders: every architecture, loaded in a second.

They are what a user's own folder would be: `config.json`, `model.safetensors`, a byte-level BPE
tokenizer with a chat template, and a `generation_config.json` with sampling defaults that training
has to override. They know nothing; what is tested on them is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")
"""Names `build` knows, besides `MIXTURE`."""
MIXTURE = "qwen3_moe"
"""Four experts a layer, all in one tensor."""

WORDS = (" left", " down", " right", " up")
"""Single tokens of the tokenizer, in the order of the actions; so are the ten digits."""

SLIDING_WINDOW = 8
"""Tokens that a sliding-window layer of the tiny Gemma 3 sees: fewer than any prompt has."""

END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = (
    "the maze the ice the prize a hole the start row column",
    "I move left down right up left down right up left down right up",
    "go left go down go right go up go left go down go right go up",
    "user assistant system map goal wall",
)


def build(
    architecture: str, folder: Path, seed: int = 0, shape: dict[str, Any] | None = None
) -> Path:
    """Write a tiny random model of one of `ARCHITECTURES` into `folder` and return the folder.

    Two or three layers, width 64, four heads of 16, about 350 tokens, or what `shape` says instead
    in the words of `config.json`; the same seed gives the same weights.
    """
    import torch

    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(architecture, len(tokenizer), shape or {})
        _shake(model)
    model.generation_config = _sampling_defaults(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def made_once(new_folder: Callable[[str], Path]) -> Callable[[str], Path]:
    """A function from an architecture to the folder of its model, made when first asked for."""
    return cache(lambda architecture: build(architecture, new_folder(architecture)))


def build_tokenizer() -> Any:
    """A byte-level BPE tokenizer of about 350 tokens in the manner of SmolLM's: ChatML, digits one
    by one, `WORDS` whole, end-of-sequence `<|im_end|>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, additional_special_tokens=[START]
    )
    fast.chat_template = CHAT_TEMPLATE
    for text in (*WORDS, *"0123456789"):
        if len(fast.encode(text, add_special_tokens=False)) != 1:
            raise AssertionError(f"{text!r} is not one token of the tiny tokenizer")
    return fast


def _model(architecture: str, vocabulary: int, other: dict[str, Any]) -> Any:
    """A randomly initialised causal language model."""
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "initializer_range": 0.1,  # ten times the usual: predictions that are far from uniform
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        **other,
    }
    if architecture == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    if architecture == "qwen2":  # biases on queries, keys and values, and a head of its own
        shape |= {"tie_word_embeddings": False}
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape))
    if architecture == "qwen3":  # norms on queries and keys
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape))
    if architecture == MIXTURE:
        shape |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
        return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**shape))
    if architecture == "gemma3":
        shape |= {
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "sliding_window": SLIDING_WINDOW,
            "query_pre_attn_scalar": 16,
            "pad_token_id": 0,
        }
        return transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**shape))
    raise ValueError(f"{architecture!r} is not one of {', '.join(ARCHITECTURES)}")


def _shake(model: Any) -> None:
    """Give norms and biases, which start as ones and zeros, values that would be missed."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def _sampling_defaults(tokenizer: Any) -> Any:
    """Defaults as instruct models ship them: silently off-policy when they are not overridden."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_k=20,
        top_p=0.95,
        repetition_penalty=1.1,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
