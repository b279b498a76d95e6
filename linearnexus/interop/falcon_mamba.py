"""Falcon-Mamba (Zuo et al. 2024): Mamba with RMSNorms that have no scale on dt, B and C. model_type falcon_mamba."""

from typing import Any

from linearnexus.interop import mamba
from linearnexus.interop.settings import Family, PublishedSettings
from linearnexus.mixers.configs import MambaConfig
from linearnexus.models.config import ModelConfig


def read(given: PublishedSettings) -> ModelConfig:
    eps = given.number("mixer_rms_eps", 1e-6)
    return mamba.model(given, mamba.sizes(given, select_norm=True, select_scale=False, norm_eps=eps))


def write(config: ModelConfig) -> dict[str, Any] | None:
    written, mixer = mamba.write(config), config.pattern[0].mixer
    if written is None or not isinstance(mixer, MambaConfig) or not mixer.select_norm:
        return None
    own = {"model_type": "falcon_mamba", "architectures": ["FalconMambaForCausalLM"], "mixer_rms_eps": mixer.norm_eps}
    return written | own


FALCON_MAMBA = Family("Falcon-Mamba", ("falcon_mamba",), read, write, mamba.table, "backbone.")
