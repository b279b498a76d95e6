"""Generation against slow, obvious references: full forward passes, sorts, loops, and the same prompt alone.

The models are tiny and random. Their matrices are scaled up and their output head is steep, so that what they write
depends on all that came before, and the two best logits are seldom close.
"""

import dataclasses
import functools
import math
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus.core.config import from_json, to_json
from linearnexus.core.errors import UserError
from linearnexus.core.module import MatrixDims, matrix_dims
from linearnexus.generation import engine, sampling, slots
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.generation.look import inspect_prompt
from linearnexus.generation.text import Continuation, Generation, Tokens
from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MLPConfig
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import override
from linearnexus.tokenizers import ByteTokenizer, CharTokenizer, TiktokenTokenizer, WordTokenizer
from tests.schedules import compilations

CHARS = CharTokenizer("\n" + string.ascii_lowercase + " .")  # W = 29
GREEDY = SamplingConfig(temperature=0)
SAMPLED = SamplingConfig(temperature=1.5, top_k=12, top_p=0.95, seed=3)

_mlp = MLPConfig(width=2)
_attention = BlockConfig(AttentionConfig(n_head=3, n_kv_head=1), _mlp)
_mamba = BlockConfig(MambaConfig(state_size=4))
FAMILIES = {
    "rotary": ModelConfig((_attention,), n_layer=2, hidden_size=24),
    "window": ModelConfig((BlockConfig(AttentionConfig(n_head=3, window=6, qk_norm=True), _mlp),), 2, hidden_size=24),
    "learned": ModelConfig(
        (BlockConfig(AttentionConfig(n_head=2, rope_theta=None, bias=True), MLPConfig(bias=True)),),
        n_layer=2,
        hidden_size=24,
        norm=LayerNormConfig(),
        learned_positions=64,
    ),
    "mamba": ModelConfig((_mamba,), n_layer=2, hidden_size=24),
    "jamba": ModelConfig((BlockConfig(MambaConfig(state_size=4), _mlp), _attention), n_layer=3, hidden_size=24),
}
PROMPTS = ["a", "the cat", "x" * 17, "once upon a time", "\n", "zebra " * 5, "so it goes. ", "no"]


@functools.cache
def make(config: ModelConfig, vocab_size: int = CHARS.vocab_size) -> LanguageModel:
    config = dataclasses.replace(config, vocab_size=vocab_size, tie_embeddings=False)

    def scaled(array, dims):
        matrix = isinstance(dims, MatrixDims)
        return 2.5 * array / (array.std() * math.sqrt(dims.matrix(array).shape[-2])) if matrix else array

    model = LanguageModel.init(config, jax.random.key(0))
    model = jax.tree.map(scaled, model, matrix_dims(model))
    return dataclasses.replace(model, head=model.head * 40, embedding=model.embedding * 5)


def generator(name: str, context_length: int = 64) -> Generator:
    return Generator(make(FAMILIES[name]), CHARS, context_length)


@jax.jit
def forward(model, ids):
    return model(ids).logits


def full_logits(model: LanguageModel, ids: list[int]) -> np.ndarray:
    """[T, W] by one call without a state. The zeros behind the text, which no token sees, save programs."""
    padded = np.array([ids + [0] * (-len(ids) % 64)], np.int32)
    return np.asarray(forward(model, padded))[0, : len(ids)]


def differences(model: LanguageModel, prompt: list[int], tokens: tuple[int, ...]) -> tuple[int, int]:
    """How many of the tokens are not the argmax of the full forward pass, and how many of these have two best logits
    closer than 1e-4."""
    logits = full_logits(model, [*prompt, *tokens])[len(prompt) - 1 : -1]
    wrong = logits.argmax(-1) != np.array(tokens)
    best = np.sort(logits, axis=-1)
    return int(wrong.sum()), int((wrong & (best[:, -1] - best[:, -2] < 1e-4)).sum())


