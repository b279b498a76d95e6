"""The trainer: schedules, optimizers, the step, the loop, and what a run leaves on the disk.

References are NumPy in float64, or the same quantity computed in another way. Every model is tiny.
"""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from linearnexus import api
from linearnexus.core.errors import UserError
from linearnexus.core.module import matrix, module, roles, table, vector
from linearnexus.data import token_source
from linearnexus.data.batches import WindowBatches, evaluation_windows, split
from linearnexus.mixers.configs import AttentionConfig, MLPConfig, RWKV7Config
from linearnexus.models.architectures import rwkv
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.training import checkpoint
from linearnexus.training import step as step_module
from linearnexus.training.config import TrainConfig
from linearnexus.training.hooks import time_budget
from linearnexus.training.optimizer import Optimizer
from linearnexus.training.report import read_samples
from linearnexus.training.schedules import learning_rate
from linearnexus.training.step import TrainState, random_state, train_step
from tests.steps import QUICK, arguments, losses, quick_step
from tests.tiny import MODELS, PERIOD, config, text_file

OPTIMIZERS = ("adamw", "muon", "sophia", "lion")


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- Schedules --------------------------------------------------------------------------------------------------------


def rates(total: int | None, steps: int, **options: Any) -> list[float]:
    settings = config("gpt", learning_rate=1.0, **options)
    return [learning_rate(settings, step, total) for step in range(steps)]


def test_warm_up_does_not_depend_on_the_length() -> None:
    """Catches a first step at rate 0, a warm-up that ends a step early or late, and one that is a share of the run:
    then a longer run, or one whose length is not measured yet, would begin in another way."""
    for total in (3, 4, 5, 1000, None):
        for schedule in ("cosine", "constant", "wsd"):
            assert rates(total, 4, warmup_steps=4, schedule=schedule) == [0.25, 0.5, 0.75, 1.0]


def test_cosine() -> None:
    """By hand for 4 + 10 steps; the last step, not the one after it, is at min_lr_ratio."""
    got = rates(14, 16, warmup_steps=4, min_lr_ratio=0.2)[4:]
    assert got[0] == 1.0
    assert got[3] == pytest.approx(0.2 + 0.8 * 0.75)  # a third of the way: (1 + cos 60 degrees) / 2
    assert got[6] == pytest.approx(0.2 + 0.8 * 0.25)
    assert got[9:] == pytest.approx([0.2, 0.2, 0.2])
    assert got == sorted(got, reverse=True)


def test_constant() -> None:
    assert rates(14, 16, warmup_steps=4, schedule="constant")[4:] == [1.0] * 12


def test_wsd() -> None:
    """By hand for 4 + 21 steps: at the peak for 16 of the 20 intervals, then down in a straight line."""
    got = rates(25, 25, warmup_steps=4, schedule="wsd", decay_fraction=0.2, min_lr_ratio=0.1)[4:]
    assert got[:17] == pytest.approx([1.0] * 17)
    assert got[17:] == pytest.approx([0.775, 0.55, 0.325, 0.1])


def test_the_rate_stays_at_the_peak_until_the_length_is_known() -> None:
    """Catches an unknown length that is taken for 0: every step after the warm-up would be at the final rate."""
    for schedule in ("cosine", "constant", "wsd"):
        assert rates(None, 100, warmup_steps=4, schedule=schedule)[4:] == [1.0] * 96


def test_a_run_shorter_than_its_warm_up_and_of_one_step() -> None:
    """Catches a division by zero."""
    assert rates(2, 2, warmup_steps=100) == [0.01, 0.02]
    assert rates(1, 1, warmup_steps=0) == [1.0]
    assert rates(5, 5, warmup_steps=4)[-1] == 1.0


# --- Optimizers -------------------------------------------------------------------------------------------------------


@module
class Inner:
    wide: Array = matrix()
    taps: Array = vector()  # a vector by its role, whatever its shape


@module
class Toy:
    """Every role, in shapes that an optimizer going by shape would take for another one."""

    table: Array = table()
    square: Array = matrix()
    tall: Array = matrix(residual=True)
    inner: tuple[Inner, ...]
    bias: Array | None = vector()
    absent: Array | None = vector()


SHAPES = {"table": (20, 12), "square": (12, 12), "tall": (40, 8), "wide": (9, 32), "taps": (12, 12), "bias": (7,)}


