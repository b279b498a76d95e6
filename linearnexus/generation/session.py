"""A text that grows, and the state after it: what is new is read, what was read is not read again.

The state is kept as it was before the answer: decoding goes on past a stop by some tokens, which a recurrent state
cannot take back. The next text reads the answer together with what follows it, in one call.

Look first at: `Session.stream`.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.engine import Generator, fresh, padded, prefill
from linearnexus.models.language_model import ModelState


class Session:
    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.read = 0  # tokens that the last call read
        self._ids: list[int] = []  # in the state
        self._state: ModelState | None = None
        self._slots = 0

    def stream(
        self, ids: list[int], max_tokens: int, sampling: SamplingConfig = DEFAULT, stop: Sequence[str] = ()
    ) -> Iterator[str]:
        """What the model writes after `ids` [at least 1], piece by piece. Exactly what it would write without what is
        remembered: where the text does not go on from the one before, all of it is read."""
        model, slots = self.generator.model, self.generator.slots(len(ids), max_tokens)
        known = len(self._ids)
        if self._state is None or slots > self._slots or known >= len(ids) or ids[:known] != self._ids:
            self._state, self._slots, known = fresh(model, 1, slots), slots, 0
        state, self._state = self._state, None  # given up; a call that is broken off begins anew
        for tokens, valid in padded([ids[known:-1]]):
            state = prefill(model, tokens, valid, state)
        self.read = len(ids) - 1 - known
        self._state, self._ids = state, ids[:-1]
        return self.generator.stream_after(jax.tree.map(jnp.copy, state), ids, max_tokens, sampling, stop)
