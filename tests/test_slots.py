"""The slot table: a crowd has the bits of each text alone, and log-probabilities are what they are called."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus.generation import sampling, slots
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import WIDTH, Generator
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import preset
from linearnexus.tokenizers import ByteTokenizer
from tests import schedules
from tests.test_generation import CHARS, FAMILIES, generator, make


@pytest.mark.parametrize(
    "name",
    [
        "gpt-nano",
        *(
            pytest.param(f"{n}-nano", marks=pytest.mark.slow)
            for n in (*schedules.PRESETS[1:], "jamba-moe", "latent-attention")
        ),
    ],
)
def test_a_crowd_has_the_bits_of_each_text_alone(name: str) -> None:
    """`python -m tests.schedules` runs 500 of these. Catches a row that reads another's state, a slot that keeps what
    was in it, a draw that depends on the row, a cache read up to the wrong length, and settings that compile."""
    compared, compiled = schedules.check(name, 6, pool_size=16)
    assert compared > 300 and compiled == 0


def test_the_slot_makes_no_difference() -> None:
    draw = random.Random(3)
    text = schedules.random_text(draw)
    config = dataclasses.replace(preset("gpt-nano"), vocab_size=schedules.VOCAB, n_layer=1)
    model = LanguageModel.init(config, jax.random.key(0))
    first, last = (schedules.alone(model, text, slot) for slot in (0, schedules.WIDTH - 1))
    assert first == last and first


@pytest.mark.parametrize("name", ["rotary", pytest.param("jamba", marks=pytest.mark.slow)])
def test_logprobs_are_those_of_a_forward_pass(name: str) -> None:
    """The model's: of a forward pass in training mode, to 1e-5. The drawn distribution's: the filters replayed on these
    logits, with the tokens written before counted."""
    writer = generator(name)
    writer = Generator(dataclasses.replace(writer.model, head=writer.model.head / 20), CHARS, 64)  # not all so sure
    for choice in (
        SamplingConfig(temperature=1.3),
        SamplingConfig(temperature=0.9, top_k=7, top_p=0.9, min_p=0.05, seed=2**40),
        SamplingConfig(temperature=1, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2),
        SamplingConfig(temperature=0),
    ):
        made = writer.generate("the cat", 40, choice, best=5)[0]
        ids = [*CHARS.encode("the cat"), *made.tokens]
        logits = writer.model(jnp.array([ids], jnp.int32)).logits[0, 6:-1]
        logprobs = np.asarray(jax.nn.log_softmax(logits, axis=-1))
        np.testing.assert_allclose(made.logprobs, logprobs[np.arange(40), made.tokens], atol=1e-5, rtol=0)
        for place, best in enumerate(made.best):
            told, values = zip(*best, strict=True)
            np.testing.assert_allclose(values, np.sort(logprobs[place])[:-6:-1], atol=1e-5, rtol=0)
            # two tokens may be as probable but for rounding, so their order is not compared
            np.testing.assert_allclose(values, logprobs[place][list(told)], atol=1e-5, rtol=0)
            assert len(set(told)) == 5
        counts = np.zeros((40, CHARS.vocab_size), np.int32)
        for place, token in enumerate(made.tokens[:-1]):
            counts[place + 1 :, token] += 1
        one = sampling.row(choice, CHARS.vocab_size, prompt=CHARS.encode("the cat"))
        rows = jax.tree.map(lambda value: jnp.repeat(jnp.asarray(value), 40, axis=0), one)
        after = sampling.adjusted(logits, rows, jnp.asarray(counts))
        replayed = np.asarray(sampling.stages(after, dataclasses.replace(choice, repetition_penalty=1))["min_p"])
        expected = np.log(replayed[np.arange(40), made.tokens])
        np.testing.assert_allclose(made.drawn_logprobs, expected, atol=1e-5, rtol=0)


def test_penalties_are_those_of_openai(strict) -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, where c counts what was generated, not the prompt."""
    rng = np.random.default_rng(0)
    logits, counts = rng.standard_normal((2, 9)).astype(np.float32), rng.integers(0, 3, (2, 9), dtype=np.int32)
    choice = SamplingConfig(presence_penalty=0.7, frequency_penalty=-0.2)
    one = sampling.row(choice, 9, prompt=[1, 2, 3], bias={4: 2.5}, allowed=np.arange(9) != 8)
    rows = jax.tree.map(lambda value: jnp.repeat(jnp.asarray(value), 2, axis=0), one)
    found = np.asarray(sampling.adjusted(jnp.asarray(logits), rows, jnp.asarray(counts)))
    expected = logits - counts * np.float32(-0.2) - (counts > 0) * np.float32(0.7)
    expected[:, 4] += 2.5
    expected[:, 8] = -np.inf
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.slow
def test_more_texts_than_rows_wait_for_a_free_one() -> None:
    """Catches a text that is lost, written twice, or that depends on whose slot it got."""
    writer = Generator(make(FAMILIES["mamba"]), CHARS, 64)
    prompts = [f"cat {chr(97 + n % 26)} {chr(97 + n // 26)}" for n in range(WIDTH + 5)]
    made = writer.generate(prompts, 12, SamplingConfig(seed=4), stop="a")
    assert [text.prompt for text in made] == prompts and len({text.tokens for text in made}) > WIDTH // 2
    for number in (0, 7, WIDTH, WIDTH + 4):
        alone = writer.generate(prompts[number : number + 1], 12, SamplingConfig(seed=4), stop="a")[0]
        assert alone.tokens == made[number].tokens