def toy(seed: int) -> Toy:
    draw = np.random.default_rng(seed)
    a = {name: jnp.asarray(draw.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}
    return Toy(a["table"], a["square"], a["tall"], (Inner(a["wide"], a["taps"]),), a["bias"], None)


def updates(settings: TrainConfig, model: Any, gradients: list[Any]) -> list[Any]:
    """The optimizer's update after each gradient, for a peak rate of 1; the model stays as it is."""
    optimizer = Optimizer.of(settings)

    @jax.jit
    def update(gradient: Any, state: Any, model: Any) -> Any:
        return optimizer.update(gradient, state, model, lambda model: jnp.zeros(()))

    state, made = optimizer.init(model), []
    for gradient in gradients:
        value, state = update(gradient, state, model)
        made.append(value)
    return made


def by_name(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_goes_by_role(name: str) -> None:
    """With gradients of zero only the decay is left. Catches decay on norms, biases, taps or A_log, a table or a matrix
    that is forgotten, decay that goes by the number of dimensions, and Muon's second learning rate multiplied in."""
    own = {"matrix_learning_rate": 0.05} if name == "muon" else {}
    settings = config("gpt", optimizer=name, learning_rate=0.01, weight_decay=0.3, **own)
    model = toy(0)
    (made,) = updates(settings, model, [jax.tree.map(jnp.zeros_like, model)])
    kinds = by_name(jax.tree.map(lambda role: np.array(role), roles(model)))
    for leaf, value in by_name(made).items():
        expected = 0 if kinds[leaf] == "vector" else -0.3 * by_name(model)[leaf]
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9, err_msg=leaf)
    assert sorted(kinds.values()) == ["embedding", "matrix", "matrix", "matrix", "vector", "vector"]


def test_the_roles_of_every_parameter_of_the_models() -> None:
    """Catches a parameter that is declared with the wrong role: the optimizers believe it."""
    block = BlockConfig(AttentionConfig(n_head=2, rope_theta=None, bias=True, qk_norm=True), MLPConfig(bias=True))
    parts = (block, *MODELS["jamba"].pattern)
    full = ModelConfig(parts, 3, 32, norm=LayerNormConfig(), learned_positions=8, tie_embeddings=False)
    model = LanguageModel.shapes(full)
    found: dict[str, set[str]] = {"matrix": set(), "embedding": set(), "vector": set()}
    for path, role in jax.tree_util.tree_flatten_with_path(roles(model))[0]:
        found[role].add(jax.tree_util.keystr(path[-1:], simple=True))
    assert found["embedding"] == {"embedding", "positions", "head"}
    assert found["matrix"] == {"wq", "wk", "wv", "wo", "up", "down", "w_in", "x_proj", "w_dt", "w_out"}
    assert {"scale", "bias", "conv", "conv_bias", "dt_bias", "A_log", "D", "bq", "bo"} <= found["vector"]


def adamw(model: Any, gradients: list[Any], settings: TrainConfig) -> list[dict[str, np.ndarray]]:
    """Loshchilov and Hutter 2019, algorithm 2, after clipping to the global norm, in float64."""
    b1, b2 = settings.optimizer.beta1, settings.optimizer.beta2
    kinds = by_name(jax.tree.map(lambda role: np.array(role), roles(model)))
    weights = {name: leaf.astype(float) for name, leaf in by_name(model).items()}
    m, v = ({name: np.zeros_like(leaf) for name, leaf in weights.items()} for _ in range(2))
    made = []
    for number, gradient in enumerate(gradients, 1):
        g = {name: leaf.astype(float) for name, leaf in by_name(gradient).items()}
        norm = math.sqrt(sum((leaf**2).sum() for leaf in g.values()))
        share = min(1.0, settings.gradient_clip / norm) if settings.gradient_clip else 1.0
        update = {}
        for name, w in weights.items():
            m[name] = b1 * m[name] + (1 - b1) * share * g[name]
            v[name] = b2 * v[name] + (1 - b2) * (share * g[name]) ** 2
            decay = 0.0 if kinds[name] == "vector" else settings.optimizer.weight_decay
            adam = m[name] / (1 - b1**number) / (np.sqrt(v[name] / (1 - b2**number)) + 1e-8)
            update[name] = -adam - decay * w
        made.append(update)
    return made


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_adamw_is_the_paper(clip: float) -> None:
    """Three updates with gradients of norms around 30, 0.3 and 3. Catches missing bias correction, decay inside the
    moments (that is Adam with L2), betas that are not the config's, and clipping that is absent, by element, or on
    when it is off."""
    settings = config("gpt", gradient_clip=clip, weight_decay=0.3, beta1=0.8, beta2=0.9)
    model = toy(0)
    gradients = [jax.tree.map(lambda g, s=scale: s * g, toy(n)) for n, scale in ((1, 1.0), (2, 0.01), (3, 0.1))]
    for made, expected in zip(updates(settings, model, gradients), adamw(model, gradients, settings), strict=True):
        for name, value in by_name(made).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_lion_is_the_sign_of_the_momentum() -> None:
    """Catches beta1 and beta2 exchanged, and a sign taken of the gradient alone."""
    settings = config("gpt", optimizer="lion", gradient_clip=0.0, weight_decay=0.0, beta1=0.9, beta2=0.6)
    gradients = [toy(n) for n in (1, 2, 3)]
    momentum = dict.fromkeys(by_name(gradients[0]), 0.0)
    for made, gradient in zip(updates(settings, toy(0), gradients), gradients, strict=True):
        for name, g in by_name(gradient).items():
            np.testing.assert_array_equal(by_name(made)[name], -np.sign(0.9 * momentum[name] + 0.1 * g), err_msg=name)
            momentum[name] = 0.6 * momentum[name] + 0.4 * g.astype(float)


def test_muon_orthogonalises_matrices_and_only_them() -> None:
    """A gradient U S V becomes about U V times Jordan's factor, matrix_learning_rate sqrt(max(1, out / in)), though S
    falls to a tenth; what is no matrix gets AdamW's update. Catches a start scaled by the RMS (NaN, or no
    orthogonality), tall matrices taken for wide ones, embeddings or taps orthogonalised, and Nesterov momentum in
    AdamW's part."""
    options: dict[str, Any] = {"learning_rate": 0.01, "weight_decay": 0.0, "gradient_clip": 0.0}
    settings = config("gpt", optimizer="muon", matrix_learning_rate=0.05, **options)

    def flatter(array: Array) -> Array:
        if array.ndim < 2:
            return array
        u, s, vh = np.linalg.svd(array, full_matrices=False)
        return jnp.asarray(u * np.geomspace(1, 0.1, len(s), dtype=np.float32) @ vh)

    gradients = [jax.tree.map(flatter, toy(1)), toy(2)]
    first, second = map(by_name, updates(settings, toy(0), gradients))
    plain = by_name(updates(config("gpt", **options), toy(0), gradients)[-1])
    for name in ("table", "inner.0.taps", "bias"):
        np.testing.assert_allclose(second[name], plain[name], rtol=1e-5, err_msg=name)
    for name in ("square", "tall", "inner.0.wide"):
        u, _, vh = np.linalg.svd(by_name(gradients[0])[name], full_matrices=False)
        factor = 0.05 * math.sqrt(max(1, vh.shape[1] / u.shape[0]))
        in_their_bases = -0.01 * u.T @ first[name] @ vh.T / factor
        values = np.diag(in_their_bases)
        assert values.min() > 0.5 and values.max() < 1.5, (name, values)
        np.testing.assert_allclose(in_their_bases, np.diag(values), atol=1e-4, err_msg=name)
        assert np.abs(second[name]).max() < 0.05 * 1.5 * 2 / 0.01


@pytest.mark.parametrize("kind", ["gpt", "mamba"])
@pytest.mark.slow
def test_sophia_estimates_the_hessian_of_the_very_loss(kind: str) -> None:
    """nu is (1 - beta2) times Hutchinson's estimate s * (H s), here for the same signs s by reverse over reverse, at
    the steps 0 and 10 and at no other. Catches a loss of another dropout key or batch, an update every step or never,
    and a custom gradient (Mamba's scan) that cannot be differentiated once more, or wrongly."""
    settings = config(kind, dropout=0.2, optimizer="sophia", learning_rate=1e-3, weight_decay=0.0)
    inputs, targets = batches(1, 4)
    signs_key = jax.random.split(jax.random.PRNGKey(0))[1]

    def sophia(state: TrainState) -> Any:
        return state.optimizer[1][0]

    state = random_state(settings)
    signs = optax.tree.random_like(signs_key, state.model, jax.random.rademacher, dtype=jnp.float32)
    key = jax.random.fold_in(jax.random.key(settings.seed), 0)

    def slope(model: LanguageModel) -> Array:
        gradient = jax.grad(lambda model: losses(model, inputs, targets, key)[0])(model)
        return optax.tree.vdot(gradient, signs)

    product = jax.jit(jax.grad(slope), compiler_options=QUICK)(state.model)
    expected = by_name(jax.tree.map(lambda s, h: (1 - settings.optimizer.beta2) * s * h, signs, product))
    seen = []
    for _ in range(11):
        state, _ = quick_step(state, inputs, targets, jnp.float32(1e-3), settings)
        seen.append(by_name(sophia(state).nu))
    largest = max(np.abs(value).max() for value in expected.values())
    assert largest > 1e-4
    for name, value in seen[0].items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4 * largest, rtol=1e-3, err_msg=name)
    for later in seen[1:10]:
        for name, value in later.items():
            np.testing.assert_array_equal(value, seen[0][name])
    assert any((seen[10][name] != seen[0][name]).any() for name in seen[0])