# --- The engine against full forward passes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.slow
def test_greedy_is_the_argmax_of_the_full_forward_pass(name):
    """Catches a state that is not what the prompt left, a position off by one, padding that leaks in."""
    writer = generator(name)
    results = writer.generate(["ab", "once upon a time"], 40, GREEDY)
    assert len(set(results[0].tokens)) > 5  # a constant text would prove little
    counts = [differences(writer.model, CHARS.encode(result.prompt), result.tokens) for result in results]
    wrong, excused = map(sum, zip(*counts, strict=True))
    assert wrong == excused <= 1


@pytest.mark.parametrize("name", ["rotary", "window", "mamba", "jamba"])
@pytest.mark.parametrize("prompt", ["once upon", "the quick brown fox jumps over the lazy dog. " * 2])
@pytest.mark.slow
def test_past_the_context_attention_rolls_and_recurrence_goes_on(name, prompt):
    """The reference is a full forward pass of the same model with `window` = context_length. The long prompt is more
    than the cache holds, in two calls."""
    writer = generator(name, context_length=16)
    result = writer.generate(prompt, 40, GREEDY)[0]
    reference = writer.model
    if name in ("rotary", "jamba"):
        reference = make(override(FAMILIES[name], window=16))
        longer = differences(writer.model, CHARS.encode(prompt), result.tokens)
        assert longer[0] > longer[1]  # without the window the text would be another one
    wrong, excused = differences(reference, CHARS.encode(prompt), result.tokens)
    assert wrong == excused <= 1


@pytest.mark.parametrize("name", ["rotary", "learned", "jamba"])
def test_a_batch_writes_what_each_prompt_writes_alone(name):
    """Catches noise that depends on the row, and padding that is not exact. One row goes past the context."""
    writer = generator(name, context_length=32)
    for choice in (GREEDY, SAMPLED):
        together = writer.generate(PROMPTS, 20, choice)
        alone = [writer.generate(prompt, 20, choice)[0] for prompt in PROMPTS]
        assert [(text.text, text.tokens) for text in together] == [(text.text, text.tokens) for text in alone]
        assert len({result.text for result in together}) > 5


@pytest.mark.slow
def test_strict_dtypes_and_ranks(strict):
    choice = SamplingConfig(0.9, top_k=9, top_p=0.9, min_p=0.01, repetition_penalty=1.2)
    writer = Generator(make(ModelConfig((_mamba,), n_layer=1, hidden_size=12)), CHARS, 64)
    results = writer.generate(["ab", "c"], 5, choice, samples=2)
    assert [result.prompt for result in results] == ["ab", "ab", "c", "c"]


def test_seeds_and_sample_numbers():
    """A text is fixed by seed, sample number and prompt; each of these changes it."""
    writer = generator("rotary")
    first = writer.generate("ab", 40, SAMPLED)[0]
    assert writer.generate("ab", 40, SAMPLED)[0] == first
    assert writer.generate("ab", 40, dataclasses.replace(SAMPLED, seed=4))[0].text != first.text
    samples = writer.generate(["zz", "ab"], 40, SAMPLED, samples=3)
    assert samples[3].tokens == first.tokens
    assert len({result.text for result in samples}) == 6
    assert writer.generate("ab", 5, dataclasses.replace(SAMPLED, seed=-(2**70)))[0].finish_reason == "length"
    large = [
        writer.generate("ab", 40, dataclasses.replace(SAMPLED, seed=seed))[0].text for seed in (3 + 2**32, 3 + 2**64)
    ]
    assert large[0] != first.text == large[1]
    np.testing.assert_array_equal(
        jax.random.key_data(sampling._key(jnp.array([0, 77], jnp.uint32))), jax.random.key_data(jax.random.key(77))
    )


