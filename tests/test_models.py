"""Models: counts, initial losses, dropout, precisions, configs, and whole small models against NumPy."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus.core.config import from_json, to_json
from linearnexus.core.errors import UserError
from linearnexus.core.layers import Dropout
from linearnexus.core.module import matrix_dims, roles, scale_residual
from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MLPConfig
from linearnexus.models import language_model
from linearnexus.models.block import Block
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import override, preset, presets
from tests.laws import reference
from tests.laws.law import error, jit, precision
from tests.laws.subjects import moved
from tests.laws.test_reference import attention_weights, official

PUBLISHED = {
    "gpt2-small": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "mamba-130m": 129_135_360,
    "mamba-370m": 371_516_416,
    "mamba2-130m": 128_989_632,
    "mamba2-370m": 368_346_624,
}
SMALL = [name for name in presets() if name not in PUBLISHED]


@functools.cache
def shapes(config: ModelConfig) -> LanguageModel:
    """The model without its numbers: nothing is allocated."""
    return LanguageModel.shapes(config)


def count(config: ModelConfig) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(config)))


_drawn = jit(lambda config, seed: LanguageModel.init(config, jax.random.key(seed)), static_argnames="config")


def new(config: ModelConfig, seed: int = 0) -> LanguageModel:
    return _drawn(config=config, seed=seed)


def tiny(name: str, **changes: Any) -> ModelConfig:
    """A preset's architecture, one period deep, 24 wide."""
    config = preset(name)
    blocks = tuple(
        dataclasses.replace(block, mixer=dataclasses.replace(block.mixer, n_head=3))
        if isinstance(block.mixer, AttentionConfig)
        else block
        for block in config.pattern
    )
    rows = min(config.learned_positions, 40)
    small = {"pattern": blocks, "hidden_size": 24, "n_layer": len(blocks), "vocab_size": 31, "learned_positions": rows}
    small["embedding_std"] = 0.02
    return dataclasses.replace(config, **small | changes)


def tokens(vocab: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(vocab, size=shape, dtype=np.int32))


call = jit(lambda model, ids, key=None: model(ids, key=key).logits)


# sizes and initial values


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_their_published_parameter_count(name: str) -> None:
    """To the last parameter: catches a missing bias, an untied head, a wrong rank of the step size."""
    assert count(preset(name)) == PUBLISHED[name]


def test_options_that_fit_only_together_are_taken_together() -> None:
    """Catches options applied one after another: 64 has no 12 heads, and 12 heads no 5 of keys."""
    for options in ({"hidden_size": 64, "n_head": 4}, {"n_head": 4, "hidden_size": 64}):
        model = override(preset("gpt2-small"), **options)
        assert model.hidden_size == 64 and model.pattern[0].mixer.n_head == 4  # type: ignore[union-attr]
    assert override(preset("gpt2-small"), n_kv_head=5, n_head=10, hidden_size=80).hidden_size == 80


@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith("gpt")])
def test_small_models_of_one_size_can_be_compared(name: str) -> None:
    """Every mixer and hybrid within 5 percent of the GPT, counting the parameters that a token uses: a comparison would
    measure size instead."""
    config, gpt = preset(name), count(preset("gpt-" + name.split("-")[-1]))
    channel = [config.block(layer).channel_mixer for layer in range(config.n_layer)]
    used = count(config) - sum(mixer.idle(config.hidden_size) for mixer in channel if mixer is not None)
    assert abs(used / gpt - 1) < 0.05, (used, gpt)


