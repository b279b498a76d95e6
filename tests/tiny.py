"""Tiny models, texts and runs, for the tests of the trainer and of what stands on it."""

from pathlib import Path
from typing import Any

from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MLPConfig
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizers import optimizer_config
from linearnexus.training.optimizers.optimizer_config import option_names, with_fields

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
    "optimizer": "adamw(weight_decay=0.1, beta1=0.9, beta2=0.95)",
    "warmup_steps": 10,
    "schedule": "cosine",
    "min_lr_ratio": 0.1,
    "gradient_clip": 1.0,
    "gradient_accumulation_steps": 1,
}


def text_file(folder: Path, text: str = PERIOD * 150) -> str:
    path = folder / "text.txt"
    path.write_text(text)
    return str(path)


def config(kind: str, data: str = "", dropout: float = 0.0, dtype: str = "float32", **options: Any) -> TrainConfig:
    """A run of a tiny model: T = 32, B = 4, hidden size 32."""
    model = MODELS[kind]
    model = ModelConfig(**{**vars(model), "vocab_size": len(set(PERIOD)), "dropout": dropout, "dtype": dtype})
    given = {**SETTINGS, **options}
    fields = {name: given.pop(name) for name in option_names() if name in given}
    given["optimizer"] = with_fields(optimizer_config(given["optimizer"]), fields)
    return TrainConfig(model=model, preset=f"tiny-{kind}", data=data, **given)
