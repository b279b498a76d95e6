"""Weights kept as bfloat16 and int8: the products are those of the weights that they stand for."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus import api
from linearnexus.cli.main import main
from linearnexus.core.errors import UserError
from linearnexus.core.int8 import Int8
from linearnexus.core.module import roles
from linearnexus.core.tuning import CPU, TABLES, ProductTuning
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import preset
from linearnexus.models.quantize import quantize

W, T = 37, 5


def test_int8_is_within_half_a_step_of_each_weight() -> None:
    """Catches a scale over the wrong axis, rounding towards zero, and a column of zeros that becomes NaN."""
    array = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32) * [1e-6, 1, 0, 1e6]
    made = Int8.of(jnp.asarray(array, jnp.float32), -2)
    assert made.values.dtype == jnp.int8 and made.scale.shape == (1, 4)
    assert (np.abs(made.astype(jnp.float32) - array) <= np.asarray(made.scale) * 0.5001).all()
    np.testing.assert_allclose(made.scale[0], np.where(array.any(0), np.abs(array).max(0), 1) / 127, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("gpt-nano", "bfloat16")]
    + [(f"{kind}-nano", "int8") for kind in ("gpt", "mamba", "jamba-moe", "latent-attention", "rwkv6", "rwkv7")],
)
@pytest.mark.slow
def test_a_model_is_the_one_of_its_weights_in_float32(name: str, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a call and for steps. Catches a layer that reads the stored numbers without their scales, the wrong scale, a
    table's last block read twice or left out, a weight that stays float32, and a vector that does not."""
    # 37 rows: blocks of 10, the last one overlaps; a call of 5 tokens is one of many
    small_tables = dataclasses.replace(CPU, products=ProductTuning(few=4, block=10 * 128))
    for platform in TABLES:
        monkeypatch.setitem(TABLES, platform, small_tables)
    config = dataclasses.replace(preset(name), vocab_size=W)
    config = dataclasses.replace(config, n_layer=len(config.pattern), learned_positions=8 if name == "gpt-nano" else 0)
    model = LanguageModel.init(config, jax.random.key(0))
    small = quantize(model, weights)
    dtypes = jax.tree.map(
        lambda role, kept: (
            {"vector": "float32"}.get(role, weights) == str((kept.values if isinstance(kept, Int8) else kept).dtype)
        ),
        roles(model),
        small,
    )
    assert all(jax.tree.leaves(dtypes))
    whole = jax.tree.map(lambda array, kept: kept.astype(array.dtype), model, small)
    ids = np.random.default_rng(0).integers(0, W, (1, T), np.int32)
    for got, want in zip(run(small, ids), run(whole, ids), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max(), rtol=0)


def run(model: LanguageModel, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits of a call [1, T, W], and of a step after it [1, W]."""

    @jax.jit
    def both(model: LanguageModel, ids: Any) -> Any:
        out = model(ids, state=model.init_state(1, T + 1))
        assert out.state is not None
        return out.logits, model.step(ids[:, 0], out.state)[0]

    logits, stepped = jax.device_get(both(model, ids))
    return logits, stepped


@pytest.mark.slow
def test_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches int8 that is not handed on, or harms a real model: its loss changes by less than 1%. The model's own
    weights are bfloat16's, which therefore change nothing."""
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time there was a princess called Nora. She lived in a castle. " * 8)
    losses = {}
    for weights in ("float32", "bfloat16", "int8"):
        main(["eval", "storyteller", str(text), "--weights", weights])
        losses[weights] = float(capsys.readouterr().out.split("loss")[1].split()[0])
    assert losses["bfloat16"] == losses["float32"]
    assert 0 < abs(losses["int8"] / losses["float32"] - 1) < 0.01
    main(["generate", "storyteller", "Once upon a time", "--weights", "int8", "--max-tokens", "4"])
    assert capsys.readouterr().out.startswith("Once upon a time there was a")
    with pytest.raises(UserError, match="no kind of weights named 'int9'; did you mean 'int8'"):
        api.load("storyteller", weights="int9")
