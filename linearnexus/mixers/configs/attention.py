"""Configs of softmax attention."""

import math
from typing import Any, ClassVar

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one, divides, even_heads


@config("rope_scaling")
class RopeScaling:
    """Slower rotary positions, for texts longer than those that a model was first trained on (Chen et al. 2023; with
    `original_length` as in Llama 3.1: only wavelengths that are long beside it)."""

    factor: float  # how many times slower
    original_length: int | None = None  # tokens of the first training; None: every wavelength is scaled
    low: float = 1.0  # turns within original_length: with fewer a wavelength is scaled,
    high: float = 4.0  # with more it stays, between the two it is partly scaled

    def __post_init__(self) -> None:
        if not self.factor >= 1 or not self.high > self.low > 0 or (self.original_length or 1) < 1:
            raise UserError(
                f"rope_scaling has factor {self.factor}, original_length {self.original_length}, low {self.low} and "
                f"high {self.high}; give a factor and a length of 1 or more, and 0 < low < high."
            )

    def __call__(self, rate: Any) -> Any:
        """The angles per position, of those without scaling."""
        if self.original_length is None:
            return rate / self.factor
        turns = rate * (self.original_length / (2 * math.pi))
        stays = ((turns - self.low) / (self.high - self.low)).clip(0, 1)
        return rate * (stays + (1 - stays) / self.factor)


@config("attention")
class AttentionConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.attention:Attention"
    equation: ClassVar[str] = "y_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s"
    correction: ClassVar[str] = "none (keeps every token; with `window`, the last ones)"
    paper: ClassVar[str] = "Vaswani et al. 2017; window: Beltagy et al. 2020"

    n_head: int = 4
    n_kv_head: int | None = None  # key and value heads, shared by groups of query heads; None: n_head
    head_size: int | None = None  # K; None: D / n_head
    window: int | None = None  # tokens that a token sees, itself included; None: all before it
    rope_theta: float | None = 10_000.0  # base of the rotary wavelengths; None: no rotary positions
    rope_size: int | None = None  # numbers of a head that are rotated, the first ones; None: all
    rope_scaling: RopeScaling | None = None
    qk_norm: bool = False  # RMSNorm on each query and key head
    norm_eps: float = 1e-5  # of that norm
    norm_offset: float = 0.0  # added to its scale
    bias: bool = False  # on queries, keys, values and the output
    qkv_bias: bool = False  # on queries, keys and values only (Qwen2)
    gate: bool = False  # each head's output times sigmoid(W_g x) (Qwen3-Next)

    @property
    def kv_heads(self) -> int:
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    def size(self, hidden_size: int) -> int:
        """K, numbers a head."""
        return hidden_size // self.n_head if self.head_size is None else self.head_size

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "head_size", "rope_size")
        if self.head_size is None:
            divides("n_head", self.n_head, "hidden_size", hidden_size)
        divides("n_kv_head", self.kv_heads, "n_head", self.n_head)
        size = self.size(hidden_size)
        if self.rope_theta is not None and self.rope_size is None and self.head_size is None:
            even_heads(hidden_size, self.n_head)
        elif self.rope_theta is not None and ((self.rope_size or size) % 2 or (self.rope_size or size) > size):
            raise UserError(
                f"rope_size is {self.rope_size} and a head has {size} numbers; rotary positions turn pairs of them, so "
                "give an even number up to the size of a head."
            )
        if self.window is not None and self.window < 1:
            raise UserError(
                f"window is {self.window}; it counts the tokens a token sees, itself included, so give 1 or more."
            )

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        span = min(context, self.window or context)
        seen = span - span * (span - 1) / (2 * context)  # mean number of visible keys
        return 4 * seen * self.n_head * self.size(hidden_size)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        rope: dict[str, Any] = {"rope_theta": 50.0, "rope_size": 6, "rope_scaling": RopeScaling(3.0, 16)}
        return (
            cls(n_head=3),
            cls(n_head=6, n_kv_head=2, bias=True, qk_norm=True),
            cls(n_head=2, n_kv_head=1, head_size=10, qk_norm=True, norm_offset=1.0, qkv_bias=True, gate=True, **rope),
            cls(n_head=3, n_kv_head=1, window=5),
            cls(n_head=3, rope_theta=None),
        )
