"""Models whose layers are stacked while they train, and what a gradient computes again: neither changes the results.

Look first at: `test_no_policy_changes_the_numbers`, `test_a_stacked_step_is_an_unstacked_one`.
"""

import dataclasses
from functools import cache
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus.core.errors import UserError
from linearnexus.core.module import named_leaves, roles
from linearnexus.mixers.configs import AttentionConfig, MLPConfig, MoEConfig, RWKV7Config, RWKVMLPConfig
from linearnexus.models import language_model
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig, Remat
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.stack import Stack
from linearnexus.models.stacked import (
    has_stacks,
    layer_names,
    stacked,
    stacked_shapes,
    take_stacked,
    unstacked,
    with_remat,
)
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.lora import Adapters
from linearnexus.training import checkpoint, launch
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizer import Optimizer, check_patterns
from linearnexus.training.recipes import resumed_config
from linearnexus.training.step import TrainState, new_state, random_state, train_step
from tests import killed, tiny
from tests.laws.law import error, precision
from tests.laws.subjects import moved
from tests.steps import QUICK, arguments, losses

_GPT = BlockConfig(AttentionConfig(n_head=2), MLPConfig(2.0, activation="silu", gated=True))
_MOE = BlockConfig(AttentionConfig(n_head=2), MoEConfig(n_expert=3, width=1.0))
MODELS = {
    "losses": ModelConfig((_GPT, _MOE), 5, 16, 13, dropout=0.2),  # a last part that is no whole period
    "shared": ModelConfig(  # the first period by itself
        (BlockConfig(RWKV7Config(n_head=2, decay_rank=3, a_rank=3, v_rank=3), RWKVMLPConfig(2.0, False)),),
        4,
        16,
        13,
        norm=LayerNormConfig(),
        input_norm=True,
        dropout=0.2,
    ),
}


@cache
def _init(config: ModelConfig) -> LanguageModel:
    return jax.jit(lambda: LanguageModel.init(config, jax.random.key(1)), compiler_options=QUICK)()


def batch(count: int = 1) -> tuple[Any, ...]:
    """Inputs, targets, starts and weights [A, B, T], these in the widest dtype that JAX has now."""
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(0, 13, (count, 2, 10)), jnp.int32)
    starts = jnp.asarray(rng.random((count, 2, 9)) < 0.2)
    weights = jnp.asarray(rng.random((count, 2, 9)))
    return ids[..., :-1], ids[..., 1:], starts, weights


def slopes(model: LanguageModel, count: int = 1) -> Any:
    """The loss and its gradient, with dropout, packing and the losses of mixers."""
    given = batch(count)
    key = jax.random.key(2)
    function = jax.jit(jax.value_and_grad(lambda model: losses(model, *given[:2], key, *given[2:])[0]))
    return function(model)


def largest_error(one: Any, other: Any) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: error(np.asarray(a), np.asarray(b)), one, other)))


