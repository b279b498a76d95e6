"""Conversations as training batches: packed whole, nothing crossing over, and only answers counting in the loss.

Look first at: `open_conversations`, `ConversationSource`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch, Batches
from linearnexus.data.packing import PackedBatches
from linearnexus.data.settings import DataSettings
from linearnexus.data.source import DataSource, EvaluationPart
from linearnexus.data.token_array import TokenArray
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.conversations import Conversation, read
from linearnexus.posttraining.templates import Message, Template, encode, encode_conversation, stop_text, template_of
from linearnexus.tokenizers import load
from linearnexus.tokenizers.tokenizer import Tokenizer

NAMED = 8  # lines of examples that are named; of more, the number is told


@dataclass(frozen=True)
class Examples:
    """Conversations one behind the other: ids [n], where each begins, and which tokens count in the loss."""

    ids: np.ndarray
    starts: np.ndarray
    answers: np.ndarray  # float32, 1 for a token of an answer

    @classmethod
    def of(cls, encoded: Sequence[tuple[list[int], list[bool]]]) -> "Examples":
        lengths = np.array([len(ids) for ids, _ in encoded], np.int64)
        ids, answers = (np.concatenate([np.array(part) for part in column]) for column in zip(*encoded, strict=True))
        return cls(ids.astype(np.int32), np.cumsum(lengths) - lengths, answers.astype(np.float32))

    def packed(self, length: int, batch_size: int, seed: int) -> PackedBatches:
        tokens = TokenArray([len(self.ids)], lambda _: self.ids, [len(self.starts)], lambda _: self.starts)
        return PackedBatches(tokens, length, batch_size, seed, self.answers)


@dataclass(frozen=True)
class ConversationSource(DataSource):
    tokenizer: Tokenizer
    info: dict[str, Any]
    train: Examples
    validation: Examples
    question: tuple[Message, ...]  # what samples answer unless asked something else
    template: Template
    notes: tuple[str, ...]
    stop: tuple[str, ...]
    tokenizer_name: str = "the run's own"
    tokenizer_spec: None = None

    @property
    def train_tokens(self) -> int:
        return len(self.train.ids)

    @property
    def validation_tokens(self) -> int:
        return len(self.validation.ids)

    @property
    def first_token(self) -> int:
        return int(self.train.ids[0])

    def batches(self, settings: DataSettings) -> Batches:
        return self.train.packed(settings.sequence_length, settings.batch_size, settings.seed)

    def evaluation(self, settings: DataSettings) -> list[EvaluationPart]:
        packed = self.validation.packed(settings.sequence_length, settings.batch_size, 0)
        count = -(-packed.rows_per_epoch // packed.batch_size)
        return [EvaluationPart(1.0, _once(packed, min(count, settings.eval_batches or count)))]

    def prompt(self, text: str) -> list[int]:
        """The question of a sample, in the template; a new line stands for the first held-out one."""
        messages = self.question if text == "\n" else (Message("user", text),)
        return encode(self.tokenizer, self.template.text(messages, True))


def _once(packed: PackedBatches, count: int) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every row once; those that fill the last batch up count nothing."""
    for number in range(count):
        rows = np.arange(number * packed.batch_size, (number + 1) * packed.batch_size)
        batch = packed.rows(rows % packed.rows_per_epoch)
        assert batch.weights is not None
        yield batch, batch.weights * (rows < packed.rows_per_epoch)[:, None].astype(np.float32)


def open_conversations(config: SFTConfig, tokenizer_file: Path, sha256: str | None = None) -> ConversationSource:
    """The conversations of --data, some held out. Raises UserError where there is nothing to learn from, or the file is
    not the one that the run began with."""
    path = Path(config.data).expanduser()
    data, found = read(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise UserError(f"{path} has changed since the run began, so it cannot go on as it was; restore the file.")
    tokenizer = load(tokenizer_file)
    template = template_of(tokenizer)
    stop = stop_text(template, tokenizer)
    encoded, kept, notes = _fitting(config, path, found, template, tokenizer, stop)
    held = _held_out(kept, config.validation_fraction)
    if len(held) == len(kept):
        raise UserError(
            f"{path} has {len(kept)} example{'s' * (len(kept) > 1)} that can be used, all alike, too few to hold one "
            "out; give 2 different ones or more."
        )
    first = kept[held[0]]
    question = first.messages[: next(n for n, message in enumerate(first.messages) if message.role == "assistant")]
    asked = question[-1].content if question else ""
    notes.append(f"Samples answer line {first.line}, which is held out: {asked[-200:]!r}")
    apart = set(held)
    train = [part for number, part in enumerate(encoded) if number not in apart]
    validation = [encoded[number] for number in held]
    info = {"name": path.name, "examples": len(kept), "sha256": digest}
    return ConversationSource(
        tokenizer,
        info,
        Examples.of(train),
        Examples.of(validation),
        question,
        template,
        tuple(notes),
        (stop,) if stop else (),
    )


def _fitting(
    config: SFTConfig, path: Path, found: list[Conversation], template: Template, tokenizer: Tokenizer, stop: str
) -> tuple[list[tuple[list[int], list[bool]]], list[Conversation], list[str]]:
    """The encoded examples that fit a row, cut where asked, their conversations, and what became of the others."""
    encoded, kept, cut, dropped, room = [], [], [], [], config.sequence_length + 1
    for conversation in found:
        try:
            ids, answers = encode_conversation(conversation.messages, template, tokenizer, stop)
        except UserError as error:
            raise UserError(f"{path}, line {conversation.line}: {error}") from error
        if len(ids) > room:
            if config.too_long == "drop" or not any(answers[1:room]):
                dropped.append(conversation.line)
                continue
            cut.append(conversation.line)
        encoded.append((ids[:room], answers[:room]))
        kept.append(conversation)
    notes = [
        f"{len(lines):,} of {len(found):,} examples are longer than the {config.sequence_length:,} tokens of "
        f"--sequence-length and {what}: line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:NAMED]))}"
        + (", ..." if len(lines) > NAMED else ".")
        for lines, what in ((dropped, "were left out"), (cut, "were cut (--too-long drop leaves them out)"))
        if lines
    ]
    if not kept:
        raise UserError(f"No example of {path} fits; give a larger --sequence-length. {' '.join(notes)}")
    return encoded, kept, notes


def _held_out(kept: list[Conversation], share: float) -> list[int]:
    """The numbers of the examples to validate with, chosen by the hash of their text: equal ones stay together."""
    digests = [hashlib.sha256(repr(example.messages).encode("utf-8", "surrogatepass")).digest() for example in kept]
    order = sorted(range(len(kept)), key=digests.__getitem__)
    count = max(1, round(share * len(kept)))
    while count < len(kept) and digests[order[count]] == digests[order[count - 1]]:
        count += 1
    return order[:count]
