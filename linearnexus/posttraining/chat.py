"""A conversation with a model: its history, in the tokenizer's chat template, within the model's context.

Look first at: `Chat.ask`.
"""

from collections.abc import Callable, Iterator

from linearnexus.core.errors import UserError
from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.generation.session import Session
from linearnexus.posttraining.templates import Message, check_contents, encode, segments, stop_text, template_of


class Chat:
    """`on_message` hears of turns that are dropped."""

    def __init__(
        self,
        generator: Generator,
        system: str | None = None,
        sampling: SamplingConfig = DEFAULT,
        max_tokens: int = 200,
        on_message: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        if max_tokens < 1:
            raise UserError(f"max_tokens is {max_tokens}; give 1 or more.")
        self.tokenizer = generator.tokenizer
        self.template = template_of(self.tokenizer)
        stop = stop_text(self.template, self.tokenizer)
        self.stop = (stop,) if stop else ()
        self.system = (Message("system", system),) if system else ()
        check_contents(self.system, self.tokenizer)
        self.history: tuple[Message, ...] = ()
        self.sampling, self.max_tokens, self.on_message = sampling, max_tokens, on_message
        self.session = Session(generator)
        self.context = generator.model.config.learned_positions or generator.context_length

    def reset(self) -> None:
        self.history = ()

    def ask(self, question: str) -> Iterator[str]:
        """The answer, piece by piece; what was written of it when the caller stops is the answer that is remembered.
        Raises UserError for a question that the tokenizer does not know, or too long for learned positions."""
        asked = Message("user", question)
        check_contents([asked], self.tokenizer)
        history, ids = self._fitting((*self.history, asked))
        positions = self.session.generator.model.config.learned_positions
        room = min(self.max_tokens, positions - len(ids)) if positions else self.max_tokens
        if room < 1:
            raise UserError(
                f"The question has {len(ids)} tokens with the template, and this model has {positions} learned "
                "positions; shorten it."
            )
        return self._answer(history, self.session.stream(ids, room, self.sampling, self.stop))

    def _answer(self, history: tuple[Message, ...], pieces: Iterator[str]) -> Iterator[str]:
        said = ""
        try:
            for piece in pieces:
                shown = piece if said else piece.lstrip()
                said += shown
                if shown:
                    yield shown
        finally:
            self.history = (*history, Message("assistant", said.strip()))

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
