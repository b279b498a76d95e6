"""Tiny models, texts and runs, for the tests of the trainer and of what stands on it."""

from pathlib import Path
from typing import Any

from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MLPConfig
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.training.config import TrainConfig

# The letter after "a" tells how long ago "d" was: a model that sees one letter, or two, stays far above loss 0.
PERIOD = "abacabadabae\n"

_mlp = MLPConfig(width=2, activation="relu2")
_attention = BlockConfig(AttentionConfig(n_head=2), _mlp)
_mamba = MambaConfig(state_size=4)
MODELS = {
    "gpt": ModelConfig((_attention,), n_layer=1, hidden_size=32),
    "mamba": ModelConfig((BlockConfig(_mamba),), n_layer=1, hidden_size=32),
    "jamba": ModelConfig((BlockConfig(_mamba, _mlp), _attention), n_layer=2, hidden_size=32),
}
# The defaults are made for larger models, and may change: what a test depends on stands here.
SETTINGS: dict[str, Any] = {
    "sequence_length": 32,
    "batch_size": 4,
    "optimizer": "adamw",
    "warmup_steps": 10,
    "schedule": "cosine",
    "final_fraction": 0.1,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "gradient_clip": 1.0,
    "accumulate": 1,
}


def text_file(folder: Path, text: str = PERIOD * 150) -> str:
    path = folder / "text.txt"
    path.write_text(text)
    return str(path)


def config(kind: str, data: str = "", dropout: float = 0.0, dtype: str = "float32", **options: Any) -> TrainConfig:
    """A run of a tiny model: T = 32, B = 4, hidden size 32."""
    model = MODELS[kind]
    model = ModelConfig(**{**vars(model), "vocab_size": len(set(PERIOD)), "dropout": dropout, "dtype": dtype})
    return TrainConfig(model=model, preset=f"tiny-{kind}", data=data, **{**SETTINGS, **options})
