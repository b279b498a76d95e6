"""From ids to text, as they are made: no half character, nothing of a stop string.

Look first at: `Continuation`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from linearnexus.tokenizers.tokenizer import Tokenizer

Best = tuple[tuple[int, float], ...]  # the most probable tokens and the model's log-probabilities


class Tokens(NamedTuple):
    """Tokens that were generated, one after another. Log-probabilities are natural logarithms."""

    ids: list[int]
    logprobs: list[float]  # the model's, given all before it; before penalties, temperature and filters
    drawn_logprobs: list[float]  # of the distribution that it was drawn from; 0 at temperature 0
    best: list[Best]  # empty, unless they were asked for


@dataclass(frozen=True)
class Generation:
    prompt: str
    text: str  # what follows the prompt, cut before the stop string
    tokens: tuple[int, ...]  # all that were generated, those of the stop string and the end token too
    finish_reason: str  # "length": max_tokens were generated; "stop": a stop string, or the tokenizer's end token
    logprobs: tuple[float, ...] = ()  # the model's of each token; see `Tokens`
    drawn_logprobs: tuple[float, ...] = ()
    best: tuple[Best, ...] = ()


class Continuation:
    """One text: tokens come in, text comes out as soon as it is sure."""

    def __init__(self, prompt: str, tokenizer: Tokenizer, stop: tuple[str, ...], max_tokens: int) -> None:
        self.prompt, self.stop, self.max_tokens = prompt, stop, max_tokens
        self.tokens = Tokens([], [], [], [])
        self.pieces: list[str] = []
        self.finish_reason: str | None = None
        self._stream, self._end = tokenizer.stream(), tokenizer.end_token
        self._held = ""  # text that may turn out to begin a stop string

    @property
    def left(self) -> int:
        """Tokens that may still come."""
        return 0 if self.finish_reason else self.max_tokens - len(self.tokens.ids)

    def add(self, tokens: Tokens) -> str:
        """The text that these tokens make sure; tokens after the end are ignored."""
        begin = len(self.pieces)
        taken = 0
        for token in tokens.ids:
            if self.finish_reason is not None:
                break
            taken += 1
            end = token == self._end  # the document is over; this token is not text
            last = end or len(self.tokens.ids) + taken == self.max_tokens
            self._held += ("" if end else self._stream.add(token)) + (self._stream.finish() if last else "")
            stops = [place for text in self.stop if (place := self._held.find(text)) >= 0] if self.stop else ()
            if stops:
                self.finish_reason, sure = "stop", min(stops)
            elif last:
                self.finish_reason, sure = "stop" if end else "length", len(self._held)
            else:  # all but the longest end that may begin a stop string
                begun = (n for text in self.stop for n in range(1, len(text)) if self._held.endswith(text[:n]))
                sure = len(self._held) - max(begun, default=0)
            self.pieces.append(self._held[:sure])
            self._held = self._held[sure:]
        self.tokens.ids.extend(tokens.ids[:taken])
        self.tokens.logprobs.extend(tokens.logprobs[:taken])
        self.tokens.drawn_logprobs.extend(tokens.drawn_logprobs[:taken])
        self.tokens.best.extend(tokens.best[:taken])
        return "".join(self.pieces[begin:])

    def generation(self) -> Generation:
        written = self.tokens
        return Generation(
            self.prompt,
            "".join(self.pieces),
            tuple(written.ids),
            self.finish_reason or "length",
            tuple(written.logprobs),
            tuple(written.drawn_logprobs),
            tuple(written.best),
        )