def test_repetition_penalty_counts_prompt_and_output():
    writer = generator("mamba")
    ids = CHARS.encode("the cat")
    for _ in range(25):
        logits = full_logits(writer.model, ids)[-1].copy()
        for token in set(ids):
            logits[token] = logits[token] / 1.7 if logits[token] > 0 else logits[token] * 1.7
        ids.append(int(logits.argmax()))
    result = writer.generate("the cat", 25, SamplingConfig(temperature=0, repetition_penalty=1.7))[0]
    assert list(result.tokens) == ids[7:]
    assert result.tokens != writer.generate("the cat", 25, GREEDY)[0].tokens


def test_tokens_that_the_tokenizer_does_not_have_are_never_written():
    model = make(FAMILIES["rotary"], vocab_size=200)
    result = Generator(model, CHARS, 64).generate("ab", 50, SamplingConfig(temperature=5.0))[0]
    assert max(result.tokens) < CHARS.vocab_size
    with pytest.raises(UserError, match="The tokenizer has 256 tokens and the model only 200; use the tokenizer"):
        Generator(model, ByteTokenizer(), 64)


# --- Text: streams, stop strings, characters --------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [-1, math.inf])
def test_stop_strings(pace, monkeypatch):
    """Substrings of a text as stop strings, from decode calls of 4, 2, 1, 1, ... tokens and of 4, 8, 16, ..."""
    monkeypatch.setattr(engine, "PACE", pace)
    writer = generator("rotary")
    text = writer.generate("ab", 40, SAMPLED)[0].text
    for begin, length in ((0, 1), (1, 3), (3, 2), (5, 9), (20, 4), (37, 3), (0, 40)):
        stop = text[begin : begin + length]
        result = writer.generate("ab", 40, SAMPLED, stop=("never ever", stop))[0]
        assert result.text == text[: text.index(stop)] and result.finish_reason == "stop"
        assert CHARS.decode(result.tokens) == text[: text.index(stop) + length]
        assert "".join(writer.stream("ab", 40, SAMPLED, stop=stop)) == result.text
    absent = text[-3:] + "!"
    assert writer.generate("ab", 40, SAMPLED, stop=absent)[0].text == text


def test_streams_give_the_text_of_generate():
    writer = Generator(make(FAMILIES["rotary"], 256), ByteTokenizer(), 64)
    choice = SamplingConfig(temperature=1.2)
    heard: dict[int, str] = {}

    def on_text(number: int, piece: str) -> None:
        assert piece
        heard[number] = heard.get(number, "") + piece

    results = writer.generate(["h\u00e9", "\u65e5\u672c"], 80, choice, samples=2, on_text=on_text)
    assert [heard[number] for number in range(4)] == [result.text for result in results]
    for result in results:
        assert result.finish_reason == "length" and len(result.tokens) == 80
        assert result.text == ByteTokenizer().decode(result.tokens)
    pieces = list(writer.stream("h\u00e9", 80, choice))
    assert "".join(pieces) == results[0].text and len(pieces) > 3


def written(ids) -> Tokens:
    return Tokens(list(ids), [-float(id_) for id_ in ids], [-0.5] * len(ids), [])


def test_characters_of_several_bytes_are_never_split():
    text = "na\u00efve \U0001f600\u65e5\u672c."
    ids = ByteTokenizer().encode(text)
    for stop in ((), ("\u65e5\u65e5",), ("!", "\u65e5\u672c!")):
        row = Continuation("", ByteTokenizer(), stop, len(ids))
        pieces = [row.add(written([token])) for token in ids]
        assert "".join(pieces) == text and all(piece in text for piece in pieces)
    row = Continuation("", ByteTokenizer(), ("\U0001f600",), len(ids))
    assert row.add(written(ids)) == "na\u00efve " and row.generation().finish_reason == "stop"
    cut = Continuation("", ByteTokenizer(), (), 8)  # max_tokens in the middle of a character
    assert cut.add(written(ids)) == "na\u00efve \ufffd"
    overlapping = Continuation("", CHARS, ("abcd", "bc"), 9)
    assert "".join(overlapping.add(written([token])) for token in CHARS.encode("xabcabcd")) == "xa"


