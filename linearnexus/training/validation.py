"""The loss of a model on data held out, and of answers their accuracy."""

from collections.abc import Iterable

import jax
import numpy as np

from linearnexus.data.source import DataSource
from linearnexus.models.language_model import LanguageModel
from linearnexus.training.config import TrainConfig
from linearnexus.training.step import evaluate_answers, evaluate_batch


def validate(model: LanguageModel, source: DataSource, config: TrainConfig) -> tuple[float, float | None]:
    """The mean loss of a validation token in nats (of a mixture, by its weights); where the data has answers, the
    share that is most likely to the model, else None."""
    parts = [(part.share, measure(model, part.batches, source.has_answers)) for part in source.evaluation(config)]
    loss = sum(share * loss for share, (loss, _) in parts)
    return loss, sum(share * right for share, (_, right) in parts) if source.has_answers else None


def measure(model: LanguageModel, batches: Iterable, accuracy: bool = True) -> tuple[float, float]:
    """The mean loss of a weighted token in nats, and the share of them that is most likely to the model (0.0 without
    `accuracy`, which costs a pass through the logits)."""
    total = np.zeros(3)  # of losses, of weights, of right ones
    for batch, weights in batches:
        sums = (evaluate_answers if accuracy else evaluate_batch)(
            model, batch.inputs, batch.targets, weights, batch.starts
        )
        total[: len(sums)] += np.array(jax.device_get(sums), np.float64)
    return float(total[0] / total[1]), float(total[2] / total[1])
