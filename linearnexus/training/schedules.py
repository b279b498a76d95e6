"""The learning rate as a pure function of the step: warm up, then one of three courses.

cosine    down half a cosine to min_lr_ratio of the peak (Loshchilov and Hutter 2017, equation 5)
constant  stay at the peak
wsd       stay, then fall in a straight line over the last decay_fraction of the steps (Hu et al. 2024, section 4)
"""

import math

from linearnexus.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, total: int | None) -> float:
    """The rate of step 0, 1, ... of `total`. The warm-up rises in a straight line and does not depend on `total`; while
    that is not known yet (None), the rate stays at the peak."""
    if step < config.warmup_steps:
        return config.peak_rate * (step + 1) / config.warmup_steps
    if total is None:
        return config.peak_rate
    done = min(1.0, (step - config.warmup_steps) / max(1, total - 1 - config.warmup_steps))
    return config.peak_rate * _course(config, done)


def _course(config: TrainConfig, done: float) -> float:
    """The share of the peak when `done` (0 to 1) of the steps after the warm-up are behind."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return config.min_lr_ratio + (1 - config.min_lr_ratio) * (1 + math.cos(math.pi * done)) / 2
    left = min(1.0, (1 - done) / config.decay_fraction)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * left
