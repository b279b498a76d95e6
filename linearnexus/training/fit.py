"""The training loop: a batch, a step, and the hooks that look at it.

    fit(state, step, stream, hooks)

Everything that decides the result (batches, learning rates, keys) is a pure function of the step and of what the stream
recorded, so a run that was killed resumes bit for bit. The loop knows nothing of files, screens, clocks or losses: each
of these is a hook (training/hooks/). Hooks are called in their order, and that order matters: what refuses a bad step
stands before what writes.

Look first at: `fit`, `Hook`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linearnexus.training.stream import Stream


@dataclass
class Loop:
    """Where the training stands. Hooks read it, and may set what decides how far it goes: `total` and `stop`."""

    state: Any  # the TrainState after `done` steps
    done: int = 0
    total: int | None = None  # steps of the whole run; None: not known yet
    stop: str | None = None  # why it ends before `total`, in a word for other hooks; None: it does not
    new: bool = True  # False: it resumes from a checkpoint, which may be that of step 0
    first: int = 0  # the step that this start began from: more than 0 in a resumed run
    metrics: list[Mapping[str, Any]] = field(default_factory=list)  # of the steps that no row of the log has yet
    rate: float = 0.0  # learning rate of the last step
    best: tuple[float, int] | None = None  # the lowest validation loss, and the step that it was measured at
    validation: dict[str, float] = field(default_factory=dict)  # the last evaluation

    @property
    def ended(self) -> bool:
        return self.stop is not None or (self.total is not None and self.done >= self.total)


class Hook:
    """Looks at the training after every step. A hook is given what it needs when it is made."""

    def start(self, loop: Loop) -> None:
        """Before the first step of this start; `loop.done` is 0 in a new run."""

    def after_step(self, loop: Loop) -> None:
        """After each step."""

    def finish(self, loop: Loop) -> None:
        """After the last step, also where the run stops early."""

    def saved(self) -> dict[str, Any]:
        """What a checkpoint's state.json keeps of this hook, as JSON values under names of its own."""
        return {}

    def arrays(self) -> dict[str, Any]:
        """What a checkpoint keeps of it in files of tensors: {file name: tree of arrays}."""
        return {}

    def restore(self, saved: Mapping[str, Any], folder: Path) -> None:
        """Takes up what `saved` and `arrays` returned: the whole state.json, and the folder, of the checkpoint that the
        run resumes from."""


Step = Callable[[Any, Any, Loop], tuple[Any, Mapping[str, Any], float]]


def fit(loop: Loop, step: Step, stream: Stream, hooks: Sequence[Hook]) -> Any:
    """Trains from `loop` to its end and returns the state.

    step: `(state, batch, loop) -> (state, metrics, learning rate)`; the state that goes in may be given up (donated).
    """
    for hook in hooks:
        hook.start(loop)
    while not loop.ended:
        batch = stream.next(loop.done, loop.state)
        loop.state, metrics, loop.rate = step(loop.state, batch, loop)
        loop.done += 1
        loop.metrics.append(metrics)
        for hook in hooks:
            hook.after_step(loop)
    for hook in hooks:
        hook.finish(loop)
    return loop.state
