"""A new objective in under 80 lines: sigmoid DPO on pairs (Rafailov et al. 2023, equation 7), full weights and LoRA,
trained, evaluated, killed and resumed by the loop that pre-training has. Nothing in `training/` knows of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus import api
from linearnexus.core.config import config
from linearnexus.core.module import module
from linearnexus.data.source import EvaluationPart
from linearnexus.posttraining.config import SFTSettings
from linearnexus.posttraining.lora import Adapters
from linearnexus.training import launch, stream
from linearnexus.training.config import TrainConfig
from linearnexus.training.job import Job
from linearnexus.training.objective import Objective, merge_frozen, token_losses
from tests import killed, tiny


@config("test_dpo")
class DPOConfig(SFTSettings, TrainConfig):
    job, freezes_base = f"{__name__}:PreferenceTuning", True
    beta: float = 0.1  # strength of the pull towards the reference


@module
class SigmoidDPO(Objective):
    beta: float

    def loss(self, trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        def margin(model: Any) -> Any:  # log p of the good answers, the second halves, over that of the bad ones
            bad, good = (token_losses(model(ids[:, :-1]).logits, ids[:, 1:])[:, 7:].sum(1) for ids in batch)
            return bad - good

        gain = self.beta * (margin(merge_frozen(trained, frozen)) - margin(frozen))
        return (loss := -jnp.mean(jax.nn.log_sigmoid(gain))), {"loss": loss, "accuracy": jnp.mean(1.0 * (gain > 0))}


class PreferenceTuning(Job, stream.Stream):
    """A text's own continuation is better than a shuffled one."""

    @classmethod
    def trainable(cls, config: Any, parent: Any) -> Any:
        return parent if config.method == "full" else Adapters.init(parent, config, config.seed)

    def objective(self) -> Objective:
        return SigmoidDPO(self.config.beta)

    def stream(self) -> stream.Stream:
        return self

    def next(self, step: int, state: Any) -> Any:
        killed.die_at(step)
        good = np.reshape(self.source.train[0][64 * step : 64 * step + 64], (1, 4, 16)).astype(np.int32)
        return np.concatenate([good[..., :8], np.random.default_rng(0).permuted(good[..., 8:], axis=2)], 2), good

    def evaluation(self) -> list[EvaluationPart]:
        return [EvaluationPart(1.0, [tuple(rows[0] for rows in self.next(0, None))])]


def train(name: str, method: str) -> Any:
    parent, own = api.load("parent"), {"method": method, "learning_rate": 1e-2}
    given = vars(tiny.config("gpt", "text.txt", max_steps=12, eval_interval=5, sample_tokens=0, warmup_steps=0))
    return launch.train(DPOConfig(**{**given, **own, "model": parent.config.model}), name, True, parent.as_parent())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_dpo(method: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is ln 2 while the policy is the reference. Catches a reference that trains along."""
    monkeypatch.chdir(tmp_path)
    api.train(tiny.config("gpt", tiny.text_file(tmp_path), max_steps=2, sample_tokens=0), name="parent", quiet=True)
    rows = api.load(killed.resumes(__name__, 8, method)).metrics()
    losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-6) and losses[-1] < 0.6
