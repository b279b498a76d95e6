"""The config of latent attention."""

from typing import ClassVar

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one


@config("latent_attention")
class LatentAttentionConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.latent_attention:LatentAttention"
    equation: ClassVar[str] = "y_t = sum_s softmax_s(q_t . k_s / sqrt(K + R)) v_s, k_s = [W_k c_s, r_s], v_s = W_v c_s"
    correction: ClassVar[str] = "none (keeps every token, in few numbers)"
    paper: ClassVar[str] = "DeepSeek-AI 2024"

    n_head: int = 4
    kv_rank: int | None = None  # C, numbers of the latent vector c; None: D / 2
    q_rank: int | None = None  # of compressed queries; None: queries are not compressed
    head_size: int | None = None  # K, numbers of a key that are made from c; None: D / n_head
    rope_size: int | None = None  # R, numbers of the rotary key r, which all heads share; None: K / 2, made even
    value_size: int | None = None  # V; None: K
    rope_theta: float | None = 10_000.0  # base of the rotary wavelengths; None: r is not turned (Kimi Linear)

    def sizes(self, hidden_size: int) -> tuple[int, int, int, int]:
        """K, R, V and C."""
        key = hidden_size // self.n_head if self.head_size is None else self.head_size
        rope = 2 * -(-key // 4) if self.rope_size is None else self.rope_size
        value = key if self.value_size is None else self.value_size
        return key, rope, value, -(-hidden_size // 2) if self.kv_rank is None else self.kv_rank

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "kv_rank", "q_rank", "head_size", "rope_size", "value_size")
        key, rope, _, _ = self.sizes(hidden_size)
        if key < 1:
            raise UserError(f"n_head {self.n_head} leaves no key at hidden_size {hidden_size}; give fewer heads.")
        if self.rope_theta is not None and rope % 2:
            raise UserError(f"rope_size is {rope}; rotary positions turn pairs of numbers, so give an even number.")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        key, rope, value, _ = self.sizes(hidden_size)
        return (context + 1) * self.n_head * (key + rope + value)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (
            cls(n_head=3),
            cls(n_head=2, kv_rank=7, q_rank=6, head_size=5, rope_size=4, value_size=3, rope_theta=100.0),
            cls(n_head=3, rope_size=3, rope_theta=None),
        )
