"""The best recipe found for nanoGPT's CPU budget: the same parameters (0.8M), tokens and steps (2,000 of 12 x 64
characters).

    linearnexus train recipes/best_cpu.py

Expected: validation loss about 1.58 over the whole split in windows of 64 that do not overlap, against 1.90 of
recipes/nanogpt_cpu.py. Two CPU cores: about 2 minutes.

What changed: Muon for the matrices (0.02; AdamW at 5e-3 for the rest), the learning rate down to zero, the block of
`gpt-nano` (rotary positions, RMSNorm, normalised queries and keys, squared ReLU), each window once an epoch.
"""

from linearnexus.models.presets import preset
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizers import MuonConfig


def recipe() -> TrainConfig:
    return TrainConfig(
        model=preset("gpt-nano"),
        data="shakespeare",
        sequence_length=64,
        batch_size=12,
        max_steps=2000,
        optimizer=MuonConfig(matrix_learning_rate=0.02),
        learning_rate=5e-3,
        warmup_steps=50,
        min_lr_ratio=0.0,
        eval_interval=500,
        eval_batches=0,
    )