@pytest.mark.parametrize(
    ("name", "vocab", "excess"),
    [(name, 65, 0.02) for name in SMALL if name.endswith("-nano") or name in ("mamba-micro", "jamba-micro")]
    + [("gpt2-small", 50_257, 0.035), ("mamba-130m", 50_280, 0.035)],
)
@pytest.mark.slow
def test_an_untrained_model_knows_nothing(
    name: str, vocab: int, excess: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss on random text, over all targets, is ln(vocab) to 2 percent (3.5 for the published initial values);
    never below it. Catches a wrong scale of any layer, and a tied head that favours the token that was read: of the
    targets that is one in `vocab`, so a small vocabulary shows it most."""
    monkeypatch.setattr(language_model, "UNROLL_UP_TO", 1)  # the same result, and a period is compiled once
    config = dataclasses.replace(preset(name), vocab_size=vocab)
    if name in PUBLISHED:  # a third as deep: most of the time goes into drawing the weights
        config = dataclasses.replace(config, n_layer=config.n_layer // 3)
    ids = np.asarray(tokens(vocab, 1, 64 if name in PUBLISHED else 192))
    logits = np.asarray(call(new(config), ids), np.float64)
    loss = float((np.log(np.exp(logits).sum(-1)) - logits.mean(-1)).mean())
    assert 0 < loss / np.log(vocab) - 1 < excess


@pytest.mark.parametrize("name", presets())
def test_every_parameter_has_one_role(name: str) -> None:
    """Weight decay and Muon go by role: tables have two dimensions, matrices are seen as two (a stack of experts
    three), everything with one is a vector."""
    model = shapes(preset(name))
    named = jax.tree.leaves_with_path(roles(model))
    arrays = jax.tree.leaves_with_path(model)
    assert [path for path, _ in named] == [path for path, _ in arrays]
    dims = jax.tree.leaves(matrix_dims(model))
    for (path, role), (_, leaf), seen_as in zip(named, arrays, dims, strict=True):
        where = jax.tree_util.keystr(path)
        assert role in ("matrix", "embedding", "vector"), where
        dimensions = 3 if ".channel_mixer" in where and "moe" in name and leaf.ndim == 3 else 2
        seen = seen_as.matrix(leaf) if role == "matrix" else leaf
        assert role == "vector" or seen.ndim == dimensions, where
        assert role == "vector" or leaf.ndim != 1, where
        assert (role == "embedding") == where.startswith((".embedding", ".positions", ".head")) or (
            where.endswith(".router")
        ), where
        assert leaf.dtype == np.float32, where


@pytest.mark.slow
def test_layers_drawn_together_are_those_drawn_alone() -> None:
    """Catches a layer with another's key or place in the stack."""
    key = jax.random.key(3)
    for config in (tiny("jamba-nano"), tiny("rwkv7-nano", n_layer=2)):
        keys = jax.random.split(jax.random.split(key, 4)[3], config.n_layer)

        def alone(key: Any, layer: int, config: ModelConfig = config) -> Any:
            block = Block.init(config.block(layer), config, key).placed(layer, config.n_layer)
            return scale_residual(block, config.n_residual**-0.5)

        for layer, block in enumerate(new(config, 3).blocks):
            wanted = jit(alone, static_argnums=1)(keys[layer], layer)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), block, wanted)


@pytest.mark.slow
def test_what_writes_into_the_residual_stream_is_scaled_by_the_depth() -> None:
    """Standard deviation 0.02 / sqrt(2 n_layer) for GPT-2's, the uniform bound over sqrt(n_layer) for Mamba's; nothing
    else is scaled. 24 * 24 draws give 3 percent (1 sigma); 12 are allowed, four layers are averaged."""
    model = new(tiny("gpt2-small", n_layer=8))
    for weights, want in (
        ([block.mixer.wo for block in model.blocks], 0.02 / 4),
        ([block.channel_mixer.down for block in model.blocks], 0.02 / 4),
        ([block.mixer.wq for block in model.blocks], 0.02),
        ([block.channel_mixer.up for block in model.blocks], 0.02),
    ):
        assert abs(np.std(weights) / want - 1) < 0.06
    model = new(tiny("mamba-130m", n_layer=4))
    assert abs(np.abs([block.mixer.w_out for block in model.blocks]).max() * np.sqrt(48) * 2 - 1) < 0.02
    assert abs(np.abs([block.mixer.w_in for block in model.blocks]).max() * np.sqrt(24) - 1) < 0.02
    assert tiny("jamba-nano").n_residual == 8


def test_layers_begin_different_and_from_the_key_alone() -> None:
    """Catches one key used for two layers, and randomness from elsewhere."""
    config = tiny("gpt-nano", n_layer=3)
    model, same, other = new(config), new(config), new(config, seed=1)
    matrices = [block.channel_mixer.up for block in model.blocks]
    assert len({np.asarray(array).tobytes() for array in matrices}) == 3
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), model, same)))
    assert not (model.embedding == other.embedding).any()


