"""Training on prepared data: packed documents give what each gives alone; whole runs; what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus import api
from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch, WindowBatches
from linearnexus.data.packing import PackedBatches
from linearnexus.data.prepare import prepare
from linearnexus.data.registry import open_source
from linearnexus.data.token_array import TokenArray
from linearnexus.data.writer import PrepareSettings
from linearnexus.mixers.configs import AttentionConfig, GatedDeltaNetConfig, MambaConfig, MLPConfig
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.training.stream import BatchStream
from tests.steps import losses
from tests.tiny import PERIOD, config

QUICK = {"xla_backend_optimization_level": 0}
_blocks = (BlockConfig(MambaConfig(), MLPConfig(width=2)), BlockConfig(GatedDeltaNetConfig(n_head=2)))
HYBRID = ModelConfig((*_blocks, BlockConfig(AttentionConfig(n_head=2))), n_layer=3, hidden_size=32)
LENGTHS = (5, 11, 18)  # tokens of documents, four of each


def texts() -> TokenArray:
    lengths = np.random.default_rng(0).permutation(LENGTHS * 4)
    ids = np.random.default_rng(1).integers(0, 13, lengths.sum())
    starts = np.cumsum(lengths) - lengths
    return TokenArray([len(ids)], lambda _: ids, [len(lengths)], lambda _: starts)


def value_and_gradients(model: LanguageModel, batch: Batch) -> tuple[float, Any]:
    """Of the real `losses`, for a batch [A, B, T]."""

    def objective(model: LanguageModel) -> Any:
        return losses(model, batch.inputs, batch.targets, jax.random.key(0), *batch[2:])[0]

    value, gradients = jax.jit(jax.value_and_grad(objective), compiler_options=QUICK)(model)
    return float(value), gradients


@pytest.mark.slow
def test_packed_is_each_document_alone() -> None:
    """The loss and the gradients of documents packed together are the sum over the documents alone, each by its
    targets: in windows (one over all), and by best fit in two accumulated batches of unequal weight. Catches state,
    attention, convolution or position that crosses a boundary, a target across it that counts, padding that counts, and
    a mean of the batches' means."""
    model = LanguageModel.init(dataclasses.replace(HYBRID, vocab_size=13), jax.random.key(0))
    tokens, total = texts(), sum(4 * (n - 1) for n in LENGTHS)
    ids, places = tokens.read(0, len(tokens)), tokens.document_starts(np.arange(tokens.documents + 1))
    expected, expected_gradients = 0.0, jax.tree.map(jnp.zeros_like, model)
    for length in LENGTHS:
        alone = np.stack([ids[p : p + length] for p in places[:-1][np.diff(places) == length]]).astype(np.int32)
        batch = Batch(jnp.asarray(alone[None, :, :-1]), jnp.asarray(alone[None, :, 1:]))
        value, gradients = value_and_gradients(model, batch)
        share = 4 * (length - 1) / total
        expected += share * value
        expected_gradients = jax.tree.map(lambda a, b, s=share: a + s * b, expected_gradients, gradients)

    best_fit = PackedBatches(tokens, 23, 1, seed=0)
    rows = best_fit.rows(np.arange(best_fit.rows_per_epoch))
    assert rows.valid is not None and not rows.valid.all() and len(rows.inputs) == 6 and rows.weights is not None
    rows = Batch._make(None if field is None else field[np.argsort(rows.weights.sum(1))] for field in rows)
    window = WindowBatches(tokens, len(tokens) - 1, 1, seed=0).batch(0)
    for found, shape in ((rows, (2, 3)), (window, (1, 1))):
        packed = Batch._make(None if field is None else jnp.asarray(field).reshape(*shape, -1) for field in found)
        assert packed.weights is not None and packed.weights.sum() == total
        assert shape == (1, 1) or packed.weights[0].sum() != packed.weights[1].sum()
        value, gradients = value_and_gradients(model, packed)
        assert value == pytest.approx(expected, rel=1e-5)
        named = jax.tree_util.tree_flatten_with_path(gradients)[0]
        for (path, got), want in zip(named, jax.tree.leaves(expected_gradients), strict=True):
            error = float(jnp.abs(got - want).max() / jnp.maximum(jnp.abs(want).max(), 1e-6))
            assert error < 1e-4, (jax.tree_util.keystr(path), error)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tokens: documents of the repetitive text, prepared."""
    monkeypatch.chdir(tmp_path)
    make("tokens", 0)
    return tmp_path


def make(name: str, seed: int, tokenizer: str = "char") -> None:
    draw = np.random.default_rng(seed)
    documents = [PERIOD * int(n) + PERIOD[: int(n)] for n in draw.integers(1, 8, 120)]
    Path(f"{name}.jsonl").write_text(
        "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(documents))
    )
    prepare([f"{name}.jsonl"], Path(name), PrepareSettings(tokenizer, validation_fraction=0.4, shard_tokens=4096), 0)


def train(name: str, **options: Any) -> api.Run:
    options = {"max_steps": 4, "eval_interval": 2, "sample_tokens": 3, "log_interval": 1, **options}
    return api.train(config("gpt", **options), name=name, quiet=True)


@pytest.mark.slow
def test_a_run_on_prepared_data_and_a_resumed_one(folder: Path) -> None:
    """Catches another tokenizer in the run's folder, batches that change when the run goes on, and data that may
    change unnoticed."""
    run = train("one", data="tokens", packing="best-fit", gradient_accumulation_steps=2)
    assert run.tokenizer.vocab_size == len(set(PERIOD)) and run.step in (0, 2, 4)
    train("two", data="tokens", packing="best-fit", gradient_accumulation_steps=2, max_steps=2, schedule="constant")
    longer = train("three", data="tokens", packing="best-fit", gradient_accumulation_steps=2, schedule="constant")
    resumed = api.train(resume="runs/two", max_steps=4, quiet=True)
    rows = [
        [row.get("loss", row.get("validation_loss")) for row in r.metrics() if row["step"] > 2]
        for r in (longer, resumed)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 3
    make("other", 1)
    Path("tokens/manifest.json").write_bytes(Path("other/manifest.json").read_bytes())
    with pytest.raises(UserError, match="The text of tokens has changed"):
        api.train(resume="runs/two", max_steps=6, quiet=True)


def test_it_learns_from_a_mixture(folder: Path) -> None:
    make("more", 1)
    run = train("mix", data="tokens:0.7,more:0.3", max_steps=60, learning_rate=0.01, eval_interval=30)
    found = [row["validation_loss"] for row in run.metrics() if "validation_loss" in row]
    assert found[-1] < found[0] - 0.5
    assert open_source(run.config).weights == (0.7, 0.3)
    by_size = open_source(dataclasses.replace(run.config, data="tokens,more"))
    assert by_size.weights[0] == pytest.approx(len(by_size.train[0]) / by_size.train_tokens)
    assert (
        api.train(config("gpt", data="tokens:2,more:1", max_steps=1), quiet=True).folder.name
        == "tiny-gpt-tokens-more-1"
    )


def test_what_is_refused(folder: Path) -> None:
    make("bytes", 0, "byte")
    Path("text.txt").write_text(PERIOD * 100)
    for options, sentence in (
        ({"data": "tokens", "tokenizer": "byte"}, "tokenizer is byte, but tokens was prepared with the tokenizer char"),
        ({"data": "tokens:1,bytes:1"}, r"bytes was prepared with another tokenizer \(byte\) than tokens \(char\)"),
        ({"data": "tokens:1,bytes"}, "Some sources of --data tokens:1,bytes have a weight"),
        ({"data": "tokens:0,bytes:1"}, "is not above 0"),
        ({"data": "tokens,text.txt"}, r"'text.txt' in --data tokens,text.txt is no prepared folder"),
        ({"data": "text.txt", "packing": "best-fit"}, "text.txt is one text; make documents of it"),
    ):
        with pytest.raises(UserError, match=sentence):
            train("no", **options)
    with pytest.raises(UserError, match="packing best-fit has no order random"):
        config("gpt", packing="best-fit", order="random")
    damaged = Path("tokens/00000/train_tokens.npy")
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=r"00000/train_tokens\.npy is damaged"):
        train("no", data="tokens")
    assert not Path("runs/no").exists()


def test_the_next_batch_is_made_ahead() -> None:
    """Catches batches that come twice or in another order, and a thread whose error is lost."""
    data = WindowBatches(np.arange(500), 7, 3, seed=0)
    ahead = BatchStream(data, 2)
    for step in (0, 1, 2, 7, 8, 3):
        batch = ahead.next(step, None)
        assert batch.starts is None
        expected = np.stack([data.batch(2 * step).inputs, data.batch(2 * step + 1).inputs])
        np.testing.assert_array_equal(batch.inputs, expected)
    ahead.close()