def test_a_call_ends_when_no_row_lives() -> None:
    """An end token takes the budget away, so the steps that are left are not computed, and the state stays."""
    model = make(FAMILIES["jamba"])
    state = slots.read(model, CHARS.encode("the cat"), slots.fresh(model, 1, 64))
    copies = [jax.tree.map(jnp.copy, state) for _ in range(2)]
    greedy = SamplingConfig(temperature=0)
    table, out = slots.decode(model, slots.new_row(copies[0], [5], greedy, 29, 9), np.int32(9))
    third = int(slots.unpack(out, 9).tokens[2, 0])
    again, out = slots.decode(model, slots.new_row(copies[1], [5], greedy, 29, 9, ends=[third]), np.int32(9))
    written = slots.unpack(out, 9).tokens[:, 0].tolist()
    assert written[written.index(third) + 1 :] == [-1] * (8 - written.index(third))
    assert int(again.left[0]) == 0 and int(again.index[0]) == written.index(third) + 1
    assert int(again.state.index[0]) < int(table.state.index[0])


def test_short_texts_do_not_pay_for_a_long_cache() -> None:
    """Catches attention that reads empty blocks: NaN in them would reach the result."""
    config = dataclasses.replace(preset("gpt-nano"), vocab_size=256, n_layer=2)
    model = LanguageModel.init(config, jax.random.key(0))
    short, long = (Generator(model, ByteTokenizer(), length) for length in (300, 2048))
    state = slots.read(model, list(b"the cat"), slots.fresh(model, 1, 2048))

    def spoiled(cache):
        return dataclasses.replace(cache, keys=(cache.keys[0], *(jnp.full_like(a, jnp.nan) for a in cache.keys[1:])))

    state = dataclasses.replace(state, layers=tuple(map(spoiled, state.layers)))
    _, out = slots.decode(model, slots.new_row(state, [33], SamplingConfig(), 256, 40), np.int32(40))
    assert len(state.layers[0].keys) == 4
    expected = short.generate([[*b"the cat", 33]], 40, SamplingConfig())[0]
    assert tuple(slots.unpack(out, 40).tokens[:, 0].tolist()) == expected.tokens
    np.testing.assert_allclose(slots.unpack(out, 40).logprobs[:, 0], expected.logprobs, rtol=1e-6)
    assert long.cache_slots(1) == 256 and long.cache_slots(257) == 512 and short.cache_slots(10**6) == 300