# --- The step ---------------------------------------------------------------------------------------------------------


def batches(count: int, batch: int, seed: int = 0) -> tuple[Array, Array]:
    """Windows of a random text as inputs and targets [A, B, T], for any vocabulary of MODELS."""
    windows = np.random.default_rng(seed).integers(0, len(set(PERIOD)), (count, batch, 33)).astype(np.int32)
    return jnp.asarray(windows[..., :-1]), jnp.asarray(windows[..., 1:])


def run_steps(settings: TrainConfig, steps: int, rate: float = 3e-3) -> tuple[TrainState, list[float]]:
    """Steps on windows of the repetitive text; the losses before each."""
    ids = np.array([sorted(set(PERIOD)).index(letter) for letter in PERIOD * 8], np.int32)
    starts = np.random.default_rng(0).integers(0, len(ids) - 33, (steps, 1, settings.batch_size))
    state, losses = random_state(settings), []
    for start in starts:
        windows = ids[start[..., None] + np.arange(33)]
        state, metrics = quick_step(state, windows[..., :-1], windows[..., 1:], jnp.float32(rate), settings)
        losses.append(metrics["loss"])
    return state, [float(value) for value in losses]


def test_one_step_of_the_model_is_adamw() -> None:
    """The new weights against the reference for gradients computed apart. Catches a step at another rate, a gradient
    norm reported after clipping, and gradients of something else than the mean loss."""
    settings = config("jamba", gradient_clip=0.1, weight_decay=0.1)
    inputs, targets = batches(1, 4)
    state = random_state(settings)
    model = jax.tree.map(np.asarray, state.model)
    gradient = jax.jit(
        jax.grad(lambda model: losses(model, inputs, targets, jax.random.key(0))[0]), compiler_options=QUICK
    )(model)
    (expected,) = adamw(model, [gradient], settings)
    state, metrics = quick_step(state, inputs, targets, jnp.float32(0.01), settings)
    after, before, gradients = by_name(state.model), by_name(model), by_name(gradient)
    assert float(metrics["grad_norm"]) == pytest.approx(math.sqrt(sum((g**2).sum() for g in gradients.values())), 1e-4)
    assert float(metrics["grad_norm"]) > 0.2
    for name, value in after.items():
        # a first update is about the gradient's sign, which is sure where the gradient is not near zero
        size = np.abs(gradients[name])
        sure = size > 1e-3 * size.max()
        assert sure.mean() > 0.5, name
        np.testing.assert_allclose((value - before[name])[sure], 0.01 * expected[name][sure], atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_parameters_learn_at_their_own_rates() -> None:
    """RWKV-7's groups: only its square matrices, the channel mix and the tables decay; the decay's bias learns at twice
    the rate (a first update of AdamW is the gradient's sign), all else at the rate itself. The last layers, zero at
    first, are drawn: behind them no gradient would be left."""
    mixer = RWKV7Config(n_head=2, decay_rank=3, a_rank=3, v_rank=3, gate_rank=3)
    model = rwkv(mixer, n_layer=1, hidden_size=16, width=1.0, gated=False)
    settings = dataclasses.replace(config("gpt", gradient_clip=0.0, weight_decay=0.0), model=model)
    state = random_state(settings)
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(
        lambda w: jnp.asarray(np.asarray(w) + 0.3 * rng.standard_normal(w.shape), w.dtype), state.model
    )
    kinds = by_name(jax.tree.map(lambda role: np.array(role), roles(state.model.blocks[0])))
    decayed = {name for name, kind in kinds.items() if kind != "vector"}
    square = {f"mixer.{name}" for name in ("wr", "wk", "wv", "wo")}
    assert decayed == square | {"channel_mixer.up", "channel_mixer.down"}
    before = by_name(drawn)
    state = dataclasses.replace(state, model=drawn)
    after = by_name(quick_step(state, *batches(1, 4), jnp.float32(0.01), settings)[0].model)
    moved = {name: np.abs(after[name] - before[name]).max() for name in after if ".v." not in name}
    for name, size in moved.items():
        assert size == pytest.approx(0.02 if name.endswith("w_bias") else 0.01, rel=0.01), name


@pytest.mark.slow
def test_accumulated_batches_are_one_large_batch() -> None:
    """Catches a sum in place of the mean, an update for each small batch, and batches that are left out."""
    settings = config("jamba", gradient_clip=0.0)
    inputs, targets = batches(3, 2)
    results = []
    for shape in ((3, 2, 32), (1, 6, 32)):
        batch = (inputs.reshape(shape), targets.reshape(shape))
        state, metrics = quick_step(random_state(settings), *batch, jnp.float32(0.0), settings)
        results.append((by_name(state.optimizer[1][0].mu), {name: float(value) for name, value in metrics.items()}))
    (moments, metrics), (moments_of_one, metrics_of_one) = results
    assert metrics == pytest.approx(metrics_of_one, rel=1e-5)
    for name, value in moments_of_one.items():
        np.testing.assert_allclose(moments[name], value, atol=1e-5 * np.abs(value).max(), err_msg=name)


@pytest.mark.slow
def test_dropout_has_its_own_key_at_every_step_and_batch() -> None:
    """At rate 0 the weights stay, so the loss of one batch changes with the dropout alone. Catches a key that is used
    again, in the next step or in the other half of an accumulated batch, and dropout that is ignored."""
    settings = config("gpt", dropout=0.5)
    inputs, targets = batches(1, 4)
    state = random_state(settings)
    values = []
    for step in (0, 1, 2, 0):
        state = TrainState(jnp.int32(step), state.model, state.optimizer)
        state, metrics = quick_step(state, inputs, targets, jnp.float32(0.0), settings)
        values.append(float(metrics["loss"]))
    assert len(set(values[:3])) == 3 and values[3] == values[0]
    twice = (jnp.concatenate([part, part]) for part in (inputs, targets))
    _, metrics = quick_step(random_state(settings), *twice, jnp.float32(0.0), settings)
    assert abs(float(metrics["loss"]) - values[0]) > 1e-4


def test_the_state_is_donated() -> None:
    """Catches a step that holds weights and moments twice."""
    settings = config("gpt")
    state = random_state(settings)
    train_step(*arguments(state, *batches(1, 4), 0.0, settings))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.model, state.optimizer)) if leaf.size > 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.slow
