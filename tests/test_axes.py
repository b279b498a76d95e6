"""Every parameter names its dimensions (`core.axes`), and a name is a size."""

import dataclasses
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from linearnexus.core.axes import AXES, OF_ONE_PRODUCT, Axes
from linearnexus.core.errors import UserError
from linearnexus.core.layers import RMSNorm, _parts_apart, _parts_side_by_side, linear, linear_parts
from linearnexus.core.module import axes, matrix, matrix_dims, module, named_leaves, part, roles, static, table, vector
from linearnexus.mixers.configs import AttentionConfig, LatentAttentionConfig, MLPConfig, MoEConfig
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import PRESETS, preset
from linearnexus.models.quantize import quantize
from linearnexus.models.stacked import stacked_shapes
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.lora import Adapters
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizer import Optimizer
from linearnexus.training.step import new_state
from tests.laws.subjects import mixer_examples
from tests.tiny import MODELS

BUNDLED = {name: config for name, config in mixer_examples().items() if type(config).__module__.startswith("linearn")}


def declared(tree: Any) -> dict[str, tuple[tuple[int, ...], Axes]]:
    """The shape and the axes of each parameter, by its place."""
    found: dict[str, tuple[tuple[int, ...], Axes]] = {}
    names = named_leaves(tree)
    pairs: list[tuple[Any, Axes]] = []
    jax.tree.map(lambda leaf, own: pairs.append((leaf.shape, own)), tree, axes(tree))
    found.update(zip(names, pairs, strict=True))
    return found


def check_sizes(tree: Any, known: dict[str, int]) -> None:
    """Each parameter has a name for each dimension, and dimensions of one name have one size."""
    sizes = dict(known)
    for place, (shape, names) in declared(tree).items():
        assert len(names) == len(shape), place
        for name, size in zip(names, shape, strict=True):
            if name is not None and name not in OF_ONE_PRODUCT:
                assert sizes.setdefault(name, size) == size, f"{place}: {name} is {sizes[name]}, and {size} here"


