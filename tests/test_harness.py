"""The adapter for lm-evaluation-harness: its scores against the generator's own, and a task of the harness."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("lm_eval")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from linearnexus.evaluation.harness import HarnessModel
from linearnexus.evaluation.perplexity import windowed
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.models.language_model import LanguageModel
from linearnexus.tokenizers import CharTokenizer
from tests.tiny import config

LETTERS = "abcdefghijk \n"


@pytest.fixture(scope="module")
def model() -> HarnessModel:
    settings = config("jamba").model
    made = LanguageModel.init(settings, jax.random.key(3))
    tokenizer = CharTokenizer.train(LETTERS)
    made = LanguageModel.init(type(settings)(**{**vars(settings), "vocab_size": 13}), jax.random.key(3))
    return HarnessModel(Generator(made, tokenizer, 32), batch_size=3)


def requests(*arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(arguments)]


def test_the_likelihood_of_a_continuation(model: HarnessModel) -> None:
    """Each pair alone, by one call of the model. Catches a shift by one, padding that counts, answers in another order
    than the requests, and a context that is cut from the wrong side."""
    pairs = (("abc", "def"), ("a", "b"), ("abcab ", "k"), ("", "abc"), ("abcdefghijk" * 4, "abc"))
    found = model.loglikelihood(requests(*pairs))
    for (context, continuation), (likelihood, greedy) in zip(pairs, found, strict=True):
        ids = model.generator.tokenizer.encode((context or "\n") + continuation)
        logits = np.asarray(model.generator.model(jnp.array([ids[-33:-1]], jnp.int32)).logits[0], np.float64)
        count = len(continuation) + (context[-1:] == " ")
        logs = logits[-count:] - np.log(np.exp(logits[-count:]).sum(-1, keepdims=True))
        assert likelihood == pytest.approx(logs[np.arange(count), ids[-count:]].sum(), rel=1e-5)
        assert greedy == (logs.argmax(-1) == ids[-count:]).all()
    text = "abcd\nkji" * 9
    ids = np.array(model.generator.tokenizer.encode("\n" + text))
    expected = -sum(float(part.sum()) for part in windowed(model.generator.model, ids, 32))
    assert model.loglikelihood_rolling(requests((text,))) == [pytest.approx(expected)]
    best = model.generator.generate("abc", 6, SamplingConfig(temperature=0))[0].text
    until = {"until": [best[3]], "max_gen_toks": 6}
    assert model.generate_until(requests(("abc", until), ("abc", {"max_gen_toks": 6}))) == [
        best.split(best[3])[0],
        best,
    ]
    assert model.loglikelihood(requests(("abc", best)))[0][1] is True


def test_a_task_of_the_harness(model: HarnessModel, tmp_path: Path) -> None:
    """Multiple choice from a local file, through the harness itself. Catches an interface that it does not accept."""
    questions = [{"question": "abc", "choices": ["d", "e", "f"], "gold": n % 3} for n in range(6)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    task = {
        "task": "local_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "test.jsonl")}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "target_delimiter": "",
    }
    results = lm_eval.simple_evaluate(
        model, tasks=[task], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
    )
    accuracy = results["results"]["local_choice"]["acc,none"]
    assert math.isclose(accuracy, 1 / 3)  # the same best choice each time, right for every third question