def test_every_optimizer_learns(name: str) -> None:
    """20 steps at the optimizer's own default rates; the hybrid has every kind of parameter. Catches NaN (Newton-Schulz
    from an unscaled matrix, a Hessian below zero) and updates with the wrong sign."""
    settings = config("jamba", optimizer=name)
    state, losses = run_steps(settings, 40, settings.peak_rate)
    assert np.isfinite(losses).all() and checkpoint.all_finite(state.optimizer)
    assert np.mean(losses[-5:]) < losses[0] - 0.4


@pytest.mark.slow
def test_bfloat16() -> None:
    """Activations in bfloat16, everything that is kept in float32. Catches weights or moments rounded to bfloat16."""
    state, losses = run_steps(config("jamba", dtype="bfloat16"), 40)
    assert np.mean(losses[-5:]) < losses[0] - 0.4
    kept = jax.tree.leaves((state.model, state.optimizer))
    assert {leaf.dtype for leaf in kept} <= {jnp.dtype("float32"), jnp.dtype("int32")}


def test_another_rate_or_length_compiles_nothing() -> None:
    """Within a run the step is traced once. A run with another rate, length or schedule gives the same program, so it
    comes from the compilation cache. Catches a rate that is a constant of the program."""
    settings = config("gpt", optimizer="adamw", max_steps=7)
    inputs, targets = batches(1, 4)
    train_step.clear_cache()  # a test before this one may have compiled the same program
    state = random_state(settings)
    for rate in (1e-3, 2e-3, 5e-4):
        state, _ = train_step(*arguments(state, inputs, targets, rate, settings))
    assert train_step._cache_size() == 1
    other = dataclasses.replace(settings, max_steps=9, learning_rate=0.5, schedule="wsd", warmup_steps=3)
    programs = {train_step.lower(*arguments(state, inputs, targets, 0.1, one)).as_text() for one in (settings, other)}
    assert len(programs) == 1


