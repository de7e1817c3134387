"""A model's tokenizer, and what has to fit between it and the model.

A tokenizer and weights that do not belong together fail late, or not at all: a token beyond the
embedding is an index error in the middle of a pass, and a prompt longer than the model reads is
answered all the same. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.errors import UserError
from engine.llm.models.folder import read_config, read_json
from engine.llm.models.shape import text_part

TOGETHER = "Take model and tokenizer from one place, or choose another model."


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder. Raises UserError when there is none that can be used."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever the part does that it stumbles in
        raise UserError(
            f"{folder}/config.json: describes no model that can be loaded: {first_line(error)} "
            "Choose another model."
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise UserError(
            f"{folder}: the tokenizer cannot be loaded: {first_line(error)} {TOGETHER}"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def first_line(error: BaseException) -> str:
    """The first line of an error's message, as a sentence; with the second where that is only an
    announcement."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = lines or [type(error).__name__]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return said[:300].rstrip(".") + "."


# ---------------------------------------------------------------- the ends of an answer


def end_tokens(tokenizer: Any, named: Iterable[Any]) -> tuple[int, ...]:
    """Every token that ends a completion: all that the tokenizer, its chat template, and the
    `eos_token_id` of configurations (`named`) say."""
    found = [tokenizer.eos_token_id, _end_of_turn(tokenizer)]
    for ids in named:
        found += ids if isinstance(ids, list | tuple) else [ids]
    ends = [end for end in found if end is not None]
    if odd := [end for end in ends if not isinstance(end, int) or end < 0]:
        raise UserError(
            f"model.name: the model names {str(odd[0])[:40]!r} as the token that ends an answer "
            f"(eos_token_id), expected a token id. {TOGETHER}"
        )
    return tuple(sorted(set(ends)))


def named_ends(folder: Path) -> list[Any]:
    """The `eos_token_id` of a folder's configurations, as they stand there."""
    generation = folder / "generation_config.json"
    found = [read_config(folder), read_json(generation) if generation.exists() else {}]
    return [part.get("eos_token_id") for config in found for part in (config, text_part(config))]


def _end_of_turn(tokenizer: Any) -> int | None:
    """The special token a chat template puts behind an answer."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "zebra"}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        behind = tokenizer.encode(text.rpartition("zebra")[2], add_special_tokens=False)
    except Exception:  # a template that knows no answers: it is not asked for one either
        return None
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return next((token for token in behind if token in special), None)


# ---------------------------------------------------------------- what fits


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model can read: `vocabulary` rows of its embedding, so many `positions` in a row
    (None where it does not say)."""

    name: str
    vocabulary: int | None
    positions: int | None

    @classmethod
    def of(cls, name: str, config: dict[str, Any]) -> Limits:
        """By a `config.json`."""
        text = text_part(config)

        def number(*keys: str) -> int | None:
            found = next((text[key] for key in keys if text.get(key)), None)
            return found if isinstance(found, int) else None

        return cls(name, number("vocab_size"), number("max_position_embeddings", "n_positions"))

    def check(
        self,
        tokenizer: Any,
        prompts: Iterable[Sequence[int]],
        words: Iterable[int],
        max_tokens: int = 0,
    ) -> None:
        """Raise UserError unless the model can read all `prompts`, each with a token of `words`, or
        an answer of `max_tokens`, behind it."""
        used = set(words)
        longest = 0
        for prompt in prompts:
            used.update(prompt)
            longest = max(longest, len(prompt))
        self._check_tokens(tokenizer, used)
        if self.positions is not None and longest + max_tokens > self.positions:
            answer = f", and an answer up to model.max_tokens = {max_tokens}" if max_tokens else ""
            raise UserError(
                f"model.name: {self.name} reads at most {self.positions:,} tokens "
                f"(max_position_embeddings), but a prompt of this preset has {longest:,}{answer}; "
                f"choose {'fewer max_tokens, ' if max_tokens else ''}a smaller map or a shorter "
                "text, or another model."
            )

    def check_answers(
        self,
        tokenizer: Any,
        prompts: Iterable[Sequence[int]],
        words: Iterable[int],
        ends: Sequence[int],
        max_tokens: int,
    ) -> None:
        """Raise UserError unless the model can besides write answers of `words` that end."""
        if not ends:
            raise UserError(
                f"model.name: {self.name} has no token that ends an answer (eos_token), so what it "
                "writes would never end; name one in tokenizer_config.json, or choose another "
                "model."
            )
        self.check(tokenizer, prompts, {*words, *ends}, max_tokens)

    def _check_tokens(self, tokenizer: Any, tokens: Iterable[int]) -> None:
        largest = max(tokens, default=0)
        if self.vocabulary is not None and largest >= self.vocabulary:
            text = tokenizer.convert_ids_to_tokens(largest) if largest < len(tokenizer) else None
            meant = "" if text is None else f" ({str(text)[:60]!r})"
            raise UserError(
                f"model.name: the tokenizer or template of {self.name} uses token "
                f"{str(largest)[:20]}{meant}, but the model's embedding has {self.vocabulary:,} "
                f"rows: they do not belong together. {TOGETHER}"
            )