def test_text_ends_at_the_end_token():
    """The token of the end is no text; what a stop string held back is given, half a character is shown."""
    words = WordTokenizer((" a", " b"))
    row = Continuation("", words, (" b <",), 9)
    assert row.add(written([2, 3])) + row.add(written([words.end_token, 2])) == " a b"
    assert row.generation() == Generation("", " a b", (2, 3, 1), "stop", (-2.0, -3.0, -1.0), (-0.5, -0.5, -0.5))
    gpt2 = TiktokenTokenizer("gpt2")
    row = Continuation("", gpt2, (), 9)
    assert row.add(written([*gpt2.encode("\N{GRINNING FACE}")[:1], gpt2.end_token])) == "\ufffd"
    assert row.finish_reason == "stop"


# --- Programs and memory ----------------------------------------------------------------------------------------------


def test_few_programs_are_compiled():
    """Lengths 1 to 100: chunks of 16, 32 and 64 prompt tokens, one cache length. Other settings: none."""
    writer = Generator(make(ModelConfig((_attention,), n_layer=1, hidden_size=12)), CHARS, 128)
    for length in (1, 10, 20, 50):
        writer.generate("a" * length, 5, GREEDY)
    with compilations() as compiled:
        for length in (2, 7, 15, 24, 31, 40, 52, 55, 64, 80, 99, 17, 33, 65):
            writer.generate("a" * length, 1 + length % 9, GREEDY)
        for value in (0.1, 0.5, 0.9):
            choice = SamplingConfig(value, int(value * 10), value, value / 2, 1 + value, value, value, int(value * 10))
            writer.generate("ab", 9, choice, best=3)
    assert compiled == []


def test_the_state_is_donated():
    writer = generator("jamba")
    state = slots.fresh(writer.model, 1, 32)
    ids, valid = np.ones((1, 16), np.int32), np.ones((1, 16), bool)
    after = slots.prefill(writer.model, ids, valid, state)
    assert all(array.is_deleted() for array in jax.tree.leaves(state))
    table = slots.empty(writer.model, 2, 32, CHARS.vocab_size)
    table = slots.admit(table, np.int32(1), slots.new_row(after, [3], GREEDY, CHARS.vocab_size, 5))
    assert not any(array.is_deleted() for array in jax.tree.leaves(after))  # another sample may begin with it
    later, out = slots.decode(writer.model, table, np.int32(3))
    assert all(array.is_deleted() for array in jax.tree.leaves(table))
    assert later.index.tolist() == [0, 3] and later.left.tolist() == [0, 2]
    assert (slots.unpack(out, 3).tokens[:, 0] == -1).all() and (slots.unpack(out, 3).tokens[:, 1] >= 0).all()
    writer.generate("ab", 9)
    alive = len(jax.live_arrays())
    writer.generate("ab", 9)
    assert len(jax.live_arrays()) <= alive


# --- Sentences for mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; it divides the scores, so give 0 "),
        ({"temperature": math.nan}, "temperature is nan; "),
        ({"temperature": math.inf}, "temperature is inf; "),
        ({"top_k": -1}, "top_k is -1; it counts tokens, so give 1 or more, or 0 to keep them all."),
        ({"top_p": 0.0}, "top_p is 0.0; it is a probability, so give a number above 0, up to 1"),
        ({"top_p": 1.5}, "top_p is 1.5; "),
        ({"top_p": math.nan}, "top_p is nan; "),
        ({"min_p": 1.0}, "min_p is 1.0; "),
        ({"min_p": -0.1}, "min_p is -0.1; "),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; "),
        ({"repetition_penalty": math.inf}, "repetition_penalty is inf; "),
        ({"presence_penalty": math.nan}, "presence_penalty is nan; give a number"),
        ({"frequency_penalty": math.inf}, "frequency_penalty is inf; give a number"),
    ],
)
def test_sampling_config_refuses(given, sentence):
    with pytest.raises(UserError) as error:
        SamplingConfig(**given)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


def test_sampling_config_as_json():
    assert from_json(to_json(SAMPLED)) == SAMPLED


