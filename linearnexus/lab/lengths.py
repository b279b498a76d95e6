"""A trained model, asked at other lengths than it was trained at."""

import dataclasses

import jax
import numpy as np

from linearnexus.data.tasks import Task
from linearnexus.models.language_model import LanguageModel
from linearnexus.training.step import evaluate_answers

ROWS, TOKENS = 256, 8192  # rows that are asked; tokens of a batch at most, unless a row has more


def accuracy(model: LanguageModel, task: Task, length: int) -> float:
    """The share of right answers in held-out rows of the task of that length. Raises UserError where it has no such
    rows."""
    longer = dataclasses.replace(task, length=length)
    total = np.zeros(3)
    for batch, weights in longer.held_out(max(1, min(ROWS, TOKENS // length)), ROWS):
        total += np.array(jax.device_get(evaluate_answers(model, batch.inputs, batch.targets, weights)))
    return float(total[2] / total[1])
