"""Evaluation against an independent computation, token by token in NumPy."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linearnexus as ln
from linearnexus.core.errors import UserError
from linearnexus.evaluation.perplexity import carried, windowed
from linearnexus.models.language_model import LanguageModel
from tests.tiny import MODELS, config, text_file

T = 8


def model(kind: str) -> LanguageModel:
    """Random, and sure of itself: losses far from those of guessing."""
    made = LanguageModel.init(dataclasses.replace(MODELS[kind], vocab_size=13), jax.random.key(1))
    return dataclasses.replace(made, embedding=30 * made.embedding)


def surprise(logits: Any, target: int) -> float:
    scores = np.asarray(logits, np.float64)
    return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[target])


@pytest.mark.parametrize("stride", [None, 3, 1])
@pytest.mark.parametrize("n", [2, 8, 9, 10, 30])
def test_windows_against_a_loop(n: int, stride: int | None) -> None:
    """Each token by itself, with the context that the windows are said to give. Catches a token that is scored twice or
    not at all, the padding of the last window or batch that counts, and less context than was promised."""
    gpt, ids = model("gpt"), np.random.default_rng(0).integers(0, 13, n)
    found = np.concatenate(list(windowed(gpt, ids, T, stride, batch_size=3)))
    assert len(found) == n - 1 and found.dtype == np.float64
    step, expected, done = stride or T, [], 1
    for begin in range(0, n, step):
        end = min(begin + T, n - 1)
        logits = gpt(jnp.asarray(np.pad(ids[begin:end], (0, T - end + begin))[None], jnp.int32)).logits[0]
        expected += [surprise(logits[place - 1 - begin], ids[place]) for place in range(done, end + 1)]
        assert begin == 0 or all(place - begin > T - step for place in range(done, end + 1))
        done = max(done, end + 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.sum() == pytest.approx(sum(expected), rel=1e-6)


@pytest.mark.parametrize("kind", ["mamba", "jamba"])
def test_a_carried_state_is_the_whole_text(kind: str) -> None:
    """In chunks with the state, against one call over all of it (attention looks back over T tokens: here all). Catches
    a state that begins anew, and a token at the edge of a chunk that is lost."""
    made, ids = model(kind), np.random.default_rng(0).integers(0, 13, 23)
    logits = made(jnp.asarray(ids[None], jnp.int32)).logits[0]
    expected = [surprise(row, target) for row, target in zip(logits, ids[1:], strict=False)]
    found = np.concatenate(list(carried(made, ids, 32, chunk=5)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ln.Run:
    made = tmp_path_factory.mktemp("eval")
    settings = config("gpt", text_file(made), max_steps=2, sample_tokens=0, eval_batches=0, tokenizer="byte")
    return ln.train(settings, name=str(made / "run"), quiet=True)


def test_a_run_and_its_text(run: ln.Run, run_cli: Any) -> None:
    """The validation part of the run's own text has the loss that the run was told; bits per byte are over bytes, not
    characters; the command line prints the same. Catches another part of the text, and a first token that counts."""
    text = Path(run.config.data).read_text()
    score = run.evaluate(text)
    best = min(row["validation_loss"] for row in run.metrics() if "validation_loss" in row)
    assert score.loss == pytest.approx(best, rel=1e-6)
    assert score.tokens == score.bytes == len(text) - int(0.9 * len(text)) - 1
    assert score.bits_per_byte == pytest.approx(score.loss / math.log(2), rel=1e-12)
    assert run.evaluate(text, part="all").tokens == len(text) - 1
    accents = run.evaluate("\u00e9t\u00e9" * 20, stride=8)
    assert (accents.tokens, accents.bytes) == (99, 100)
    done = run_cli("eval", run.folder, run.config.data, cwd=run.folder)
    assert done.returncode == 0, done.stderr
    assert f"loss           {score.loss:.6f}" in done.stdout and f"{score.bits_per_byte:.6f}" in done.stdout


def test_what_is_refused(run: ln.Run) -> None:
    for options, sentence in (
        ({"stride": 0}, "stride is 0; windows of 32 tokens"),
        ({"stride": 33}, "give 1 .* to 32"),
        ({"sequence_length": -1}, "sequence_length is -1"),
        ({"text": "a"}, "The text has 1 tokens"),
    ):
        with pytest.raises(UserError, match=sentence):
            run.evaluate(**{"text": "abacabad" * 9, **options})  # type: ignore[arg-type]