def test_learned_positions_end():
    writer = generator("learned", context_length=32)  # trained on less than its positions: these still count
    assert len(writer.generate("ab", 62, GREEDY)[0].tokens) == 62
    with pytest.raises(UserError) as error:
        writer.generate(["a", "a" * 50], 200)
    assert str(error.value) == (
        "The prompt has 50 tokens and max_tokens is 200, but this model has 64 learned positions; "
        "ask for at most 14 tokens, or shorten the prompt."
    )
    with pytest.raises(UserError, match="shorten the prompt to 63 tokens or fewer"):
        writer.stream("a" * 64, 1)  # before the first piece is asked for
    assert [writer.room("a" * n, 300) for n in (1, 63, 64)] == [63, 1, 1]  # what the command line asks for by itself
    assert generator("mamba").room("ab", 300) == 300


def test_wrong_arguments():
    writer = generator("mamba")
    for arguments, sentence in (
        ({"max_tokens": 0}, "max_tokens is 0; give 1 or more."),
        ({"samples": 0}, "samples is 0; give 1 or more."),
        ({"stop": ("a", "")}, "A stop string is empty"),
        ({"best": 21}, "best is 21; give how many of the most probable tokens to tell, 0 to 20."),
    ):
        with pytest.raises(UserError, match=sentence):
            writer.generate("ab", **arguments)
    with pytest.raises(UserError, match="There is no prompt"):
        writer.generate([])
    with pytest.raises(UserError, match="'#'"):
        writer.generate("#")


def test_an_empty_prompt_starts_a_new_line():
    writer = generator("mamba")
    assert writer.generate("", 9, GREEDY)[0].text == writer.generate("\n", 9, GREEDY)[0].text
    letters = CharTokenizer(string.ascii_lowercase)
    with pytest.raises(UserError, match="The prompt is empty, and this model knows no new line to start from; give"):
        Generator(make(FAMILIES["mamba"], letters.vocab_size), letters, 64).generate("")


def rows_of(choice: SamplingConfig, vocab_size: int, numbers, seen=()) -> sampling.Sampling:
    """A row for each sample number."""
    one = sampling.row(choice, vocab_size, prompt=seen)
    every = jax.tree.map(lambda value: jnp.repeat(jnp.asarray(value), len(numbers), axis=0), one)
    seed = jnp.repeat(jnp.array([[0, choice.seed]], jnp.uint32), len(numbers), axis=0)
    return dataclasses.replace(every, key=sampling._folded(seed, jnp.asarray(numbers, jnp.int32)))


# --- Filters and draws ------------------------------------------------------------------------------------------------


def kept(logits) -> np.ndarray:
    return np.isfinite(np.asarray(logits))


