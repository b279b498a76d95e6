"""Groups of options that several verbs share, and the ways in which verbs read them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from linearnexus.cli.main import warn
from linearnexus.core.machine import prepare


@dataclass(frozen=True)
class ModelOptions:
    """What is left out stays as the preset has it."""

    pattern: str | None = None  # sequence mixers, layer after layer: "3*mamba2,1*attention(window=64)"
    n_layer: int | None = None  # depth: number of blocks
    hidden_size: int | None = None  # width of the model
    n_head: int | None = None  # attention heads
    n_kv_head: int | None = None  # key and value heads, shared by groups of heads
    window: int | None = None  # tokens that attention looks back over
    learned_positions: int | None = None  # rows of a learned position table; 0 for none
    tie_embeddings: bool | None = None  # is the output head the embedding table?
    dropout: float | None = None  # share of activations set to zero in training
    dtype: Literal["float32", "bfloat16"] | None = None  # of activations


@dataclass(frozen=True)
class OptimizerOptions:
    """Fields of the optimizer; what is left out stays as it has it."""

    matrix_learning_rate: float | None = None  # muon only: the peak for matrices, learning_rate is for the rest
    weight_decay: float | None = None  # of matrices and embeddings, never of norms, biases, decays
    beta1: float | None = None  # decay of the mean of gradients
    beta2: float | None = None  # decay of the mean of squares


def train_with(call: Callable[[], Any], stopped: str = "") -> Any:
    """Sets the machine up, calls what trains, and returns what that returns; a stop signal becomes the exit code that
    shells expect, after the sentence `stopped`."""
    prepare(warn)
    from linearnexus.training.launch import Interrupted

    try:
        return call()
    except Interrupted as signal:
        if stopped:
            print(stopped, flush=True)
        sys.exit(128 + signal.number)