def same(one: Any, other: Any) -> bool:
    """Have both trees the same structure and bits?"""
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        np.array_equal(*pair) for pair in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "deep"),
    [
        ("losses", True),
        ("losses", False),
        ("shared", True),
    ],
)
@pytest.mark.slow
def test_no_policy_changes_the_numbers(name: str, deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients, unrolled and scanned over a stack, under every policy, in float64. Catches a recomputed
    block that draws other masks, sees other starts, or loses its loss or what it shares."""
    drawn = _init(MODELS[name])
    with precision("float64"):
        config = dataclasses.replace(MODELS[name], dtype="float64")
        model = moved(drawn, "float64")
        model = dataclasses.replace(model, config=config)
        want, wanted = slopes(model)
        if deep:
            monkeypatch.setattr(language_model, "UNROLL_UP_TO", 2)
            model = stacked(model)
            assert isinstance(model.blocks, Stack)
        for policy in get_args(Remat):
            value, gradient = slopes(with_remat(model, policy))
            assert abs(value - want) < 1e-12 * abs(want), policy
            assert largest_error(unstacked(with_remat(gradient, "norms")), wanted) < 1e-9, policy


def test_policies_keep_what_they_say() -> None:
    """Arrays that the forward pass keeps for the backward one: fewer from policy to policy. Catches a policy that is
    not passed on, and a norm that is computed again where nothing should be."""
    model, given = _init(MODELS["losses"]), batch()[0][0]

    def kept(policy: Remat) -> int:
        _, back = jax.vjp(lambda model: with_remat(model, policy)(given).logits.sum(), model)
        return sum(leaf.nbytes for leaf in jax.tree.leaves(back))

    sizes = [kept(policy) for policy in get_args(Remat)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)


def test_an_unknown_policy_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="remat is all; give one of none, norms, dots, block"):
        tiny.config("gpt", remat="all")
    before = tiny.config("gpt", "text.txt").resolved()
    assert resumed_config(before, {"remat": "block"}, tmp_path) == dataclasses.replace(before, remat="block")


# --- Stacks -----------------------------------------------------------------------------------------------------------


def settings(name: str, optimizer: str = "adamw", **options: Any) -> TrainConfig:
    given = tiny.config("gpt", "text.txt", optimizer=optimizer, **options)
    return dataclasses.replace(given, model=MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_a_stack_is_taken_apart_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, names, roles and optimizer state. Catches layers in another order, a name that is not that of its layer,
    and a stacked weight that an optimizer takes for another kind of parameter."""
    monkeypatch.setattr(language_model, "UNROLL_UP_TO", 2)
    model = _init(MODELS[name])
    together = stacked(model)
    assert len(together.blocks) == len(model.blocks) and has_stacks(together) and not has_stacks(model)
    assert stacked(together) is together or jax.tree.structure(stacked(together)) == jax.tree.structure(together)
    assert same(unstacked(together), model) and same(together.blocks[3], model.blocks[3])
    places, kinds = named_leaves(model), named_leaves(roles(model))
    found = []
    for names, leaf, role in zip(
        layer_names(together), jax.tree.leaves(together), jax.tree.leaves(roles(together)), strict=True
    ):
        found += names
        np.testing.assert_array_equal(np.stack([places[one] for one in names]).reshape(leaf.shape), leaf)
        assert {kinds[one] for one in names} == {role}
    assert sorted(found) == sorted(places)
    for optimizer in map(Optimizer.of, (settings(name, "adamw"), settings(name, "muon"))):
        one, other = (optimizer.init(form) for form in (together, model))
        assert jax.tree.structure(unstacked(one)) == jax.tree.structure(other)
    copy = jax.tree.map(jnp.copy, model)
    assert same(take_stacked(copy), together)
    assert copy.blocks[2].norm.scale.is_deleted() and not copy.embedding.is_deleted()


@pytest.mark.parametrize(
    ("name", "optimizer"), [("shared", "muon"), *(("losses", name) for name in ("adamw", "lion", "muon", "sophia"))]
)
@pytest.mark.slow
def test_a_stacked_step_is_an_unstacked_one(name: str, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps with clipping, accumulation, and patterns that tell layers of one stack apart, from the same state in
    both forms. Sophia, which draws a number for each parameter, is not given stacks. Catches an optimizer that takes a
    stack for one parameter, and a pattern that is applied to all layers."""
    monkeypatch.setattr(language_model, "UNROLL_UP_TO", 2)
    rules = ("blocks.2.*=0.5", "blocks.*.norm.scale=0.1", "embedding=2"), ("blocks.3.mixer.*=0.3", "embedding=0")
    config = settings(name, optimizer, rate=rules[0], decay=rules[1], gradient_clip=0.5)
    state = random_state(config)
    assert has_stacks(state) == (optimizer != "sophia")
    check_patterns(config, state.model)
    before = unstacked(jax.tree.map(jnp.copy, state))
    step = jax.jit(train_step.__wrapped__, compiler_options=QUICK)
    for _ in range(3):
        given = arguments(state, *batch(2)[:2], 1e-3, config)
        state, metrics = step(*given)
        before, wanted = step(before, *given[1:])
        assert abs(float(metrics["loss"]) - float(wanted["loss"])) < 1e-5
    for (place, one), other in zip(named_leaves(unstacked(state)).items(), jax.tree.leaves(before), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-5, err_msg=place)


@pytest.mark.parametrize("policy", get_args(Remat))
@pytest.mark.slow
def test_sophia_differentiates_every_policy(policy: Remat) -> None:
    """Forward over reverse: the estimate of the Hessian is that of `norms`."""
    config = tiny.config("gpt", optimizer="sophia")
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 5, (1, 4, 33)), jnp.int32)
    step = jax.jit(train_step.__wrapped__, compiler_options=QUICK, static_argnames="remat")
    given = arguments(random_state(config), ids[..., :-1], ids[..., 1:], 1e-3, config)
    one, other = (step(*given, remat=remat)[0].optimizer for remat in (policy, "norms"))
    assert largest_error(one, other) < 1e-5


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("targets", [(), ("wq", "blocks.3", "blocks.4.channel_mixer.up")])
def test_adapters_of_a_deep_model(method: Any, targets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The effective weights of adapters beside a stacked model are those beside the same model with its layers apart,
    for all layers of a stack and for some of them."""
    monkeypatch.setattr(language_model, "UNROLL_UP_TO", 2)
    model = _init(MODELS["losses"])
    config = SFTConfig(model=model.config, data="", method=method, rank=2, targets=targets)
    one, other = (Adapters.init(form, config, 0) for form in (model, stacked(model)))
    assert same(one, other)
    one = jax.tree.map(lambda leaf: leaf + 0.1, one)
    assert largest_error(unstacked(one.merged(stacked(model))), one.merged(model)) < 1e-6
    state = new_state(one, Optimizer.of(config))
    assert jax.tree.structure(state.model) == jax.tree.structure(one)


def test_files_have_a_tensor_a_layer(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a stacked state is that of the same state with its layers apart, byte for byte, and is read into
    either form."""
    monkeypatch.setattr(language_model, "UNROLL_UP_TO", 2)
    model = _init(MODELS["losses"])
    state = new_state(model, Optimizer.of(settings("losses", "muon")))
    for tree, name in ((state.model, "model"), (state.optimizer, "optimizer")):
        together, apart = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.apart.safetensors"
        checkpoint.write_tensors(together, tree)
        checkpoint.write_tensors(apart, unstacked(tree))
        assert together.read_bytes() == apart.read_bytes()
        assert same(checkpoint.load_tree(apart, tree), tree)
        assert same(checkpoint.load_tree(together, unstacked(tree)), unstacked(tree))
    assert "blocks.3.mixer.wq" in checkpoint.load_arrays(tmp_path / "model.safetensors")
    wider = stacked_shapes(LanguageModel.shapes(dataclasses.replace(model.config, n_layer=6)))
    with pytest.raises(UserError, match=r"tensor blocks\.5\."):
        checkpoint.load_tree(tmp_path / "model.safetensors", wider)


# --- Runs -------------------------------------------------------------------------------------------------------------


def train(name: str, optimizer: str) -> Any:
    """A run of 14 layers that dies before its sixth batch where it is asked to."""
    given = tiny.config(
        "gpt",
        "text.txt",
        optimizer=optimizer,
        max_steps=8,
        eval_interval=4,
        eval_batches=1,
        sample_tokens=6,
        ema_decay=0.9,
        gradient_accumulation_steps=2,
        warmup_steps=0,
    )
    model = dataclasses.replace(given.model, n_layer=14, hidden_size=8, dropout=0.1)
    job = launch.open_job
    launch.open_job = _watched(job)
    try:
        return launch.train(dataclasses.replace(given, model=model), name, quiet=True)
    finally:
        launch.open_job = job


def _watched(open_job: Any) -> Any:
    def opened(*given: Any) -> Any:
        job = open_job(*given)
        stream = type(job).stream

        class Watched(type(job)):  # type: ignore[misc]
            def stream(self) -> Any:
                made = stream(self)
                following = made.next

                def next_(step: int, state: TrainState) -> Any:
                    killed.die_at(step)
                    return following(step, state)

                object.__setattr__(made, "next", next_)
                return made

        return Watched(job.config, job.source)

    return opened


@pytest.mark.slow
def test_a_deep_run_resumes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two checkpoints, it ends with the bits of a run that was left alone: weights, their average,
    optimizer, log and samples. The names in its files are those of layers, and it can be resumed under another --remat,
    and be the parent of another run and of adapters."""
    monkeypatch.chdir(tmp_path)
    tiny.text_file(tmp_path)
    alone = killed.resumes(__name__, 5, "muon")
    names = set(checkpoint.load_arrays(alone / "checkpoints/step_00000008/model.safetensors"))
    assert {"blocks.13.mixer.wq", "blocks.0.mixer.wq"} <= names and not any("periods" in name for name in names)
    launch.resume(alone, {"max_steps": 10, "remat": "block"}, quiet=True)
    assert checkpoint.steps(alone / "checkpoints")[-1] == 10


@pytest.mark.slow
def test_a_deep_parent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins with the weights of a deep one, and is stopped and resumed before its first checkpoint."""
    from linearnexus import api

    monkeypatch.chdir(tmp_path)
    tiny.text_file(tmp_path)
    parent = train("parent", "adamw")
    options: dict[str, Any] = {"data": "text.txt", "max_steps": 2, "sample_tokens": 4, "eval_batches": 1}
    for optimizer in ("adamw", "sophia"):
        run = api.train(from_run=parent, name=f"child-{optimizer}", quiet=True, optimizer=optimizer, **options)
        before = checkpoint.load_arrays(run.folder / "base.safetensors")
        start = checkpoint.load_arrays(run.folder / "checkpoints/step_00000001/model.safetensors")
        assert before.keys() == start.keys() and isinstance(run.model.blocks, tuple)
    assert api.find_rate(from_run=parent, **options).suggestion > 0
