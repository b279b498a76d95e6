"""The law, for every registered mixer and the smallest presets; a new mixer or preset needs no line here.

`python -m tests.laws` measures more: every preset, both precisions, more arrangements.
"""

import pytest

from tests.laws import law, subjects

pytestmark = pytest.mark.slow  # test_quick.py is what the tests between edits have of it
MIXERS = subjects.mixer_examples()
FIRST = subjects.first_examples()
# Few functions to compile: calls of two lengths, with arrays always passed; `make laws` has three, and passes None too.
SHORT = {"cuts": (16, 16, 1), "exact": False}
# One mixer of each op family that multiplies decays.
FLOAT32 = [name for name in FIRST if name.split()[0] in ("gated_deltanet", "gla", "mamba")]
# Mixers have their own tests; of the presets, one with several mixers, and one of the published ones.
NANO = ["jamba-nano"]
PUBLISHED = ["gpt2-small"]


def obey(laws: law.Law, names: list[str] | None = None) -> None:
    """Every property at once, so that one run says all that is broken."""
    tolerance = law.TOLERANCE[laws.dtype]
    measured = {name: laws.measure(name) for name in names or laws.properties()}
    broken = {name: errors for name, errors in measured.items() if not max(errors.values()) < tolerance}
    assert not broken, f"errors above {tolerance}: {broken}"


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixer_obeys_the_law(name: str) -> None:
    """Values, final states and gradients in float64, where every mistake shows: a state that padding touches, a
    position or a convolution that runs over a document's border, a cache slot too few, a state that a call and a step
    leave different. Packed calls, with padding anywhere and cut into calls and steps, imply the other properties; of a
    mixer's other examples, which differ in options, steps alone are compared with a call."""
    laws = subjects.mixer_law(MIXERS[name], "float64", long=None, **SHORT)
    obey(laws, ["packed" if name in FIRST else "steps"])
    assert name not in FIRST or not laws.leaks(("packed",))


@pytest.mark.parametrize("name", [name for name in MIXERS if name in FIRST or "window" in name])
def test_a_mixer_obeys_the_law_when_its_cache_wraps(name: str) -> None:
    """A cache of 12 tokens and a text of 17 after a prefix: catches a ring that is read or overwritten in the wrong
    order."""
    laws = subjects.ring_law(MIXERS[name], "float64")
    if laws is None:
        pytest.skip("its state does not depend on max_len")
    obey(laws, ["steps", "packed"])


@pytest.mark.parametrize("name", FLOAT32)
def test_a_mixer_obeys_the_law_in_float32(name: str) -> None:
    """Documents in calls without a state, over many chunks: catches a fast form that loses digits (differences of
    cumulative sums, products of decays)."""
    laws = subjects.mixer_law(MIXERS[name], "float32", cuts=(33,), exact=False)
    packed, _ = laws.properties()["training"]()
    assert max(laws.errors(packed).values()) < law.TOLERANCE["float32"]


@pytest.mark.parametrize("name", NANO)
def test_a_preset_obeys_the_law(name: str) -> None:
    """The whole model, one period and a layer: positions counted over calls and documents, every layer's state in its
    place."""
    laws = subjects.model_law(name, "float64", up_to=0)
    obey(laws, ["packed"])
    assert not laws.leaks(("packed",))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_preset_obeys_the_law(name: str) -> None:
    """At true width: catches what only learned positions, biases or wide sums in float32 show."""
    obey(subjects.model_law(name, "float32"), ["training"])


def test_the_law_finds_a_broken_state() -> None:
    """The harness itself: a mixer that forgets a hundred-millionth of its state at padding is caught."""
    name = next(iter(MIXERS))
    laws = subjects.mixer_law(MIXERS[name], "float64", long=None, cuts=(9, 5))
    call = laws.subject.call

    def leaky(params, x, valid, starts, state):
        y, after = call(params, x, valid, starts, state)
        if valid is None or state is None:
            return y, after
        kept = 1 - 1e-8 * (~valid).sum(1).astype(x.dtype)
        return y, law.with_floats(
            after, [leaf * kept.reshape(-1, *[1] * (leaf.ndim - 1)) for leaf in law.floats(after)]
        )

    laws.backward["call"] = law.pulled(leaky)
    assert laws.measure("pad holes")["values"] > law.TOLERANCE["float64"]
