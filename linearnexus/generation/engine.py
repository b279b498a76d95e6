"""Prompts in, text out: a driver of the slot table, for one text or for many.

    state <- the prompt without its last token, read in chunks (prefill)
    again and again: logits, state <- model.step(token, state)    token <- sample(logits)

Nothing runs in Python per token, and few programs are compiled: a table of each width and cache length has one of its
own. Attention looks back over the last `context_length` tokens, what the model was trained with; recurrent layers are
not limited.

Look first at: `Generator.generate`, `Generator.run`, `Request`.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.module import named_leaves
from linearnexus.generation import slots
from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.slots import SlotState, Written
from linearnexus.generation.text import Best, Continuation, Generation, Tokens
from linearnexus.models.language_model import LanguageModel, ModelState
from linearnexus.ops.kv_cache import BLOCK
from linearnexus.tokenizers.tokenizer import Tokenizer

WIDTH = 32  # rows of a table at most; more texts wait for a free one
PACE = 0.05  # seconds that a decode call should take, so that text appears smoothly


@dataclass
class Request:
    """A text to be written after `ids`. state: holds the first `read` of them, and is used up."""

    text: Continuation
    ids: Sequence[int]
    sampling: SamplingConfig
    number: int = 0  # among the samples of a prompt
    best: int = 0  # most probable tokens to tell of each
    state: ModelState | None = None
    read: int = 0


class Generator:
    """Writes text with a model. `context_length`: the sequence length that the model was trained with."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, context_length: int) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise UserError(
                f"The tokenizer has {tokenizer.vocab_size} tokens and the model only {model.config.vocab_size}; "
                "use the tokenizer that the model was trained with."
            )
        self.model = model
        self.tokenizer = tokenizer
        self.context_length = context_length

    def generate(
        self,
        prompts: str | Sequence[str | list[int]],
        max_tokens: int = 200,
        sampling: SamplingConfig = DEFAULT,
        stop: str | Sequence[str] = (),
        samples: int = 1,
        on_text: Callable[[int, str], None] | None = None,
        best: int = 0,
    ) -> list[Generation]:
        """`samples` continuations of each prompt (text or ids): all of the first prompt, then all of the second.

        `stop`: texts that end a continuation. `on_text(number, piece)` gets the text as it is made; `number` is the
        place in the list returned. `best`: how many of the most probable tokens to tell at each place, at most 20. A
        text depends on its prompt, the sampling and its number among the samples, never on others. Raises UserError for
        a wrong argument, or a text longer than learned positions reach.
        """
        texts, pieces = self._begin(
            [prompts] if isinstance(prompts, str) else prompts, max_tokens, sampling, stop, samples, best
        )
        for number, piece in pieces:
            if on_text is not None:
                on_text(number, piece)
        return [text.generation() for text in texts]

    def stream(
        self,
        prompt: str,
        max_tokens: int = 200,
        sampling: SamplingConfig = DEFAULT,
        stop: str | Sequence[str] = (),
    ) -> Iterator[str]:
        """The text of `generate` in pieces, each as soon as it is sure: no half character, nothing of a stop string."""
        _, pieces = self._begin([prompt], max_tokens, sampling, stop, 1, 0)
        return (piece for _, piece in pieces)

    def run(self, requests: Sequence[Request], length: int) -> Iterator[tuple[int, str]]:
        """Writes all texts, in a table whose caches hold `length` tokens: (number of the request, piece of its text) as
        it is made."""
        width = min(len(requests), WIDTH)
        waiting, at = deque(enumerate(requests)), dict[int, int]()
        free: list[int] = []
        last: tuple[Sequence[int], ModelState] | None = None  # samples of a prompt share what was read of it

        def next_row(slot: int) -> SlotState:
            nonlocal last
            at[slot], request = waiting.popleft()
            if last is None or last[0] is not request.ids:
                last = request.ids, self._read(request, length)
            return self._row(request, last[1])

        rows = [next_row(slot) for slot in range(width)]
        table = rows[0] if width == 1 else slots.table_of(rows)
        steps = 4
        while at:
            while waiting and free:
                slot = free.pop()
                table = slots.admit(table, np.int32(slot), next_row(slot))
            most = max(requests[number].text.left for number in at.values())
            began = time.perf_counter()
            table, out = slots.decode(self.model, table, np.int32(min(steps, most)))
            written = slots.unpack(out, min(steps, most))
            seconds = time.perf_counter() - began
            for slot, number in sorted(at.items(), key=lambda item: item[1]):
                text = requests[number].text
                if piece := text.add(tokens(written, slot, requests[number].best)):
                    yield number, piece
                if text.finish_reason is not None:
                    del at[slot]
                    free.append(slot)
                    if text.stop and width > 1:  # of stop strings the table knows nothing: the row may still live
                        table = slots.release(table, np.int32(slot))
            steps = max(1, min(int(min(steps, most) * min(PACE / seconds, 8)), slots.DECODE))

    def encode(self, prompt: str | list[int]) -> list[int]:
        """The ids of a prompt; an empty one starts a new line. Raises UserError for text that has no ids."""
        if not isinstance(prompt, str):
            return prompt
        ids = []
        try:
            ids = self.tokenizer.encode(prompt or "\n")
        except UserError:
            if prompt:
                raise
        if not ids:
            raise UserError(
                "The prompt holds no token; give at least one word."
                if prompt
                else "The prompt is empty, and this model knows no new line to start from; give at least one character."
            )
        return ids

    def room(self, prompt: str, wish: int) -> int:
        """`wish` tokens, or as many as still fit behind the prompt where learned positions end before."""
        positions = self.model.config.learned_positions
        return min(wish, max(1, positions - len(self.encode(prompt)))) if positions else wish

    def slots(self, prompt: int, max_tokens: int) -> int:
        """Cache slots for that many tokens: a power of two, at most what the model looks back over.
        Raises UserError where learned positions end before the text does."""
        positions = self.model.config.learned_positions
        if positions and prompt + max_tokens > positions:
            room = positions - prompt
            advice = (
                f"ask for at most {room} tokens, or shorten the prompt"
                if room > 0
                else f"shorten the prompt to {positions - 1} tokens or fewer"
            )
            wish = f" and max_tokens is {max_tokens}" if max_tokens else ""
            raise UserError(
                f"The prompt has {prompt} tokens{wish}, but this model has {positions} learned positions; {advice}."
            )
        return self.cache_slots(prompt + max_tokens)

    def cache_slots(self, length: int) -> int:
        """Slots of a cache for so many tokens: a power of two, at most what the model looks back over."""
        most = self.model.config.learned_positions or self.context_length
        return min(max(BLOCK, 1 << max(length - 1, 0).bit_length()), most)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights, by their names."""
        total = hashlib.sha256()
        for name, array in named_leaves(self.model).items():
            total.update(f"{name} {array.dtype} {array.shape}\n".encode())
            total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return total.hexdigest()

    def _begin(
        self,
        prompts: Sequence[str | list[int]],
        max_tokens: int,
        sampling: SamplingConfig,
        stop: str | Sequence[str],
        samples: int,
        best: int,
    ) -> tuple[list[Continuation], Iterator[tuple[int, str]]]:
        """The texts, still empty, and what fills them when iterated: (text, piece of it) as it is made."""
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
        for name, value in (("max_tokens", max_tokens), ("samples", samples)):
            if value < 1:
                raise UserError(f"{name} is {value}; give 1 or more.")
        if not 0 <= best <= slots.BEST:
            raise UserError(f"best is {best}; give how many of the most probable tokens to tell, 0 to {slots.BEST}.")
        if "" in stop:
            raise UserError("A stop string is empty, which every text holds; give it at least one character.")
        if not prompts:
            raise UserError("There is no prompt; give at least one.")
        ids = [self.encode(prompt) for prompt in prompts]
        length = self.slots(max(map(len, ids)), max_tokens)
        texts = [prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt) for prompt in prompts]
        requests = [
            Request(Continuation(text, self.tokenizer, stop, max_tokens), prompt, sampling, number, best)
            for text, prompt in zip(texts, ids, strict=True)
            for number in range(samples)
        ]
        return [request.text for request in requests], self.run(requests, length)

    def _read(self, request: Request, length: int) -> ModelState:
        """The state after all ids of the prompt but the last, which the first step reads."""
        state = slots.fresh(self.model, 1, length) if request.state is None else request.state
        return slots.read(self.model, request.ids[request.read : -1], state, request.read)

    def _row(self, request: Request, state: ModelState) -> SlotState:
        end = self.tokenizer.end_token
        return slots.new_row(
            state,
            request.ids,
            request.sampling,
            self.tokenizer.vocab_size,
            request.text.max_tokens,
            () if end is None else (end,),
            request.number,
            request.best > 0,
        )


def tokens(written: Written, slot: int, best: int = 0) -> Tokens:
    """What a decode call wrote in a slot."""
    ids = written.tokens[:, slot].tolist()
    count = ids.index(-1) if -1 in ids else len(ids)
    logprobs, drawn = (values[:count, slot].tolist() for values in (written.logprobs, written.drawn_logprobs))
    most: list[Best] = []
    if best:
        pairs = (values[:count, slot, :best].tolist() for values in (written.best, written.best_logprobs))
        most = [tuple(pair for pair in zip(*both, strict=True) if pair[0] >= 0) for both in zip(*pairs, strict=True)]
    return Tokens(ids[:count], logprobs, drawn, most)
