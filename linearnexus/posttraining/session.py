"""A conversation with a model, as an object: it can be forked, undone, saved, and loaded by another process.

Its history is written in the tokenizer's chat template, within the model's context. Every turn has a snapshot of the
model's state, so a new question reads only what is new; a fork is a reference to a turn, and undoing is its parent.
Whatever is undone, forked or loaded: the answer has the bits of a fresh conversation with the same turns.

Look first at: `Session.say`, `Session.save`, `Turn`.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jax
import jax.numpy as jnp
import numpy as np

from linearnexus.core.config import from_json, to_json
from linearnexus.core.errors import UserError
from linearnexus.core.module import named_leaves
from linearnexus.core.renames import forward
from linearnexus.core.tensor_file import TensorFile, write_arrays
from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.engine import Generator, Request
from linearnexus.generation.snapshots import Snapshot, resume, state_shapes
from linearnexus.generation.text import Continuation
from linearnexus.posttraining.templates import Message, check_contents, encode, segments, stop_text, template_of

FORMAT = "linearnexus session 1"
KEPT = 8  # turns of a conversation whose snapshots are kept; an older one is read again when it is needed


@dataclass
class Turn:
    """A question and its answer. history: all messages that the model still sees. attempt: which answer this is to the
    same question."""

    parent: "Turn | None"
    history: tuple[Message, ...]
    snapshot: Snapshot | None
    attempt: int = 0


class Session:
    """on_message: hears of turns that are dropped. run: the folder of the model, for a saved session to name."""

    def __init__(
        self,
        generator: Generator,
        system: str | None = None,
        sampling: SamplingConfig = DEFAULT,
        max_tokens: int = 200,
        on_message: Callable[[str], None] = lambda sentence: None,
        run: str = "",
    ) -> None:
        if max_tokens < 1:
            raise UserError(f"max_tokens is {max_tokens}; give 1 or more.")
        self.generator, self.tokenizer = generator, generator.tokenizer
        self.template = template_of(self.tokenizer)
        stop = stop_text(self.template, self.tokenizer)
        self.stop = (stop,) if stop else ()
        self.system = (Message("system", system),) if system else ()
        check_contents(self.system, self.tokenizer)
        self.sampling, self.max_tokens, self.on_message, self.run = sampling, max_tokens, on_message, run
        self.context = generator.model.config.learned_positions or generator.context_length
        self.read = 0  # tokens that the last question had read
        self.turn: Turn | None = None

    @property
    def history(self) -> tuple[Message, ...]:
        return () if self.turn is None else self.turn.history

    @property
    def nbytes(self) -> int:
        """Bytes of all snapshots that this conversation holds; forks share them."""
        turns = self._turns()
        kept = {id(turn.snapshot): turn.snapshot.nbytes for turn in turns if turn.snapshot is not None}
        return sum(kept.values())

    def say(self, question: str) -> str:
        """The answer. Raises UserError as `ask` does."""
        return "".join(self.ask(question)).strip()

    def ask(self, question: str, attempt: int = 0) -> Iterator[str]:
        """The answer, piece by piece; what was written of it when the caller stops is the answer that is remembered.
        attempt: another number, another answer. Raises UserError for a question that the tokenizer does not know, or
        that is too long for learned positions."""
        asked = Message("user", question)
        check_contents([asked], self.tokenizer)
        history, ids = self._fitting((*self.history, asked))
        positions = self.generator.model.config.learned_positions
        room = min(self.max_tokens, positions - len(ids)) if positions else self.max_tokens
        if room < 1:
            raise UserError(
                f"The question has {len(ids)} tokens with the template, and this model has {positions} learned "
                "positions; shorten it."
            )
        return self._answer(history, ids, room, attempt)

    def retry(self) -> Iterator[str]:
        """Another answer to the last question, piece by piece, in place of the one before."""
        question, attempt = self._last("retry").history[-2].content, self._last("retry").attempt
        self.undo()
        return self.ask(question, attempt + 1)

    def undo(self) -> None:
        """Takes the last question and its answer back. Raises UserError where there is none."""
        self.turn = self._last("undo").parent

    def reset(self) -> None:
        """Forgets the conversation."""
        self.turn = None

    def fork(self) -> "Session":
        """Another session that begins with this one's turns; both then go their own way."""
        return copy.copy(self)

    def save(self, path: str | Path) -> None:
        """Writes the conversation, the settings and the newest snapshot to a file, whole or not at all. Raises
        UserError where the file cannot be written."""
        path = Path(path)
        snapshot = None if self.turn is None else self.turn.snapshot
        arrays = {} if snapshot is None else {n: np.asarray(a) for n, a in named_leaves(snapshot.state).items()}
        values = {
            "format": FORMAT,
            "run": self.run,
            **self._hashes(),
            "ids": [] if snapshot is None else list(snapshot.ids),
            "system": self.system[0].content if self.system else None,
            "sampling": to_json(self.sampling),
            "max_tokens": self.max_tokens,
            "turns": [{"history": turn.history, "attempt": turn.attempt} for turn in self._turns()],
        }
        arrays = {f"state.{name}": array for name, array in arrays.items()}
        arrays["session.json"] = np.frombuffer(json.dumps(values).encode(), np.uint8)
        arrays["sha256"] = np.frombuffer(_digest(arrays), np.uint8)
        temporary = path.with_name(f".{uuid4().hex}.tmp")
        try:
            write_arrays(temporary, arrays)
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"The session cannot be saved as {path} ({error.strerror}); give another path.") from error
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(
        cls, path: str | Path, generator: Generator, on_message: Callable[[str], None] = lambda sentence: None
    ) -> "Session":
        """The session that `save` wrote. Raises UserError for a file that is damaged, is not a session, or belongs to
        another model or tokenizer."""
        values, arrays = read_file(Path(path))
        session = cls(
            generator,
            values["system"],
            from_json(values["sampling"]),
            values["max_tokens"],
            on_message,
            values["run"],
        )
        for what, found in session._hashes().items():
            if values[what] != found:
                raise UserError(
                    f"{path} was saved with another {what.replace('_', ' ')}; load it with the run that it belongs to"
                    f"{': ' + values['run'] if values['run'] else ''}."
                )
        for turn in values["turns"]:
            history = tuple(Message(*message) for message in turn["history"])
            session.turn = Turn(session.turn, history, None, turn["attempt"])
        ids = tuple(values["ids"])
        if session.turn is not None and ids:
            session.turn.snapshot = Snapshot(ids, session._state(path, arrays, len(ids)))
        return session

    def _answer(self, history: tuple[Message, ...], ids: list[int], room: int, attempt: int) -> Iterator[str]:
        parent, said = self.turn, ""
        length = self.generator.slots(len(ids), room)
        known = next((turn.snapshot for turn in self._turns()[::-1] if turn.snapshot is not None), None)
        snapshot, state, read = resume(self.generator, known, ids, length)
        self.read = len(ids) - 1 - (len(known.ids) if known is not None and read >= len(known.ids) else 0)
        text = Continuation("", self.tokenizer, self.stop, room)
        request = Request(text, ids, self.sampling, attempt, state=state, read=read)
        try:
            for _, piece in self.generator.run([request], length):
                shown = piece if said else piece.lstrip()
                said += shown
                if shown:
                    yield shown
        finally:
            self.turn = Turn(parent, (*history, Message("assistant", said.strip())), snapshot, attempt)
            for turn in self._turns()[:-KEPT]:
                turn.snapshot = None

    def _fitting(self, history: tuple[Message, ...]) -> tuple[tuple[Message, ...], list[int]]:
        """The newest turns that leave a quarter of the context, or max_tokens, to the answer; and their ids."""
        limit = self.context - min(self.max_tokens, self.context // 4)
        dropped = 0
        while len(ids := self._ids(history)) > limit and len(history) > 1:
            history, dropped = history[2:], dropped + 1
        if dropped:
            what = "question and its answer are" if dropped == 1 else f"{dropped} questions and their answers are"
            self.on_message(
                f"The oldest {what} forgotten: this model looks back over {self.context:,} tokens at most. Say again "
                "what it should know, or begin anew with /reset."
            )
        return history, ids

    def _ids(self, history: tuple[Message, ...]) -> list[int]:
        """Cut at answers, as in training, where the template allows it."""
        messages = (*self.system, *history)
        parts = segments(messages, self.template, "".join(self.stop)) or []
        done, whole = "".join(text for text, _ in parts), self.template.text(messages, True)
        if not whole.startswith(done):
            return encode(self.tokenizer, whole)
        return [
            id_ for text in (*(text for text, _ in parts), whole[len(done) :]) for id_ in encode(self.tokenizer, text)
        ]

    def _turns(self) -> list[Turn]:
        """From the first to the last."""
        turns, turn = [], self.turn
        while turn is not None:
            turns.append(turn)
            turn = turn.parent
        return turns[::-1]

    def _last(self, verb: str) -> Turn:
        if self.turn is None:
            raise UserError(f"There is nothing to {verb}: the conversation has not begun.")
        return self.turn

    def _hashes(self) -> dict[str, str]:
        """Of what a state depends on."""
        shapes = named_leaves(state_shapes(self.generator.model, self.context))
        described = {name: [str(array.dtype), *array.shape] for name, array in shapes.items()}
        tokenizer = json.dumps(self.tokenizer.to_json(), sort_keys=True)
        return {
            "model": self.generator.digest,
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "shape_of_state": hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest(),
        }

    def _state(self, path: str | Path, arrays: dict[str, np.ndarray], length: int) -> Any:
        """The snapshot's state, every array of it checked."""
        like = state_shapes(self.generator.model, self.generator.cache_slots(length))
        for name, leaf in (expected := named_leaves(like)).items():
            array = arrays.get(name)
            if array is None or (array.shape, array.dtype) != (leaf.shape, leaf.dtype) or len(arrays) != len(expected):
                raise UserError(f"{path} is not a session of this model: {name} is missing or of another shape.")
        return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in expected])


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The values and the state of a saved session. Raises UserError, which names the file, where it is not whole."""
    file = TensorFile(path)
    arrays = {name: file.read(name) for name in file.places}
    told = arrays.pop("sha256", np.zeros(0, np.uint8)).tobytes()
    if "session.json" not in arrays:
        raise UserError(f"{path} is not a saved session; give a file that /save or `Session.save` wrote.")
    if told != _digest(arrays):
        raise UserError(f"{path} is damaged: its contents do not match its checksum. Restore it from a copy.")
    values = json.loads(arrays.pop("session.json").tobytes())
    if values.get("format") != FORMAT:
        raise UserError(f"{path} was saved by another version of LinearNexus; load it with that one.")
    return values, {name.removeprefix("state."): array for name, array in arrays.items()}


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    """SHA-256 of names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        total.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return total.digest()


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