# the whole model against NumPy


def by_hand(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    """Logits of one row [T], from the papers' equations."""
    config = model.config

    def norm(weights: Any, x: np.ndarray) -> np.ndarray:
        if hasattr(weights, "bias"):
            return (x - x.mean(-1, keepdims=True)) / np.sqrt(
                x.var(-1, keepdims=True) + 1e-5
            ) * weights.scale + weights.bias
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weights.scale

    def mlp(weights: Any, x: np.ndarray) -> np.ndarray:
        activation = {
            "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
            "silu": reference.silu,
            "relu2": lambda x: np.maximum(x, 0) ** 2,
        }[weights.config.activation]
        up_bias, down_bias = (0 if bias is None else bias for bias in (weights.up_bias, weights.down_bias))
        up = x @ weights.up + up_bias
        hidden = activation(up) if weights.gate is None else activation(x @ weights.gate) * up
        return hidden @ weights.down + down_bias

    def mix(mixer: Any, x: np.ndarray) -> np.ndarray:
        one = np.zeros(len(x), int)
        if isinstance(mixer.config, MambaConfig):
            taps, inner = mixer.conv.shape
            return reference.mamba(official(mixer), x, one, np.zeros((taps - 1, inner)), np.zeros(mixer.A_log.T.shape))[
                0
            ]
        attention, weights = mixer.config, attention_weights(mixer)
        return reference.attention(
            weights, x, one, [], attention.n_head, attention.kv_heads, None, attention.rope_theta
        )

    x = model.embedding[ids] + (0 if model.positions is None else model.positions[: len(ids)])
    for block in model.blocks:
        x = x + mix(block.mixer, norm(block.norm, x))
        if block.channel_mixer is not None:
            x = x + mlp(block.channel_mixer, norm(block.channel_norm, x))
    head = model.embedding if config.tie_embeddings else model.head
    return norm(model.norm, x) @ head.T


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gpt-nano", {}),
        ("gpt2-small", {"n_layer": 2}),
        ("mamba-nano", {"tie_embeddings": False}),
        ("jamba-nano", {"n_layer": 5}),
    ],
)
def test_a_model_computes_its_equations(name: str, changes: dict[str, Any]) -> None:
    """Catches a norm left out or put after the residual, an untied or transposed head, positions added twice, layers in
    the wrong order."""
    with precision("float64"):
        config = tiny(name, dtype="float64", **changes)
        model = moved(new(config), "float64")
        ids = tokens(31, 2, 9)
        logits = np.asarray(call(model, ids))
        assert error(logits, np.stack([by_hand(model, row) for row in np.asarray(ids)])) < 1e-12


# one code path for all depths


