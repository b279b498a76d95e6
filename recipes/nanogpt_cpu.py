"""nanoGPT's character model for a CPU, with its exact recipe (karpathy/nanoGPT, README, "I only have a macbook").

    linearnexus train recipes/nanogpt_cpu.py

Expected: validation loss about 1.90 over the whole split in windows of 64 that do not overlap (nanoGPT's own code:
1.904 to 1.917, three seeds), 0.8M parameters, 2,000 steps of 12 x 64 characters. Two CPU cores: about 2 minutes.

The same as nanoGPT: 4 layers, 4 heads, width 128, no biases, tied embeddings, learned positions, AdamW with betas 0.9
and 0.99, warm-up 100, cosine from 1e-3 to 1e-4, weight decay 0.1, clipping 1, windows drawn anywhere, exact GELU.
"""

from linearnexus.mixers.configs import AttentionConfig, MLPConfig
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizers import AdamWConfig


def recipe() -> TrainConfig:
    block = BlockConfig(AttentionConfig(n_head=4, rope_theta=None), MLPConfig(activation="gelu_erf"))
    return TrainConfig(
        model=ModelConfig(
            pattern=(block,),
            n_layer=4,
            hidden_size=128,
            norm=LayerNormConfig(bias=False),
            learned_positions=64,
        ),
        data="shakespeare",
        sequence_length=64,
        batch_size=12,
        order="random",
        max_steps=2000,
        optimizer=AdamWConfig(beta2=0.99),
        learning_rate=1e-3,
        min_lr_ratio=0.1,
        eval_interval=500,
        eval_batches=0,
    )