# --- Runs -------------------------------------------------------------------------------------------------------------


def train(settings: TrainConfig, folder: Path) -> api.Run:
    return api.train(settings, name=str(folder), quiet=True)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run of each kind, trained when first asked for."""
    runs: dict[str, api.Run] = {}

    def get(kind: str) -> api.Run:
        if kind not in runs:
            folder = tmp_path_factory.mktemp(kind)
            options: dict[str, Any] = {"max_steps": 300, "eval_interval": 100, "eval_batches": 0, "sample_tokens": 26}
            runs[kind] = train(config(kind, text_file(folder), log_interval=7, **options), folder / "runs" / "one")
        return runs[kind]

    return get


@pytest.mark.parametrize("kind", MODELS)
def test_it_really_learns(kind: str, learned: Any) -> None:
    """The loss falls from ln 6 to near zero, and the model continues the text. A window begins anywhere in the period
    of 13 letters, so about ln 13 / 32 = 0.08 a letter cannot be known. Catches a layer that passes nothing on, targets
    that are not the next letter, and a state that is not what was trained."""
    run = learned(kind)
    rows = [row["validation_loss"] for row in run.metrics() if "validation_loss" in row]
    assert rows[0] == pytest.approx(math.log(6), abs=0.2)
    assert rows[-1] < 0.2
    prompt = PERIOD * 2
    assert run.generate(prompt, 39, temperature=0) == PERIOD * 3


def test_metrics(learned: Any) -> None:
    """Catches rows that are missing, doubled or out of order, a last step without a row, and a rate that is not the
    schedule's."""
    run = learned("gpt")
    rows = run.metrics()
    assert rows == [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in rows if "loss" in row]
    keys = {"step", "loss", "learning_rate", "grad_norm", "tokens_per_second", "seconds"}
    assert all(set(row) == keys for row in training)
    assert [row["step"] for row in training] == [*range(7, 300, 7), 300]
    assert [row["learning_rate"] for row in training] == [
        learning_rate(run.config, row["step"] - 1, 300) for row in training
    ]
    validation = [row for row in rows if "loss" not in row]
    assert all(set(row) == {"step", "validation_loss", "seconds"} for row in validation)
    assert [row["step"] for row in validation] == [0, 100, 200, 300]
    assert rows == sorted(rows, key=lambda row: row["step"])
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_samples_and_report(learned: Any) -> None:
    run = learned("gpt")
    samples = read_samples(run.folder / "samples.txt")
    assert [step for step, _ in samples] == [0, 100, 200, 300]
    assert PERIOD.strip() in samples[-1][1] and PERIOD.strip() not in samples[0][1]
    page = (run.folder / "report.html").read_text()
    assert "tiny-gpt" in page and samples[-1][1].splitlines()[0] in page


