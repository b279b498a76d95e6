"""Configs of the mixers that follow the delta rule: DeltaNet, Gated DeltaNet and Kimi Delta Attention."""

from typing import ClassVar

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one, divides


@config("deltanet")
class DeltaNetConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.deltanet:DeltaNet"
    equation: ClassVar[str] = "S_t = (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, y_t = q_t S_t / sqrt(K)"
    correction: ClassVar[str] = "erases the share b_t in (0, 1) of the old value, or (0, 2)"
    paper: ClassVar[str] = "Schlag et al. 2021; Yang et al. 2024; negative eigenvalues: Grazzi et al. 2024"

    n_head: int = 4
    conv_size: int = 4  # taps of the short convolution
    negative_eigenvalues: bool = False  # b_t in (0, 2): a write can turn the sign of what it finds

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "conv_size")
        divides("n_head", self.n_head, "hidden_size", hidden_size)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        return 6 * hidden_size * (hidden_size // self.n_head) + 6 * self.conv_size * hidden_size

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3), cls(n_head=2, conv_size=2, negative_eigenvalues=True))


@config("gated_deltanet")
class GatedDeltaNetConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.gated_deltanet:GatedDeltaNet"
    equation: ClassVar[str] = "S_t = (I - b_t k_t k_t^T) a_t S_{t-1} + b_t k_t v_t^T, y_t = q_t S_t / sqrt(K)"
    decay: ClassVar[str] = "per head, from the token"
    correction: ClassVar[str] = "erases the share b_t in (0, 1) of the old value, or (0, 2)"
    paper: ClassVar[str] = "Yang et al. 2024b"

    n_head: int = 4  # value heads, H
    n_key_head: int | None = None  # query and key heads, G, each shared by H / G value heads; None: n_head
    key_size: int | None = None  # K; None: so that all keys of n_head heads are 3/4 D wide
    value_size: int | None = None  # V; None: 2 K
    conv_size: int = 4  # taps of the short convolution
    negative_eigenvalues: bool = False  # b_t in (0, 2)
    norm_eps: float = 1e-5

    @property
    def key_heads(self) -> int:
        return self.n_head if self.n_key_head is None else self.n_key_head

    def sizes(self, hidden_size: int) -> tuple[int, int]:
        """Key and value numbers a head."""
        key = 3 * hidden_size // (4 * self.n_head) if self.key_size is None else self.key_size
        return key, 2 * key if self.value_size is None else self.value_size

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "n_key_head", "key_size", "value_size", "conv_size")
        divides("n_key_head", self.key_heads, "n_head", self.n_head)
        if self.sizes(hidden_size)[0] < 1:
            raise UserError(f"n_head {self.n_head} leaves no key at hidden_size {hidden_size}; give fewer heads.")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        key, value = self.sizes(hidden_size)
        taps = 2 * self.conv_size * (2 * self.key_heads * key + self.n_head * value)
        return 7 * self.n_head * key * value + taps

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (
            cls(n_head=3),
            cls(n_head=6, n_key_head=2, key_size=5, value_size=4, conv_size=3, negative_eigenvalues=True),
        )


@config("kimi_delta_attention")
class KimiDeltaAttentionConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.kimi_delta_attention:KimiDeltaAttention"
    equation: ClassVar[str] = "S_t = (I - b_t k_t k_t^T) diag(a_t) S_{t-1} + b_t k_t v_t^T, y_t = q_t S_t / sqrt(K)"
    decay: ClassVar[str] = "per key, from the token"
    correction: ClassVar[str] = "erases the share b_t in (0, 1) of the old value, or (0, 2)"
    paper: ClassVar[str] = "Kimi Team 2025"

    n_head: int = 4
    key_size: int | None = None  # K; None: D / n_head
    value_size: int | None = None  # V; None: K
    rank: int | None = None  # rank of the projections to decay and output gate; None: V
    conv_size: int = 4  # taps of the short convolution
    negative_eigenvalues: bool = False  # b_t in (0, 2)

    def sizes(self, hidden_size: int) -> tuple[int, int, int]:
        """Key and value numbers a head, and the rank."""
        key = hidden_size // self.n_head if self.key_size is None else self.key_size
        value = key if self.value_size is None else self.value_size
        return key, value, value if self.rank is None else self.rank

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "key_size", "value_size", "rank", "conv_size")
        if self.sizes(hidden_size)[0] < 1:
            raise UserError(f"n_head {self.n_head} leaves no key at hidden_size {hidden_size}; give fewer heads.")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        key, value, _ = self.sizes(hidden_size)
        return 7 * self.n_head * key * value + 2 * self.conv_size * self.n_head * (2 * key + value)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3, key_size=5, value_size=4, rank=2, conv_size=3, negative_eigenvalues=True),)
