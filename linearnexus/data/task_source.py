"""`--data recall:pairs=16`: the rows of a task (tasks.py), without end.

Look first at: `TaskKind`, `TaskSource`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batches
from linearnexus.data.settings import DataSettings
from linearnexus.data.source import DataSource, EvaluationPart, SourceKind
from linearnexus.data.tasks import HELD_OUT_ROWS, TASKS, Task, TaskBatches, open_task
from linearnexus.tokenizers import SymbolTokenizer, Tokenizer


@dataclass(frozen=True)
class TaskSource(DataSource):
    """A task's rows, without end."""

    task: Task
    tokenizer: Tokenizer
    info: dict[str, Any]
    tokenizer_name: str = "its own symbols"
    tokenizer_spec: str | None = None
    has_answers: ClassVar[bool] = True

    @property
    def train_tokens(self) -> int:
        return 0

    @property
    def validation_tokens(self) -> int:
        return HELD_OUT_ROWS * self.task.length

    @property
    def first_token(self) -> int:
        return 0

    def batches(self, settings: DataSettings) -> Batches:
        return TaskBatches(self.task, settings.batch_size, settings.seed)

    def evaluation(self, settings: DataSettings) -> list[EvaluationPart]:
        rows = min(HELD_OUT_ROWS, settings.eval_batches * settings.batch_size or HELD_OUT_ROWS)
        return [EvaluationPart(1.0, self.task.held_out(settings.batch_size, rows))]


class TaskKind(SourceKind):
    """NAME or NAME:OPTION=NUMBER,..."""

    names = tuple(TASKS)

    def fixed_settings(self, data: str) -> dict[str, Any]:
        return {"sequence_length": _task(data).length}

    def check(self, settings: DataSettings) -> None:
        self.open(settings, None, None)

    def open(self, settings: DataSettings, tokenizer_file: Path | None, sha256: str | None) -> TaskSource:
        """Raises UserError for settings that a task does not have."""
        task = _task(settings.data)
        if settings.tokenizer is not None:
            raise UserError(
                f"tokenizer is {settings.tokenizer}, but a task has its own symbols; leave --tokenizer out."
            )
        if settings.packing == "best-fit":
            raise UserError(f"packing is best-fit, and {settings.data} has no documents; leave --packing out.")
        if settings.sequence_length != task.length:
            raise UserError(
                f"sequence_length is {settings.sequence_length}, and the rows of {settings.data} have {task.length} "
                f"tokens; leave --sequence-length out, or write length={settings.sequence_length} in --data."
            )
        digest = hashlib.sha256(str(task).encode()).hexdigest()
        return TaskSource(task, SymbolTokenizer(task.symbols), {"name": str(task), "sha256": digest})


def _task(data: str) -> Task:
    task = open_task(data)
    assert task is not None  # `claims` has looked at the name
    return task