@pytest.mark.slow
def test_deep_models_scan_over_their_periods_to_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, gradients and dropout's masks of 5 layers of period 2, scanned and unrolled. Catches layers that the
    scan takes in another order, a last part left out, and layers whose dropout key differs between the two."""
    with precision("float64"):
        attention = AttentionConfig(n_head=3)
        config = ModelConfig(
            (BlockConfig(MambaConfig(state_size=3)), BlockConfig(attention, MLPConfig(1.5))),
            5,
            18,
            31,
            dropout=0.2,
            dtype="float64",
        )
        model = moved(new(config), "float64")
        ids, key = tokens(31, 2, 9), jax.random.key(3)
        weight = np.random.default_rng(1).standard_normal((2, 9, 31))

        def run() -> Any:
            """A new function each time, so that each compiles with its own setting."""
            return jit(jax.value_and_grad(lambda model: (model(ids, key=key).logits * weight).sum()))(model)

        monkeypatch.setattr(language_model, "UNROLL_UP_TO", config.n_layer - 1)
        value, slopes = run()
        monkeypatch.setattr(language_model, "UNROLL_UP_TO", config.n_layer)
        want, wanted = run()
        monkeypatch.undo()
        assert abs(value - want) < 1e-9 * abs(want)
        worst = jax.tree.map(lambda a, b: error(np.asarray(a), np.asarray(b)), slopes, wanted)
        assert max(jax.tree.leaves(worst)) < 1e-9


# dropout


def test_dropout_is_on_with_a_key_and_off_without() -> None:
    """Off without a key, whatever the rate; on with one, and other masks for another key; the same key gives the same
    masks."""
    config = tiny("jamba-nano", dropout=0.3)
    model, ids = new(config), tokens(31, 2, 9)
    plain = np.asarray(call(model, ids))
    np.testing.assert_array_equal(
        plain, call(dataclasses.replace(model, config=dataclasses.replace(config, dropout=0.0)), ids)
    )
    one, again, other = (np.asarray(call(model, ids, jax.random.key(n))) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - plain).max() > 1e-3 and np.abs(one - other).max() > 1e-3
    assert (one != other).any(-1).all()  # at every token


@pytest.mark.slow
def test_every_use_of_dropout_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding, each layer's two branches and each block of its attention weights: catches two masks that are the
    same."""
    keys = []
    drop = Dropout.__call__

    def watched(self: Dropout, x: Any) -> Any:
        keys.append((tuple(np.asarray(jax.random.key_data(self.key)).tolist()), x.shape))
        return drop(self, x)

    monkeypatch.setattr(Dropout, "__call__", watched)
    monkeypatch.setattr(language_model, "run_block", language_model.run_block.__wrapped__)  # keys with values
    config = tiny("gpt-nano", n_layer=3, dropout=0.3)
    new(config)(tokens(31, 1, 70), key=jax.random.key(0))
    assert len(keys) == 1 + 3 * (2 + 2)  # 70 tokens: two blocks of queries
    assert len({key for key, _ in keys}) == len(keys)
    assert {shape[-1] for _, shape in keys} == {
        24,
        64,
        70,
    }  # the residual stream, and attention weights up to their keys


def test_dropout_keeps_the_mean() -> None:
    """200,000 elements at rate 0.3: the kept share has a deviation of 0.001, so 0.006 is a false alarm in 1e8 runs (and
    the key is fixed). Rows differ: a mask is not one row repeated."""
    x = np.asarray(Dropout(jax.random.key(0), 0.3)(jnp.ones((20, 100, 100))))
    assert set(np.unique(x)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((x == 0).mean() - 0.3) < 0.006 and abs(x.mean() - 1) < 0.006 / 0.7
    assert len({row.tobytes() for row in x.reshape(-1, 100)}) == 2000


# precision


@pytest.mark.parametrize("name", ["gpt2-small", "jamba-nano"])
@pytest.mark.slow
def test_bfloat16_activations_stay_near_float32(name: str) -> None:
    """Logits within 4 percent (8 bits of mantissa, 8 layers), gradients finite and in float32, decoding too; strict
    promotion finds an operation that mixes dtypes by accident, which float32 alone never shows."""
    with precision("float32"):
        config = tiny(name, dtype="bfloat16")
        model, ids = moved(new(config), "float32"), tokens(31, 2, 9)
        want = np.asarray(call(dataclasses.replace(model, config=dataclasses.replace(config, dtype="float32")), ids))

        def loss(model: LanguageModel) -> Any:
            logits = model(ids).logits
            return jnp.mean(jax.nn.logsumexp(logits, -1)), logits

        (_, got), slopes = jit(jax.value_and_grad(loss, has_aux=True))(model)
        assert got.dtype == np.float32
        assert 1e-6 < error(np.asarray(got), want) < 0.04
        assert all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
        called = jit(lambda model: model(ids[:, :8], state=model.init_state(2, 9)))(model)
        logits, _ = jit(lambda model, state: model.step(ids[:, 8], state))(model, called.state)
        assert logits.dtype == np.float32
        assert error(np.asarray(logits), want[:, 8]) < 0.04
        narrow = {str(leaf.dtype) for leaf in jax.tree.leaves(called.state)}
        assert narrow == ({"bfloat16", "int32"} if name == "gpt2-small" else {"bfloat16", "float32", "int32"})


@pytest.mark.slow
def test_float64_activations_over_float32_parameters() -> None:
    """Parameters stay float32 whatever the activations are; nothing on the way falls back to float32."""
    with precision("float64"):
        config = tiny("jamba-nano", dtype="float64")
        model, ids = moved(new(config), "float32"), tokens(31, 2, 9)
        want = call(jax.tree.map(lambda a: a.astype(np.float64), model), ids)
        got = call(model, ids)
        assert got.dtype == np.float64
        assert error(np.asarray(got), np.asarray(want)) < 1e-12
        assert jax.tree.leaves(jax.eval_shape(lambda model: model.init_state(2, 9), model))[0].dtype == np.float64


# configs


@pytest.mark.parametrize("name", presets())
def test_a_config_survives_json(name: str) -> None:
    config = preset(name)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (("n_layers",), 3, "did you mean 'n_layer'"),
        (("type",), "modle", "did you mean 'model'"),
        (("pattern", 0, "mixer", "type"), "atention", "did you mean 'attention'"),
        (("pattern", 0, "mixer", "n_heads"), 3, "did you mean 'n_head'"),
        (("pattern", 0, "mixer"), {"n_head": 3}, "config type"),
        (("pattern", 0, "mixer"), {"type": "mlp"}, "mixer"),
        (("pattern", 0, "channel_mixer", "activation"), "gelo", "gelu"),
        (("pattern",), [], "pattern"),
        (("n_layer",), "four", "whole number"),
        (("n_layer",), 4.5, "whole number"),
        (("n_layer",), True, "whole number"),
        (("n_layer",), 0, "n_layer"),
        (("hidden_size",), 126, "n_head"),
        (("dropout",), 1.0, "dropout"),
        (("dtype",), "float16", "bfloat16"),
    ],
)
def test_a_wrong_config_is_refused_in_a_sentence(path: tuple[Any, ...], value: Any, word: str) -> None:
    """A file edited by hand or from another version: the sentence names the nearest word, or what is allowed."""
    plain = to_json(preset("gpt-nano"))
    place = functools.reduce(lambda part, key: part[key], path[:-1], plain)
    place[path[-1]] = value
    with pytest.raises(UserError, match=word):
        from_json(plain)


