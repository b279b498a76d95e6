"""A trained model, asked at other lengths than it was trained at."""

import dataclasses

from linearnexus.data.tasks import Task
from linearnexus.models.language_model import LanguageModel
from linearnexus.training.objective import CrossEntropy, validate

ROWS, TOKENS = 256, 8192  # rows that are asked; tokens of a batch at most, unless a row has more


def accuracy(model: LanguageModel, task: Task, length: int) -> float:
    """The share of right answers in held-out rows of the task of that length. Raises UserError where it has no such
    rows."""
    longer = dataclasses.replace(task, length=length)
    rows = longer.held_out(max(1, min(ROWS, TOKENS // length)), ROWS)
    return validate(CrossEntropy(has_answers=True), model, None, [(1.0, rows)])["accuracy"]