def sorted_top_p(logits: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens stay, by sorting, in float64; and the probability above each."""
    weight = np.exp(logits.astype(np.float64) - logits.max())
    probability = weight / weight.sum()
    order = np.argsort(-logits, kind="stable")
    above = np.empty_like(probability)
    above[order] = np.cumsum(probability[order]) - probability[order]
    count = max(int((above[order] < p).sum()), 1)
    return logits >= logits[order[count - 1]], above


@pytest.mark.parametrize("size", [1, 2, 65, 1000, 50_257])
def test_top_p_is_what_sorting_gives(size, strict):
    """A token may differ only where the probability above it is within 1e-5 of p, the rounding of a float32 sum."""
    rng = np.random.default_rng(size)
    apply = jax.jit(sampling.top_p)
    for spread in (0.1, 2.0, 30.0):
        logits = (spread * rng.standard_normal((3, size))).astype(np.float32)
        for p in (1e-30, 0.001, 0.3, 0.9, 0.999, 1 - 2**-24):
            filtered = np.asarray(apply(jnp.asarray(logits), np.full(3, p, np.float32)))
            for row in range(3):
                expected, above = sorted_top_p(logits[row], p)
                differs = kept(filtered[row]) != expected
                assert (np.abs(above - p)[differs] < 1e-5).all()
                assert kept(filtered[row])[logits[row].argmax()]
                assert (filtered[row] == logits[row])[kept(filtered[row])].all()


@pytest.mark.parametrize(
    ("probabilities", "p", "expected"),
    [
        ([0.5, 0.25, 0.125, 0.125], 0.499, [1, 0, 0, 0]),
        ([0.5, 0.25, 0.125, 0.125], 0.501, [1, 1, 0, 0]),  # the token that crosses p stays
        ([0.5, 0.25, 0.125, 0.125], 0.751, [1, 1, 1, 1]),  # equal ones stay together
        ([0.25, 0.25, 0.25, 0.25], 1e-30, [1, 1, 1, 1]),
        ([0.2, 0.4, 0.4], 0.1, [0, 1, 1]),
        ([1.0, 0.0, 0.0], 1 - 1e-7, [1, 0, 0]),  # one-hot, -inf elsewhere
        ([1e-38, 1 - 1e-6, 1e-6], 0.9, [0, 1, 0]),
    ],
)
def test_top_p_by_hand(probabilities, p, expected, strict):
    with np.errstate(divide="ignore"):
        logits = np.log(np.array([probabilities], np.float32))
    for shift in (0.0, 100.0, -3e4):
        filtered = sampling.top_p(jnp.asarray(logits + np.float32(shift)), jnp.array([p], jnp.float32))
        assert kept(filtered).tolist() == [[bool(e) for e in expected]]


def test_top_k_is_what_sorting_gives(strict):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4, 37)).astype(np.float32)
    logits[1] = logits[1].round(0)  # ties
    logits[2] *= np.float32(1e37)
    logits[3, ::2] = -np.inf
    for k in (1, 2, 20, 36, 37, 38, 2**31 - 1):
        expected = (logits >= np.sort(logits, axis=1)[:, [-min(k, 37)]]) & np.isfinite(logits)
        assert (kept(sampling.top_k(jnp.asarray(logits), jnp.full(4, k, jnp.int32))) == expected).all()


def test_top_k_larger_than_the_vocabulary_keeps_it_all():
    writer = generator("rotary")
    everything, same = (dataclasses.replace(SAMPLED, top_k=k) for k in (CHARS.vocab_size, 10**12))
    assert writer.generate("ab", 40, everything) == writer.generate("ab", 40, same)


def test_min_p_and_penalty_against_loops(strict):
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal((5, 41))).astype(np.float32)
    probability = np.asarray(jax.nn.softmax(logits, axis=-1))
    for p in (0.01, 0.1, 0.9):
        filtered = sampling.min_p(jnp.asarray(logits), jnp.full(5, p))
        assert (kept(filtered) == (probability >= p * probability.max(1)[:, None])).all()
    seen = rng.random((5, 41)) < 0.4
    expected = logits.copy()
    for b, w in zip(*seen.nonzero(), strict=True):
        expected[b, w] = logits[b, w] / np.float32(1.3) if logits[b, w] > 0 else logits[b, w] * np.float32(1.3)
    penalised = sampling.repetition_penalty(jnp.asarray(logits), jnp.asarray(seen), np.float32(1.3))
    np.testing.assert_allclose(penalised, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "choice",
    [
        SamplingConfig(temperature=1.0),
        SamplingConfig(temperature=0.7, top_k=9),
        SamplingConfig(temperature=1.3, top_p=0.8),
        SamplingConfig(temperature=1.1, top_k=10, top_p=0.9, min_p=0.1, repetition_penalty=1.4),
    ],
)
def test_draws_follow_the_filtered_distribution(choice, strict):
    """Chi-square over 20,000 sample numbers. The seed is fixed, so it never flickers; with a fresh one, a right sampler
    would fail once in a million times."""
    logits = jnp.array([[2.0, 1.5, 1.2, 1.0, 0.3, 0.0, -0.2, -0.4, -1.0, -1.5, -2.0, -3.0]])
    seen = jnp.arange(12)[None] % 3 == 0
    probability = np.asarray(sampling.stages(logits, choice, seen)["min_p"])[0]
    n = 20_000
    each = rows_of(choice, 12, np.arange(n), seen=np.flatnonzero(np.asarray(seen)[0]))
    draw = jax.jit(lambda logits, index: sampling.sample(logits, each, index, jnp.zeros((n, 12), jnp.int32)))
    many = jnp.repeat(logits, n, axis=0)
    drawn, later = draw(many, jnp.full(n, 5, jnp.int32)), draw(many, jnp.full(n, 6, jnp.int32)).token
    tokens = np.asarray(drawn.token)
    np.testing.assert_allclose(drawn.logprob, np.log(probability[tokens]), rtol=1e-5, atol=1e-6)
    count = np.bincount(tokens, minlength=12)
    possible = probability > 0
    assert not count[~possible].any()
    expected = n * probability[possible]
    freedom = possible.sum() - 1
    # Wilson and Hilferty's cube: the quantile at 4.75 sigma, which is 1e-6
    limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3
    assert ((count[possible] - expected) ** 2 / expected).sum() < limit
    agree = (tokens == np.asarray(later)).mean()  # the draws of two indices are independent
    assert abs(agree - (probability**2).sum()) < 5 * math.sqrt(0.25 / n)


@pytest.mark.parametrize("size", [1, 2, 12, 65, 1000])
def test_the_place_where_the_sum_exceeds_u(size, strict):
    """Against float64 sums, and never a place without weight, wherever u falls and however sums are rounded."""
    rng = np.random.default_rng(size)
    weight = np.exp(8 * rng.standard_normal((400, size))).astype(np.float32)
    weight[:, rng.permutation(size)[: size // 2]] = 0
    for u in (rng.random((400, 1), np.float32), np.float32(0), np.float32(1 - 2**-24)):
        u = np.broadcast_to(u, (400, 1))
        place = np.asarray(sampling._spin(jnp.asarray(weight), jnp.asarray(u)))
        assert (np.take_along_axis(weight, place[:, None], 1) > 0).all()
        so_far = np.cumsum(weight.astype(np.float64), axis=1) / weight.sum(1, dtype=np.float64, keepdims=True)
        before = np.take_along_axis(np.c_[np.zeros(400), so_far], place[:, None], 1)
        after = np.take_along_axis(so_far, place[:, None], 1)
        assert ((before - 1e-5 < u) & (u < after + 1e-5)).all()


@pytest.mark.slow
def test_candidates_are_enough_or_all_are_looked_at(strict):
    """With many tokens, a few stand for the best k: whatever k is, with ties, and whoever is in the batch."""
    size, rows = 5 * sampling.MANY // 4, 300
    rng = np.random.default_rng(0)
    logits = (2 * rng.standard_normal((4, size))).astype(np.float32)
    logits[1] = np.minimum(logits[1].round(0), 2)  # hundreds of equal ones at the top
    logits[2] = -np.inf
    logits[2, 7:10] = 0
    number = np.arange(4 * rows) % rows
    draw = jax.jit(
        lambda logits, each: sampling.sample(
            logits, each, jnp.full(len(logits), 3, jnp.int32), jnp.zeros(logits.shape, jnp.int32)
        )
    )
    for choice in (
        SamplingConfig(temperature=1.0, top_k=5),
        SamplingConfig(temperature=5.0, top_k=sampling.CANDIDATES),
        SamplingConfig(temperature=5.0, top_k=300, top_p=0.9),
    ):
        after = np.array(sampling.stages(jnp.asarray(logits), choice)["min_p"])
        each = rows_of(choice, size, number)
        drawn = draw(jnp.repeat(jnp.asarray(logits), rows, axis=0), each)
        tokens = np.asarray(drawn.token).reshape(4, rows)
        for row in range(4):
            part = jax.tree.map(lambda value: value[:rows], each)
            alone = draw(jnp.repeat(jnp.asarray(logits[row : row + 1]), rows, axis=0), part)
            assert (np.asarray(alone.token) == tokens[row]).all()
            assert (np.asarray(alone.logprob) == np.asarray(drawn.logprob).reshape(4, rows)[row]).all()
            np.testing.assert_allclose(alone.logprob, np.log(after[row])[tokens[row]], rtol=1e-4, atol=1e-5)
            assert after[row][tokens[row]].all()  # nothing that the filters take away
            share = np.bincount(tokens[row], minlength=size) / rows
            likely = after[row] > 0.05
            assert (np.abs(share - after[row])[likely] < 5 * np.sqrt(0.25 / rows)).all()
            rest = (-after[row]).argsort(kind="stable").argsort() >= sampling.CANDIDATES
            assert abs(share[rest].sum() - after[row][rest].sum()) < 5 * np.sqrt(0.25 / rows)


def test_scores_that_are_not_numbers_still_give_a_token(strict):
    logits = jnp.full((2, 2 * sampling.MANY + 1), jnp.nan)
    for choice in (SamplingConfig(temperature=0), SamplingConfig(), SamplingConfig(top_k=5, top_p=0.5)):
        each = rows_of(choice, logits.shape[1], np.arange(2))
        token = sampling.sample(logits, each, jnp.zeros(2, jnp.int32), jnp.zeros(logits.shape, jnp.int32)).token
        assert ((np.asarray(token) >= 0) & (np.asarray(token) < logits.shape[1])).all()


def test_extreme_values_stay_finite(strict):
    logits = jnp.array([[1e4, -1e4, 3.0, 0.0]])
    for choice in (
        SamplingConfig(temperature=1e-300, top_p=1e-300, min_p=1e-300),
        SamplingConfig(temperature=1e300, repetition_penalty=1e300, top_k=2),
        SamplingConfig(temperature=1.0, repetition_penalty=1e-300),
    ):
        for name, p in sampling.stages(logits, choice, jnp.ones((1, 4), bool)).items():
            assert np.isclose(np.asarray(p).sum(), 1), (choice, name)


# --- What `inspect` shows ---------------------------------------------------------------------------------------------


def test_inspection_is_what_generation_does():
    writer = generator("jamba")
    prompt = "once upon a time there was"
    choice = SamplingConfig(temperature=1.2, top_k=8, top_p=0.99, min_p=0.001, repetition_penalty=1.1)
    seen = inspect_prompt(writer, prompt, choice, top=5)
    ids = CHARS.encode(prompt)
    raw = np.asarray(jax.nn.softmax(full_logits(writer.model, ids), axis=-1))
    assert [token.id for token in seen.tokens] == ids and "".join(token.text for token in seen.tokens) == prompt
    assert seen.tokens[0].probability is None and seen.tokens[0].surprise is None
    given = [token.probability for token in seen.tokens[1:]]
    np.testing.assert_allclose(given, raw[np.arange(len(ids) - 1), ids[1:]], rtol=1e-3, atol=1e-9)
    assert seen.tokens[3].surprise == -math.log2(given[2])
    assert [c.id for c in seen.candidates] == np.argsort(-raw[-1])[:5].tolist()
    assert list(seen.kept) == ["raw", "repetition_penalty", "temperature", "top_k", "top_p", "min_p"]
    assert seen.kept["temperature"] == 29 and seen.kept["top_k"] == 8 >= seen.kept["top_p"] >= seen.kept["min_p"]
    for candidate in seen.candidates:
        assert list(candidate.probabilities) == list(seen.kept)
        assert math.isclose(candidate.probabilities["raw"], raw[-1, candidate.id], rel_tol=1e-3)
    greedy = inspect_prompt(writer, prompt, GREEDY, top=99)
    assert len(greedy.candidates) == 29 and greedy.kept["temperature"] == 1
    assert writer.generate(prompt, 1, GREEDY)[0].tokens == (greedy.candidates[0].id,)
    assert inspect_prompt(writer, "", GREEDY).tokens[0].text == "\n"