def test_a_config_with_a_field_left_out_is_refused_in_a_sentence() -> None:
    plain = to_json(preset("gpt-nano"))
    del plain["n_layer"]
    with pytest.raises(UserError, match="n_layer"):
        from_json(plain)


def test_unknown_presets_name_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'gpt2-small'"):
        preset("gpt2-smal")


def test_override_reaches_the_model_and_every_part_that_has_the_field() -> None:
    """Also in the mixed layers of a hybrid, where only some have it; the others stay as they are."""
    jamba = preset("jamba-nano")
    changed = override(
        jamba, n_head=8, window=16, n_kv_head=2, state_size=4, width=2.0, n_layer=3, dropout=0.1, vocab_size=None
    )
    assert (changed.n_layer, changed.dropout, changed.vocab_size) == (3, 0.1, jamba.vocab_size)
    for before, block in zip(jamba.pattern, changed.pattern, strict=True):
        assert block.channel_mixer == dataclasses.replace(before.channel_mixer, width=2.0)
        if isinstance(block.mixer, AttentionConfig):
            assert block.mixer == dataclasses.replace(before.mixer, n_head=8, window=16, n_kv_head=2)
        else:
            assert block.mixer == dataclasses.replace(before.mixer, state_size=4)
    assert override(preset("gpt-nano"), n_head=4) == preset("gpt-nano")  # the value it has already
    assert override(preset("gpt2-small"), norm=LayerNormConfig(bias=False)).norm.bias is False
    for config, change in (
        (preset("mamba-nano"), {"n_head": 4}),
        (preset("gpt-nano"), {"state_size": 4}),
        (jamba, {"heads": 4}),
    ):
        with pytest.raises(UserError, match=next(iter(change))):
            override(config, **change)
    with pytest.raises(UserError, match="n_head"):
        override(preset("gpt-nano"), n_head=5)
    with pytest.raises(UserError, match="conv_size"):
        override(preset("mamba-nano"), conv_size=0)


def test_overriding_changes_what_is_built() -> None:
    model = shapes(override(tiny("jamba-nano"), n_kv_head=1, state_size=7, tie_embeddings=False, learned_positions=12))
    assert model.blocks[-1].mixer.wk.shape == (24, 8)
    assert model.blocks[0].mixer.A_log.shape == (7, 48)
    assert model.head.shape == (31, 24) and model.positions.shape == (12, 24)
