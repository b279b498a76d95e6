"""A stream that depends on the state in under 60 lines: texts sampled from the current model, rewarded for a token, two
steps a rollout. Killed in the middle of a rollout, the run ends with the bits of one that was left alone."""

from typing import Any

import jax
import numpy as np
import pytest

from linearnexus.core.config import config
from linearnexus.data.batches import Batch
from linearnexus.training import job, launch, stream
from linearnexus.training.config import TrainConfig
from tests import killed, tiny


@config("test_rollout")
class RolloutConfig(TrainConfig):
    job = f"{__name__}:Reinforcement"


class Reinforcement(job.Job):
    def stream(self) -> stream.Stream:
        return Rollouts()


class Rollouts(stream.Stream):
    """The gradient of the expected reward is that of a cross-entropy whose weights are the advantages."""

    def next(self, step: int, state: Any) -> Any:
        if step % 2 == 0:
            ids = np.zeros((16, 12), np.int32)
            for place in range(11):
                killed.die_at(f"{step}.{place}")
                logits = jax.jit(lambda model, ids: model(ids).logits)(state.model, ids)[:, place]
                ids[:, place + 1] = jax.random.categorical(jax.random.key(100 * step + place), logits)
            reward = (ids == 1).mean(1, keepdims=True)
            weights = np.repeat((reward - reward.mean()) / ids.size, 11, 1).astype(np.float32)
            self.drawn = {"ids": ids[None], "weights": weights[None]}
        return Batch(self.drawn["ids"][..., :-1], self.drawn["ids"][..., 1:], weights=self.drawn["weights"])

    def record(self) -> Any:
        return getattr(self, "drawn", {})

    def restore(self, recorded: Any) -> None:
        self.drawn = recorded


def train(name: str) -> Any:
    given = tiny.config("gpt", "text.txt", max_steps=9, eval_interval=3, sample_tokens=0, warmup_steps=0)
    return launch.train(RolloutConfig(**vars(given)), name, quiet=True)


@pytest.mark.slow
def test_a_rollout_resumes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 3 trains on the rollout of step 2 again: the checkpoint between them has to keep it."""
    monkeypatch.chdir(tmp_path)
    tiny.text_file(tmp_path)
    killed.resumes(__name__, "4.5")