def test_evaluation_is_the_plain_mean_over_all_windows(learned: Any) -> None:
    """Every window of the validation split by itself. Catches a mean of batch means, filling that counts, dropout that
    is on, and weights of another step than the row's."""
    run = learned("gpt")
    text = Path(run.config.data).read_text()
    _, ids = split(run.tokenizer.encode_array(text), run.config.validation_fraction)
    assert (len(ids) - 1) % 32 and -(-(len(ids) - 1) // 32) % 4  # the last window and the last batch are not full
    last = api.load(run.folder, "last").model
    forward = jax.jit(lambda ids: last(ids[None]).logits[0], compiler_options=QUICK)
    losses = []
    for start in range(0, len(ids) - 1, 32):
        window = ids[start : start + 33].astype(np.int32)
        inputs = np.pad(window[:-1], (0, 33 - len(window)))
        logits = np.asarray(forward(inputs), float)[: len(window) - 1]
        chances = np.exp(logits - logits.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        losses += list(-np.log(chances[np.arange(len(window) - 1), window[1:]]))
    assert len(losses) == len(ids) - 1
    assert run.metrics()[-1]["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_eval_batches_limits_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an option that is parsed and never read."""
    seen = []

    def watched(ids: Any, length: int, size: int, limit: int | None = None) -> Any:
        windows = list(evaluation_windows(ids, length, size, limit))
        seen.append(len(windows))
        return iter(windows)

    monkeypatch.setattr(token_source, "evaluation_windows", watched)
    for batches, expected in ((1, 1), (0, 2)):
        options = {"max_steps": 1, "eval_batches": batches, "sample_tokens": 0}
        train(config("gpt", text_file(tmp_path), **options), tmp_path / f"run{batches}")
        assert seen[-1] == expected


def test_a_finished_run_on_the_disk(learned: Any) -> None:
    """Catches a forgotten file, temporary folders left behind, and `latest` that points elsewhere."""
    run = learned("gpt")
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"config.json", "tokenizer.json", "metrics.jsonl", "samples.txt", "report.html", "checkpoints"}
    assert (run.folder.parent / "latest").read_text() == "one\n"
    assert api.load(run.folder.parent / "latest").folder == run.folder
    best = min((row["validation_loss"], row["step"]) for row in run.metrics() if "validation_loss" in row)[1]
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {
        f"step_{step:08d}" for step in {best, 200, 300}
    }
    assert run.step == best and api.load(run.folder, "last").step == 300 and api.load(run.folder, 200).step == 200
    folder = run.folder / "checkpoints" / "step_00000300"
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
    }


def test_the_best_checkpoint_is_kept(tmp_path: Path) -> None:
    """On a short random text the validation loss soon rises. Catches a best checkpoint that is deleted or not named."""
    letters = np.random.default_rng(0).choice(list("abcdef\n"), 700)
    options: dict[str, Any] = {"learning_rate": 0.02, "max_steps": 120, "eval_interval": 20, "sample_tokens": 0}
    run = train(config("gpt", text_file(tmp_path, "".join(letters)), **options), tmp_path / "run")
    losses = {row["step"]: row["validation_loss"] for row in run.metrics() if "validation_loss" in row}
    best = min(losses, key=losses.__getitem__)
    assert best < 100 and run.step == best
    assert checkpoint.steps(run.folder / "checkpoints") == [best, 100, 120]


def test_an_existing_name_is_refused(learned: Any) -> None:
    """Catches a run that is overwritten; the other options are never looked at."""
    run = learned("gpt")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    with pytest.raises(UserError, match="exists and is not overwritten"):
        train(run.config, run.folder)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    with pytest.raises(UserError, match="stands for the newest run"):
        train(run.config, Path("latest"))


def test_runs_without_a_name_are_numbered(tmp_path: Path) -> None:
    data = text_file(tmp_path)
    names = [
        api.train(config("gpt", data, max_steps=1, sample_tokens=0), quiet=True).folder.as_posix() for _ in range(2)
    ]
    assert names == ["runs/tiny-gpt-text-1", "runs/tiny-gpt-text-2"]
    assert (tmp_path / "runs" / "latest").read_text() == "tiny-gpt-text-2\n"


def test_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """57 windows of 32 tokens in an epoch: 2 epochs of 4 x 3 windows a step are round(9.5) steps, which see batch after
    batch. Catches windows counted as steps, and accumulated batches that come again in the next step or never."""
    real, seen = step_module.train_step, []

    def watched(state: TrainState, batch: Any, *rest: Any) -> Any:
        seen.extend(zip(batch.inputs, batch.targets, strict=True))
        return real(state, batch, *rest)

    monkeypatch.setattr(step_module, "train_step", watched)
    settings = config(
        "gpt",
        text_file(tmp_path, PERIOD * 160),
        epochs=2,
        gradient_accumulation_steps=3,
        sample_tokens=0,
        log_interval=1,
    )
    run = train(settings, tmp_path / "run")
    assert [row["step"] for row in run.metrics() if "loss" in row] == list(range(1, round(2 * 57 / 12) + 1))
    assert run.config.epochs == 2 and run.config.max_steps is None
    ids, _ = split(run.tokenizer.encode_array(PERIOD * 160), 0.1)
    order = WindowBatches(ids, 32, 4, settings.seed)
    for number, (inputs, targets) in enumerate(seen):
        np.testing.assert_array_equal(inputs, order.batch(number).inputs)
        np.testing.assert_array_equal(targets, order.batch(number).targets)


def test_max_minutes_becomes_a_number_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a run that goes on for ever, a length that is not recorded, and a rate that does not come to its end. The
    limits are those of the program: 1.2 times the minutes, and then the last evaluation."""
    monkeypatch.setattr(time_budget, "MEASURE_SECONDS", 0.3)
    began = time.monotonic()
    run = train(config("gpt", text_file(tmp_path), max_minutes=0.05, sample_tokens=0), tmp_path / "run")
    assert time.monotonic() - began < 60 * 0.05 * time_budget.OVERTIME + 15
    state = checkpoint.load_state(run.folder / "checkpoints" / f"step_{last_step(run):08d}")
    assert state["total"] == last_step(run) > time_budget.MEASURE_STEPS
    assert run.metrics()[-1]["seconds"] < 60 * 0.05 * time_budget.OVERTIME + 5


def last_step(run: api.Run) -> int:
    return run.metrics()[-1]["step"]


def test_max_minutes_ends_a_run_too_slow_to_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a limit that holds only once the steps are counted: ten slow steps may take an hour."""
    began = time.monotonic()

    def rate(*_: Any) -> float:
        assert time.monotonic() - began < 60, "the run goes on and on"
        return 1e-3

    monkeypatch.setattr(time_budget, "MEASURE_STEPS", 10**9)
    monkeypatch.setattr(step_module, "learning_rate", rate)
    run = train(config("gpt", text_file(tmp_path), max_minutes=0.01, sample_tokens=0), tmp_path / "run")
    assert checkpoint.steps(run.folder / "checkpoints")[-1] == last_step(run)


def test_a_run_is_looked_at_ten_times(tmp_path: Path) -> None:
    """Catches an evaluation just before the last one, with the same sample."""
    run = train(config("gpt", text_file(tmp_path), max_steps=21, sample_tokens=0, eval_batches=1), tmp_path / "run")
    steps = [row["step"] for row in run.metrics() if "validation_loss" in row]
    assert steps == [0, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21]


@pytest.mark.parametrize("options", [{"eval_interval": 3}, {"eval_interval": 1}, {"log_interval": 1}], ids=str)
def test_a_run_that_diverges_stops(tmp_path: Path, options: dict[str, Any]) -> None:
    """Catches NaN in a checkpoint or in the metrics, a run that goes on to its end, and a checkpoint that the sentence
    calls good and is not."""
    settings = config("gpt", text_file(tmp_path), max_steps=40, learning_rate=1e3, sample_tokens=0, **options)
    settings = dataclasses.replace(settings, warmup_steps=0)
    with pytest.raises(UserError, match=r"The loss .*checkpoint of step 0.*--learning-rate 3e\+02"):
        train(settings, tmp_path / "run")
    run = api.load(tmp_path / "run")
    assert run.step == 0 and checkpoint.all_finite(run.model)
    assert checkpoint.all_finite(api.load(tmp_path / "run", "last").model)
    rows = run.metrics()
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert max(row.get("loss", 0.0) for row in rows) < 2 * math.log(6)
    assert rows[-1]["step"] < 20


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_numbers_are_never_saved(tmp_path: Path, bad: float, monkeypatch: Any) -> None:
    """The last step makes a weight NaN, and no loss of a further step will tell. Catches a run that is called done."""
    real = step_module.train_step

    def spoilt(state: TrainState, *rest: Any) -> Any:
        after, metrics = real(state, *rest)
        if int(after.step) == 4:
            after = dataclasses.replace(
                after, model=dataclasses.replace(after.model, embedding=after.model.embedding * bad)
            )
        return after, metrics

    monkeypatch.setattr(step_module, "train_step", spoilt)
    with pytest.raises(UserError, match="is not a number at step 4"):
        train(config("gpt", text_file(tmp_path), max_steps=4, eval_interval=2, sample_tokens=0), tmp_path / "run")
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [0, 2]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sample_prompt": "xyz"}, "character 'x'"),
        ({"sequence_length": 5000}, "too short"),
        ({"data": "no-such"}, "There is no corpus or file"),
    ],
    ids=["prompt", "length", "data"],
)
def test_a_mistake_is_told_before_anything_is_written(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    """Catches a run folder that holds nothing and blocks its name."""
    settings = dataclasses.replace(config("gpt", text_file(tmp_path)), **options)
    with pytest.raises(UserError, match=sentence):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_learned_positions_leave_room_for_the_sample(tmp_path: Path) -> None:
    """Catches a run that ends at its first evaluation because prompt and sample are longer than the table."""
    settings = config("gpt", text_file(tmp_path), max_steps=2, sample_prompt="abaca", sample_tokens=200)
    short = dataclasses.replace(settings, model=dataclasses.replace(settings.model, learned_positions=32))
    run = train(short, tmp_path / "run")
    assert len(read_samples(run.folder / "samples.txt")[-1][1]) <= 27
    with pytest.raises(UserError, match="sample_prompt has 33 tokens"):
        train(dataclasses.replace(short, sample_prompt="a" * 33), tmp_path / "other")


def test_the_largest_seed(tmp_path: Path) -> None:
    """Catches a seed that the config allows and JAX or the batches refuse."""
    settings = config("gpt", text_file(tmp_path), max_steps=1, seed=2**32 - 1, sample_tokens=2)
    assert train(settings, tmp_path / "run").step in (0, 1)


@pytest.mark.slow
def test_the_command_line_from_training_to_info(run_cli: Any, tmp_path: Path) -> None:
    """The four verbs one after another on one run, in processes of their own. Catches what only the real program does:
    the order of imports, options that do not reach the run, files that another verb cannot read."""
    data = text_file(tmp_path)
    options = "--n-layer 1 --hidden_size 32 --n-head 2 --sequence-length 32 --batch-size 4 --warmup-steps 10"
    length = "--max-steps 150 --sample-tokens 10 --learning-rate 5e-3 --name one"
    done = run_cli("train", "gpt-nano", "--data", data, *options.split(), *length.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "150 steps" in done.stdout and "validation loss" in done.stdout and "Done." in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "runs/one/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 150 and rows[-1]["validation_loss"] < 0.5
    assert (tmp_path / "runs/one/report.html").is_file()
    written = run_cli("generate", "runs/latest", "abac", "--max-tokens", "9", "--temperature", "0", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert written.stdout == PERIOD + "\n"
    seen = run_cli("inspect", "one", "abacabad", "--top", "3", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    assert "'d'" in seen.stdout and "surprise" in seen.stdout
    told = run_cli("info", "runs/one", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "hidden size 32" in told.stdout
    config_file = json.loads((tmp_path / "runs/one/config.json").read_text())
    assert f"{config_file['info']['parameters']:,} parameters" in told.stdout