def all_declared(tree: Any) -> bool:
    """Does no array leave its names to be unknown?"""
    if isinstance(tree, tuple | dict):
        return all(map(all_declared, tree.values() if isinstance(tree, dict) else tree))
    if not dataclasses.is_dataclass(tree):
        return True
    return all(
        field.metadata["axes"] is not None if "role" in field.metadata else all_declared(getattr(tree, field.name))
        for field in dataclasses.fields(tree)
        if not field.metadata.get("static")
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_of_a_preset(name: str) -> None:
    """Catches a parameter without names, or with a name too many, and a name of another size."""
    config = preset(name)
    model = LanguageModel.shapes(config)
    assert all_declared(model)
    check_sizes(dataclasses.replace(model, blocks=()), {"embed": config.hidden_size, "vocab": config.vocab_size})
    for block in model.blocks[: len(config.pattern)]:
        for one in (block.mixer, block.channel_mixer):
            check_sizes(one, {"embed": config.hidden_size})
        check_sizes((block.norm, block.channel_norm), {"embed": config.hidden_size})


@pytest.mark.parametrize("name", BUNDLED)
def test_every_parameter_of_a_mixer(name: str) -> None:
    """With the settings that differ from the defaults, whose sizes differ from one another."""
    config = BUNDLED[name]
    width = next(size for size in range(12, 200) if accepts(config, size))
    shapes = jax.eval_shape(lambda: config.init(width, jax.random.key(0)))
    assert all_declared(shapes)
    check_sizes(shapes, {"embed": width})


def accepts(config: Any, size: int) -> bool:
    try:
        config.check(size)
    except ValueError:
        return False
    return True


def test_the_names_are_those_that_are_meant() -> None:
    """A few written out: a stack of matrices, one of several parts, a norm that is not of the residual stream, a name
    that depends on the config."""
    own = LatentAttentionConfig(n_head=2, q_rank=3)
    experts = MoEConfig(4, 2, shared_width=0.5)
    patterns = {"latent": (BlockConfig(own, experts),), "jamba": MODELS["jamba"].pattern}
    found = {
        name: {
            place: names for place, (_, names) in declared(LanguageModel.shapes(ModelConfig(pattern, 2, 32))).items()
        }
        for name, pattern in patterns.items()
    }
    latent, jamba = found["latent"], found["jamba"]
    assert latent["embedding"] == ("vocab", "embed") and latent["norm.scale"] == ("embed",)
    assert latent["blocks.0.mixer.wq"] == ("rank", "query_heads") and latent["blocks.0.mixer.norm.scale"] == ("rank",)
    assert latent["blocks.1.channel_mixer.up"] == ("expert", "embed", "ffn")
    assert latent["blocks.1.channel_mixer.shared.up"] == ("embed", "shared_ffn")
    assert jamba["blocks.0.mixer.w_in"] == ("embed", None, "inner")
    assert jamba["blocks.0.mixer.A_log"] == ("state", "inner")


@pytest.mark.slow
def test_adapters_and_optimizers_have_the_names_of_what_they_belong_to() -> None:
    """Also beside a matrix of several parts, and beside each of a stack; an optimizer's moments are named like the
    parameters, its counts have no names."""
    block = BlockConfig(MODELS["mamba"].pattern[0].mixer, MoEConfig(4, 2))
    model = LanguageModel.init(ModelConfig((block,), 1, 32, vocab_size=13), jax.random.key(0))
    adapters = Adapters.init(model, SFTConfig(model=model.config, rank=2, method="dora"), 0)
    names = {place: own for place, (_, own) in declared(adapters).items()}
    w_in = {name: names[f"layers.blocks.0.mixer.w_in.{name}"] for name in ("A", "B", "magnitude")}
    assert w_in == {"A": ("embed", "adapter_rank"), "B": ("adapter_rank", None), "magnitude": (None,)}
    assert names["layers.blocks.0.channel_mixer.down.A"] == ("expert", "ffn", "adapter_rank")
    assert names["layers.blocks.0.mixer.x_proj.B"] == ("adapter_rank", None)
    assert adapters.layers["blocks.0.mixer.w_in"].B.shape == (2, 2 * 64)
    changed = jax.tree.map(lambda array: array + 0.1, adapters).merged(model).blocks[0].mixer.w_in
    assert changed.shape == model.blocks[0].mixer.w_in.shape
    for optimizer in ("adamw", "muon", "lion", "sophia"):
        config = TrainConfig(model=model.config, optimizer=optimizer)
        state = declared(jax.eval_shape(lambda config=config: new_state(model, Optimizer.of(config))).optimizer)
        own = declared(model)
        kept = {place: known for place, known in state.items() if any(place.endswith(f".{name}") for name in own)}
        assert len(kept) >= len(own)
        for place, (shape, known) in kept.items():
            assert (shape, known) == next(own[name] for name in own if place.endswith(f".{name}")), place
        assert all(set(known) <= {None} for place, (_, known) in state.items() if place not in kept)


@module
class Several:
    plain: Array = matrix()  # names nothing, as a module of a user's own may
    stack: Array = matrix("expert", "embed", "ffn")
    parts: Array = matrix("embed", (None, "inner"))
    inner: Array = matrix(("head", "key"), "embed")
    rows: Array = table("vocab", "embed")
    bias: Array = vector("inner")
    norm: RMSNorm = part(embed="inner")


SEVERAL = Several(
    jnp.ones((2, 3, 4)),
    jnp.ones((2, 3, 4)),
    jnp.arange(24.0).reshape(3, 2, 4),
    jnp.ones((2, 3, 4)),
    jnp.ones((5, 3)),
    jnp.ones(4),
    RMSNorm.init(4),
)


def test_a_field_says_how_it_is_seen_as_a_matrix() -> None:
    """The last two that are named are rows and columns; a field that names nothing has no names, whatever its shape,
    and its last two dimensions are its matrix."""
    dims = matrix_dims(SEVERAL)
    assert (dims.plain.rows, dims.plain.columns) == (dims.stack.rows, dims.stack.columns) == ((-2,), (-1,))
    assert (dims.parts.rows, dims.parts.columns) == ((-3,), (-2, -1))
    assert (dims.inner.rows, dims.inner.columns) == ((-3, -2), (-1,))
    assert dims.rows is SEVERAL.rows and dims.bias is SEVERAL.bias
    seen = {name: getattr(dims, name).matrix(getattr(SEVERAL, name)).shape for name in ("plain", "parts", "inner")}
    assert seen == {"plain": (2, 3, 4), "parts": (3, 8), "inner": (6, 4)}
    assert dims.parts.matrix(jax.ShapeDtypeStruct((7, 3, 2, 4), "float32")).shape == (7, 3, 8)  # of stacked layers
    assert dims.parts.axes(("embed", None, "inner")) == ("embed", None)
    found = axes(SEVERAL)
    assert found.plain == (None, None, None) and found.inner == ("head", "key", "embed")
    assert found.norm.scale == ("inner",) and roles(SEVERAL).norm.scale == "vector"


def test_a_matrix_of_several_parts_is_one_product_and_one_int8_matrix() -> None:
    """`linear_parts` is `linear` with the columns cut afterwards; int8 has a scale for each column."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    whole = SEVERAL.parts.reshape(3, 8)
    for got, want in zip(linear_parts(x, SEVERAL.parts), jnp.split(linear(x, whole), 2, axis=-1), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(_parts_apart(x[0], SEVERAL.parts), _parts_side_by_side(x[0], SEVERAL.parts), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    small = quantize(SEVERAL, "int8")
    assert small.parts.scale.shape == (1, 2, 4) and small.plain.scale.shape == (2, 1, 4)
    assert small.rows.scale.shape == (5, 1) and small.bias is SEVERAL.bias
    for got, want in zip(linear_parts(x, small.parts), jnp.split(x @ whole, 2, axis=-1), strict=True):
        np.testing.assert_allclose(got, want, atol=0.01 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "lion"])
def test_a_matrix_of_several_parts_is_updated_as_one(optimizer: str) -> None:
    """The same numbers in two dimensions get the same updates. Catches parts that Muon takes for a stack of
    matrices."""

    @module
    class Stored:
        parts: Array = matrix("embed", (None, "inner"))
        kind: str = static(default="stored")  # JAX finds the structures of two dataclasses equal but for such fields

    @module
    class Flat:
        parts: Array = matrix("embed", "inner")
        kind: str = static(default="flat")

    weight = jax.random.normal(jax.random.key(0), (6, 2, 5))
    gradients = [jax.random.normal(jax.random.key(seed), weight.shape) for seed in (1, 2, 3)]
    built = Optimizer.of(TrainConfig(model=preset("gpt-nano"), optimizer=optimizer))
    found = []
    for cls, shape in ((Stored, (6, 2, 5)), (Flat, (6, 10))):
        model = cls(weight.reshape(shape))
        state = built.init(model)
        with jax.numpy_dtype_promotion("standard"):
            for gradient in gradients:
                updates, state = built.update(cls(gradient.reshape(shape)), state, model, lambda _: jnp.zeros(()))
        found.append(np.asarray(updates.parts).reshape(-1))
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-7)


def test_a_name_that_nothing_has() -> None:
    """It raises where the class is defined, and names the nearest; so do a name that comes twice, and another number
    of names than dimensions."""
    with pytest.raises(UserError, match="no axis named 'embedd'; did you mean 'embed'"):
        matrix("embedd", "heads")
    with pytest.raises(UserError, match="no axis named 'innr'"):
        matrix("embed", (None, "innr"))
    with pytest.raises(UserError, match="no axis named 'hidden'"):
        part(hidden="inner")
    with pytest.raises(ValueError, match="'embed' twice"):
        vector("embed", "embed")
    wrong = dataclasses.replace(SEVERAL, bias=jnp.ones((2, 4)))
    with pytest.raises(UserError, match=r"Several\.bias names 1 dimensions and has 2"):
        axes(wrong)


def test_every_name_is_used_and_explained() -> None:
    """Catches a name that is left behind; "layer" is for whoever stacks layers."""
    used = {name for build in PRESETS.values() for name in used_in(build())}
    used |= {name for config in BUNDLED.values() for name in used_in(config)}
    full = ModelConfig(
        (BlockConfig(LatentAttentionConfig(n_head=2), MoEConfig(4, 2, shared_width=0.5)),), 1, 32, learned_positions=8
    )
    used |= set(used_in(full)) | {"layer", "adapter_rank"}
    assert used == set(AXES)
    assert all(text.endswith(".") and len(text) > 20 for text in AXES.values())


def used_in(config: Any) -> typing.Iterator[str]:
    if isinstance(config, ModelConfig):
        shapes = LanguageModel.shapes(dataclasses.replace(config, n_layer=len(config.pattern)))
    else:
        width = next(size for size in range(12, 200) if accepts(config, size))
        shapes = jax.eval_shape(lambda: config.init(width, jax.random.key(0)))
    for _, names in declared(shapes).values():
        yield from (name for name in names if name is not None)


def test_a_plain_attention_block_by_its_names() -> None:
    config = AttentionConfig(n_head=4, n_kv_head=2, bias=True, qk_norm=True, gate=True)
    shapes = LanguageModel.shapes(ModelConfig((BlockConfig(config, MLPConfig(bias=True)),), 1, 32))
    found = {place.removeprefix("blocks.0.mixer."): names for place, (_, names) in declared(shapes).items()}
    assert found["wq"] == found["wg"] == ("embed", "heads") and found["wo"] == ("heads", "embed")
    assert found["wk"] == found["wv"] == ("embed", "kv_heads") and found["bk"] == ("kv_heads",)
    assert found["q_norm.scale"] == ("key",)


def test_stacked_layers_have_one_dimension_more() -> None:
    """Catches a deep model whose stacked weights would be sharded by the names of other dimensions."""
    model = stacked_shapes(LanguageModel.shapes(preset("mamba2-130m")))
    named = jax.tree.map(lambda array, names: (array.shape, names), model, axes(model))
    assert named.blocks.periods[0].mixer.w_out == ((24, 1536, 768), ("layer", "inner", "embed"))
    assert named.embedding[1] == ("vocab", "embed")
