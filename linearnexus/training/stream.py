"""Where the batches of a run come from: `next(step, state) -> batch`.

A stream of data is a pure function of the step, so a run that was killed resumes bit for bit. A stream may also depend
on the state of the training (a rollout samples from the model), which a resumed run has again. What cannot be computed
again is recorded: a checkpoint keeps the arrays of `record`, and a resumed run gives them back to `restore`.

Look first at: `Stream`, `BatchStream`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from linearnexus.data.batches import Batches
from linearnexus.data.prefetch import Prefetcher


class Stream:
    """The contract. A batch is any pytree of arrays with the batches of one step stacked: [A, ...]."""

    def next(self, step: int, state: Any) -> Any:
        """The batch of step `step`, from 0. `state`: the `TrainState` before that step."""
        raise NotImplementedError

    def record(self) -> Mapping[str, np.ndarray]:
        """What a checkpoint has to keep so that the next batches can be made again: draws from earlier weights, say."""
        return {}

    def restore(self, recorded: Mapping[str, np.ndarray]) -> None:
        """Takes up what `record` returned when the checkpoint was made."""

    def close(self) -> None:
        """Called once, when the run ends or stops."""


class BatchStream(Stream):
    """The batches of a data source, `count` of them a step. They do not depend on the state, so the next step's are
    made in a thread while this one runs."""

    def __init__(self, batches: Batches, count: int = 1) -> None:
        self._prefetcher = Prefetcher(lambda step: stack([batches.batch(step * count + n) for n in range(count)]))

    def next(self, step: int, state: Any) -> Any:
        return self._prefetcher.get(step)

    def close(self) -> None:
        self._prefetcher.close()


def stack(batches: list[Any]) -> Any:
    """Batches [...] as one [A, ...]."""
    return jax.tree.map(lambda *parts: np.stack(parts), *batches)
