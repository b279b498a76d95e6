"""The law in one small program a mixer, for the tests between edits; test_laws.py says each property apart, in float64.

Two documents a row, with padding in front, behind and in holes, go through a call of 7 tokens from an empty state and
then through steps. That must be each document alone in one call without a state: outputs, and the gradients of a random
functional of them. It implies that a call is its steps, that states are handed on, and that padding, batch mates and
packing change nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.laws import law, subjects

MIXERS = subjects.mixer_examples()
LENGTHS, CALL = ((4, 5), (6, 4), (3, 7)), 7  # of the documents in each row; tokens of the call


@pytest.mark.parametrize("name", subjects.first_examples())
def test_a_mixer_obeys_the_law(name: str) -> None:
    """In float32, where a mistake is a thousand times the tolerance; what only rounding breaks is for float64."""
    with law.precision("float32"):
        subject, rng = subjects.mixer(MIXERS[name], "float32"), np.random.default_rng(0)
        docs = tuple(law.Doc(None, length, row) for row, lengths in enumerate(LENGTHS) for length in lengths)
        rows = [docs[2 * row : 2 * row + 2] for row in range(3)]
        places = [law.place(rng, [row], 12, how) for row, how in zip(rows, ("left", "right", "holes"), strict=True)]
        doc = np.concatenate([where + 2 * row * (where >= 0) for row, (_, where, _) in enumerate(places)])
        token = np.concatenate([number for _, _, number in places])
        inside, real = doc >= 0, np.arange(8) < np.array([one.length for one in docs])[:, None]
        texts = np.stack(
            [np.resize(subject.draw(rng, one.length), (8, *subject.draw(rng, 1).shape[1:])) for one in docs]
        )
        texts = texts.astype(np.float32)
        garbage = np.stack([subject.garbage(rng, 12) for _ in rows]).astype(np.float32)
        weights = rng.standard_normal((*texts.shape[:2], 1)).astype(np.float32) * real[..., None]

        def packed(params, texts):
            valid, starts = jnp.asarray(inside), jnp.asarray(token == 0)
            x = jnp.where(valid[..., None], texts[doc, token], garbage)
            y, state = subject.call(
                params, x[:, :CALL], valid[:, :CALL], starts[:, :CALL], jax.tree.map(jnp.asarray, subject.start(3, 12))
            )

            def step(state, part):
                y, state = subject.step(params, *part, state)
                return state, y

            _, rest = lax.scan(step, state, tuple(a[:, CALL:].swapaxes(0, 1) for a in (x, valid, starts)))
            y = jnp.concatenate([y, rest.swapaxes(0, 1)], 1)
            return jnp.zeros((*texts.shape[:2], y.shape[-1]), y.dtype).at[doc[inside], token[inside]].set(y[inside])

        def alone(params, texts):
            y, _ = subject.call(params, texts, jnp.asarray(real), None, None)
            return jnp.where(real[..., None], y, 0)

        def both(params, texts):
            def functional(form):
                return lambda params, texts: (lambda y: (jnp.sum(y * weights), y))(form(params, texts))

            found = [jax.grad(functional(form), (0, 1), has_aux=True)(params, texts) for form in (packed, alone)]
            if not law.has_forms():
                return found
            return [
                (gradients, form(params, texts)) for (gradients, _), form in zip(found, (packed, alone), strict=True)
            ]

        got, want = jax.device_get(law.jit(both)(subject.params, texts))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert law.error(one, other) < law.TOLERANCE["float32"], name
