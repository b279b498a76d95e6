"""Checkpoints with each evaluation, and at the end: the best, the last and the one before it are kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from linearnexus.training import checkpoint, run_folder
from linearnexus.training.fit import Hook, Loop
from linearnexus.training.hooks.cadence import AtEvaluations, Cadence
from linearnexus.training.hooks.clock import Clock
from linearnexus.training.stream import Stream


class Checkpoints(AtEvaluations):
    """Also keeps what the other hooks and the stream have to remember."""

    def __init__(self, folder: Path, cadence: Cadence, clock: Clock, stream: Stream, hooks: Sequence[Hook]) -> None:
        self.folder, self.cadence, self.clock, self.stream = folder, cadence, clock, stream
        self.hooks = hooks

    def finish(self, loop: Loop) -> None:
        if loop.done not in checkpoint.steps(self.folder):
            self.act(loop)

    def act(self, loop: Loop) -> None:
        with self.clock.pause(loop):
            state: dict[str, Any] = {
                "step": loop.done,
                "total": loop.total,
                "best": loop.best,
                "pending": [
                    {name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(loop.metrics)
                ],
                "environment": run_folder.environment(),
            }
            trees = {checkpoint.MODEL: loop.state.model, checkpoint.OPTIMIZER: loop.state.optimizer}
            for hook in self.hooks:
                state |= hook.saved()
                trees |= hook.arrays()
            if recorded := self.stream.record():
                trees[checkpoint.STREAM] = dict(recorded)
            before = [step for step in checkpoint.steps(self.folder) if step < loop.done][-1:]  # a later one is damaged
            checkpoint.save(self.folder, loop.done, trees, state)
            checkpoint.keep_only(self.folder, {loop.done, *before, *([loop.best[1]] if loop.best else [])})


def unlogged_metrics(saved: Mapping[str, Any]) -> list[dict[str, float]]:
    """The metrics that no row had yet, of a checkpoint. Version 0.1 kept pairs of loss and gradient norm."""
    return [
        dict(metrics) if isinstance(metrics, dict) else dict(zip(("loss", "grad_norm"), metrics, strict=True))
        for metrics in saved["pending"]
    ]
