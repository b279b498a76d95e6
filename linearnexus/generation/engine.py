"""Prompts in, text out: the prompt in a few large calls (prefill), then token after token in a compiled loop (decode).

    state <- model(prompt without its last token)
    again and again: logits, state <- model.step(token, state)    token <- sample(logits)

Nothing runs in Python per token, and few programs are compiled: prompts are padded to a bucket of 16, 32, 64, ...
tokens, caches to a bucket of slots, and the number of tokens of a decode call is no part of its program. Attention
looks back over the last `context_length` tokens, what the model was trained with; recurrent layers go on and on.

Look first at: `Generator.generate`, `decode`, `_Row`.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Int

from linearnexus.core.errors import UserError
from linearnexus.core.module import module
from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.sampling import Settings, sample, settings
from linearnexus.models.language_model import LanguageModel, ModelState
from linearnexus.tokenizers.tokenizer import Tokenizer

PREFILL = 512  # tokens of a prefill call at most: bounds its memory
BUCKET = 16  # the smallest one
DECODE = 64  # tokens of a decode call at most
PACE = 0.05  # seconds that a decode call should take, so that text appears smoothly


@dataclass(frozen=True)
class Generation:
    prompt: str
    text: str  # what follows the prompt, cut before the stop string
    tokens: tuple[int, ...]  # all that were generated, those of the stop string and the end token too
    finish_reason: str  # "length": max_tokens were generated; "stop": a stop string, or the tokenizer's end token


@module
class DecodeState:
    """What a decode call goes on from. The last token of a row is not in the state yet."""

    state: ModelState
    token: Array  # [B]
    number: Array  # [B] sample number
    index: Array  # [] tokens generated so far
    seen: Array | None  # [B, W] tokens that prompt and output hold; None: no repetition penalty


@partial(jax.jit, static_argnames=("batch", "slots"))
def fresh(model: LanguageModel, batch: int, slots: int) -> ModelState:
    """An empty state, each array in a buffer of its own, as donation wants."""
    return model.init_state(batch, slots)


@partial(jax.jit, donate_argnames="state")
def prefill(model: LanguageModel, ids: Int[Array, "B T"], valid: Bool[Array, "B T"], state: ModelState) -> ModelState:
    """The state after the valid tokens. The logits are not asked for, so XLA leaves them out."""
    after = model(ids, valid, state=state).state
    assert after is not None
    return after


@partial(jax.jit, static_argnames="samples")
def repeat(state: ModelState, samples: int) -> ModelState:
    """Each row `samples` times."""
    return jax.tree.map(lambda array: jnp.repeat(array, samples, axis=0), state)


@partial(jax.jit, static_argnames="vocab_size", donate_argnames="progress")
def decode(
    model: LanguageModel, progress: DecodeState, settings: Settings, steps: Int[Array, ""], vocab_size: int
) -> tuple[DecodeState, Int[Array, "DECODE B"]]:
    """`steps` more tokens a row: the first `steps` rows of the result. Only the first `vocab_size` ids are in use."""
    batch = progress.token.shape[0]

    def one(step: Int[Array, ""], carry: tuple[DecodeState, Array]) -> tuple[DecodeState, Array]:
        before, tokens = carry
        logits, state = model.step(before.token, before.state)
        token = sample(logits[:, :vocab_size], settings, before.number, before.index, before.seen)
        seen = None if before.seen is None else before.seen.at[jnp.arange(batch), token].set(True)
        return DecodeState(state, token, before.number, before.index + 1, seen), tokens.at[step].set(token)

    return lax.fori_loop(0, steps, one, (progress, jnp.zeros((DECODE, batch), jnp.int32)))


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
    ) -> list[Generation]:
        """`samples` continuations of each prompt (text or ids): all of the first prompt, then all of the second.

        `stop`: texts that end a continuation. `on_text(number, piece)` gets the text as it is made; `number` is the
        place in the list returned. A text depends on its prompt, the sampling and its number among the samples, never
        on others. Raises UserError for a wrong argument, or a text longer than learned positions reach.
        """
        rows, pieces = self._begin(
            [prompts] if isinstance(prompts, str) else prompts, max_tokens, sampling, stop, samples
        )
        for number, piece in pieces:
            if on_text is not None:
                on_text(number, piece)
        return [row.generation() for row in rows]

    def stream(
        self,
        prompt: str,
        max_tokens: int = 200,
        sampling: SamplingConfig = DEFAULT,
        stop: str | Sequence[str] = (),
    ) -> Iterator[str]:
        """The text of `generate` in pieces, each as soon as it is sure: no half character, nothing of a stop string."""
        _, pieces = self._begin([prompt], max_tokens, sampling, stop, 1)
        return (piece for _, piece in pieces)

    def stream_after(
        self,
        state: ModelState,
        ids: list[int],
        max_tokens: int,
        sampling: SamplingConfig = DEFAULT,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """The text that follows `ids`, all of which but the last are in the state. The state is used up."""
        row = _Row("", self.tokenizer, tuple(stop), max_tokens)
        chosen = settings(sampling)
        return (piece for _, piece in self._run([row], self._progress(state, [ids], chosen, 1), chosen, max_tokens))

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
        """Cache slots for that many tokens: a bucket, at most what the model looks back over.
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
        return min(_bucket(prompt + max_tokens), positions or self.context_length)

    def _begin(
        self,
        prompts: Sequence[str | list[int]],
        max_tokens: int,
        sampling: SamplingConfig,
        stop: str | Sequence[str],
        samples: int,
    ) -> tuple[list["_Row"], Iterator[tuple[int, str]]]:
        """The rows, still empty, and what fills them when iterated: (row, piece of text) as it is made."""
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
        for name, value in (("max_tokens", max_tokens), ("samples", samples)):
            if value < 1:
                raise UserError(f"{name} is {value}; give 1 or more.")
        if "" in stop:
            raise UserError("A stop string is empty, which every text holds; give it at least one character.")
        if not prompts:
            raise UserError("There is no prompt; give at least one.")
        ids = [self.encode(prompt) for prompt in prompts]
        slots = self.slots(max(map(len, ids)), max_tokens)
        texts = [prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt) for prompt in prompts]
        rows = [_Row(text, self.tokenizer, stop, max_tokens) for text in texts for _ in range(samples)]
        chosen = settings(sampling)

        def pieces() -> Iterator[tuple[int, str]]:
            yield from self._run(rows, self._prefill(ids, slots, chosen, samples), chosen, max_tokens)

        return rows, pieces()

    def _run(
        self, rows: list["_Row"], progress: DecodeState, settings: Settings, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        done, steps = 0, 4
        while done < max_tokens and any(row.finish_reason is None for row in rows):
            steps = min(steps, max_tokens - done)
            began = time.perf_counter()
            progress, tokens = decode(self.model, progress, settings, np.int32(steps), self.tokenizer.vocab_size)
            columns = np.asarray(tokens)[:steps].T.tolist()
            seconds = time.perf_counter() - began
            for number, row in enumerate(rows):
                if piece := row.add(columns[number]):
                    yield number, piece
            done += steps
            steps = min(2 * steps, DECODE) if seconds < PACE else max(steps // 2, 1)

    def _prefill(self, ids: list[list[int]], slots: int, settings: Settings, samples: int) -> DecodeState:
        """All prompts in one batch. Their last tokens are left for the first step, which gives the first logits."""
        state = fresh(self.model, len(ids), slots)
        for tokens, valid in padded([prompt[:-1] for prompt in ids]):
            state = prefill(self.model, tokens, valid, state)
        return self._progress(state, ids, settings, samples)

    def _progress(self, state: ModelState, ids: list[list[int]], settings: Settings, samples: int) -> DecodeState:
        """Where decoding begins, after prompts of which all tokens but the last are in the state."""
        last = np.array([prompt[-1] for prompt in ids], np.int32)
        seen = np.zeros((len(ids), self.tokenizer.vocab_size), bool)
        for row, prompt in enumerate(ids):
            seen[row, prompt] = True
        return DecodeState(
            state=state if samples == 1 else repeat(state, samples),
            token=jnp.asarray(last.repeat(samples)),
            number=jnp.asarray(np.tile(np.arange(samples, dtype=np.int32), len(ids))),
            index=jnp.int32(0),
            seen=jnp.asarray(seen.repeat(samples, axis=0)) if "repetition_penalty" in settings else None,
        )


def padded(prompts: list[list[int]]) -> Iterator[tuple[Int[np.ndarray, "B T"], Bool[np.ndarray, "B T"]]]:
    """The prompts as ids and which of these are real, in calls of PREFILL tokens; the last is a smaller bucket."""
    for start in itertools.count(0, PREFILL):
        left = max(map(len, prompts)) - start
        if left <= 0:
            return
        width = min(_bucket(left), PREFILL)
        ids, valid = np.zeros((len(prompts), width), np.int32), np.zeros((len(prompts), width), bool)
        for row, prompt in enumerate(prompts):
            part = prompt[start : start + width]
            ids[row, : len(part)], valid[row, : len(part)] = part, True
        yield ids, valid


def _bucket(n: int) -> int:
    """The next power of two, so that lengths up to L need log2(L) programs."""
    return max(BUCKET, 1 << (n - 1).bit_length())


class _Row:
    """One continuation: ids come in, text comes out as soon as it is sure."""

    def __init__(self, prompt: str, tokenizer: Tokenizer, stop: tuple[str, ...], max_tokens: int) -> None:
        self.prompt, self.stop, self.max_tokens = prompt, stop, max_tokens
        self.tokens: list[int] = []
        self.pieces: list[str] = []
        self.finish_reason: str | None = None
        self._stream, self._end = tokenizer.stream(), tokenizer.end_token
        self._held = ""  # text that may turn out to begin a stop string

    def add(self, tokens: list[int]) -> str:
        """The text that these ids make sure; ids after the end are ignored."""
        begin = len(self.pieces)
        for token in tokens:
            if self.finish_reason is not None:
                break
            self.tokens.append(token)
            end = token == self._end  # the document is over; this token is no text
            last = end or len(self.tokens) == self.max_tokens
            self._held += ("" if end else self._stream.add(token)) + (self._stream.finish() if last else "")
            stops = [place for text in self.stop if (place := self._held.find(text)) >= 0]
            if stops:
                self.finish_reason, sure = "stop", min(stops)
            elif last:
                self.finish_reason, sure = "stop" if end else "length", len(self._held)
            else:  # all but the longest end that may begin a stop string
                begun = (n for text in self.stop for n in range(1, len(text)) if self._held.endswith(text[:n]))
                sure = len(self._held) - max(begun, default=0)
            self.pieces.append(self._held[:sure])
            self._held = self._held[sure:]
        return "".join(self.pieces[begin:])

    def generation(self) -> Generation:
        return Generation(self.prompt, "".join(self.pieces), tuple(self.tokens), self.finish_reason or "length")
