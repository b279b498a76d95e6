"""The configs of every mixer, by the name that JSON, patterns and the command line know it by.

Importable without JAX. The classes that they build are in the files that `implementation` names.
"""

import math
from typing import Any, ClassVar, Literal

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.config import ChannelMixerConfig, MixerConfig, at_least_one, divides


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
            _even_heads(hidden_size, self.n_head)
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


@config("mamba")
class MambaConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.mamba:Mamba"
    equation: ClassVar[str] = "h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t, y_t = C_t . h_t + D x_t"
    decay: ClassVar[str] = "per channel and state number, from the token"
    paper: ClassVar[str] = "Gu and Dao 2023"

    state_size: int = 16  # N, numbers of state a channel
    expand: int = 2  # E / D
    conv_size: int = 4  # taps of the short convolution
    dt_rank: int | None = None  # rank of the step size's projection; None: D / 16, rounded up
    select_norm: bool = False  # RMSNorm on dt, B and C, as in Jamba
    select_scale: bool = True  # do these norms have a scale? (Falcon-Mamba: no)
    norm_eps: float = 1e-5  # of these norms

    def rank(self, hidden_size: int) -> int:
        return -(-hidden_size // 16) if self.dt_rank is None else self.dt_rank

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "state_size", "expand", "conv_size", "dt_rank")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        # decay (2), update (4) and read-out (2) for each of N numbers, convolution (2 a tap), gate and skip (4)
        return self.expand * hidden_size * (8 * self.state_size + 2 * self.conv_size + 4)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(), cls(state_size=5, expand=3, conv_size=2, dt_rank=2), cls(select_norm=True))


@config("mamba2")
class Mamba2Config(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.mamba2:Mamba2"
    equation: ClassVar[str] = "S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T, y_t = C_t S_t + D x_t"
    decay: ClassVar[str] = "per head, from the token"
    paper: ClassVar[str] = "Dao and Gu 2024"

    state_size: int = 128  # N, length of the keys B and C
    expand: int = 2  # E / D
    head_size: int = 64  # channels of a head
    n_group: int = 1  # groups of heads that share B and C, and are normalised together
    conv_size: int = 4  # taps of the short convolution
    norm_eps: float = 1e-5

    def n_head(self, hidden_size: int) -> int:
        return self.expand * hidden_size // self.head_size

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "state_size", "expand", "head_size", "n_group", "conv_size")
        inner = self.expand * hidden_size
        divides("head_size", self.head_size, "expand x hidden_size", inner)
        divides("n_group", self.n_group, "the number of heads", inner // self.head_size)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        inner = self.expand * hidden_size
        taps = 2 * self.conv_size * (inner + 2 * self.n_group * self.state_size)
        return 5 * inner * self.state_size + taps + 8 * inner

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (
            cls(state_size=6, head_size=12),
            cls(state_size=5, head_size=6, n_group=2, conv_size=2),
        )


@config("mamba3")
class Mamba3Config(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.mamba3:Mamba3"
    equation: ClassVar[str] = (
        "S_t = a_t (S_{t-1} + (1 - l_t) dt_t k_{t-1} x_{t-1}^T) + l_t dt_t k_t x_t^T, y_t = q_t S_t + D x_t, "
        "k and q turned by angles that the tokens add up"
    )
    decay: ClassVar[str] = "per head, from the token"
    paper: ClassVar[str] = "Mamba-3 (arXiv 2603.15569)"

    state_size: int = 128  # N, length of the keys B and C
    expand: int = 2  # E / D
    head_size: int = 64  # channels of a head
    n_group: int = 1  # groups of heads that share B and C
    rope_fraction: float = 0.5  # share of a key that turns
    mimo_rank: int = 1  # R, inputs and outputs of a head
    norm_eps: float = 1e-5  # of the norms of B and C

    @property
    def turns(self) -> int:
        """J, pairs of numbers of a key that turn."""
        return int(self.rope_fraction * self.state_size) // 2

    def n_head(self, hidden_size: int) -> int:
        return self.expand * hidden_size // self.head_size

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "state_size", "expand", "head_size", "n_group", "mimo_rank")
        if not 0 < self.rope_fraction <= 1 or not self.turns:
            raise UserError(
                f"rope_fraction is {self.rope_fraction} and state_size {self.state_size}; pairs of a key's numbers "
                "turn, so give a share of at most 1 that leaves 2 numbers or more."
            )
        inner = self.expand * hidden_size
        divides("head_size", self.head_size, "expand x hidden_size", inner)
        divides("n_group", self.n_group, "the number of heads", inner // self.head_size)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        inner, n_head = self.expand * hidden_size, self.n_head(hidden_size)
        turns = 12 * n_head * self.turns + 4 * n_head * self.state_size
        return inner * self.state_size + self.mimo_rank * (4 * inner * self.state_size + turns + 10 * inner)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (
            cls(state_size=6, head_size=12),
            cls(state_size=5, head_size=6, n_group=2, rope_fraction=1.0, mimo_rank=3),
        )


@config("linear_attention")
class LinearAttentionConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.linear_attention:LinearAttention"
    equation: ClassVar[str] = "S_t = S_{t-1} + f(k_t) v_t^T, z_t = z_{t-1} + f(k_t), y_t = f(q_t) S_t / (f(q_t) . z_t)"
    paper: ClassVar[str] = "Katharopoulos et al. 2020"

    n_head: int = 4

    def check(self, hidden_size: int) -> None:
        divides("n_head", self.n_head, "hidden_size", hidden_size)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        size = hidden_size // self.n_head
        return 4 * hidden_size * (size + 1)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3),)


@config("retnet")
class RetNetConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.retnet:RetNet"
    equation: ClassVar[str] = "S_t = g S_{t-1} + k_t v_t^T, y_t = q_t S_t / sqrt(K)"
    decay: ClassVar[str] = "per head, fixed: g = 1 - 2^(-5-h)"
    paper: ClassVar[str] = "Sun et al. 2023"

    n_head: int = 4
    expand_v: int = 2  # width of all values / D

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "expand_v")
        divides("n_head", self.n_head, "hidden_size", hidden_size)
        _even_heads(hidden_size, self.n_head)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        return 5 * self.expand_v * hidden_size * (hidden_size // self.n_head)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3),)


@config("gla")
class GLAConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.gla:GLA"
    equation: ClassVar[str] = "S_t = diag(a_t) S_{t-1} + k_t v_t^T, y_t = q_t S_t / sqrt(K)"
    decay: ClassVar[str] = "per key, from the token"
    paper: ClassVar[str] = "Yang et al. 2023"

    n_head: int = 4
    expand_k: float = 0.5  # width of all keys / D
    expand_v: float = 1.0  # width of all values / D
    gate_rank: int = 16  # rank of the decay's projection
    gate_temperature: float = 16.0  # the decay is a sigmoid to the power of 1 / this

    def sizes(self, hidden_size: int) -> tuple[int, int]:
        """Key and value numbers a head."""
        key, value = (round(share * hidden_size) // self.n_head for share in (self.expand_k, self.expand_v))
        return key, value

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "gate_rank")
        if min(self.sizes(hidden_size)) < 1 or not self.gate_temperature > 0:
            raise UserError(
                f"expand_k {self.expand_k}, expand_v {self.expand_v}, n_head {self.n_head} and gate_temperature "
                f"{self.gate_temperature} leave no key or no value; give larger shares or fewer heads."
            )

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        key, value = self.sizes(hidden_size)
        return 5 * self.n_head * key * value

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3, gate_rank=5), cls(n_head=2, expand_k=1.0, expand_v=2.0, gate_temperature=1.0))


@config("mlstm")
class MLSTMConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.mlstm:MLSTM"
    equation: ClassVar[str] = (
        "S_t = a_t S_{t-1} + i_t k_t v_t^T, z_t = a_t z_{t-1} + i_t k_t, y_t = q_t S_t / max(|q_t . z_t|, 1)"
    )
    decay: ClassVar[str] = "per head, from the token"
    paper: ClassVar[str] = "Beck et al. 2024; layer: Beck et al. 2025"

    n_head: int = 4
    expand_k: float = 0.5  # width of all keys / D
    expand_v: float = 1.0  # width of all values / D
    gate_cap: float = 15.0  # the gates' logarithms stay in (-this, this)

    def sizes(self, hidden_size: int) -> tuple[int, int]:
        """Key and value numbers a head."""
        key, value = (round(share * hidden_size) // self.n_head for share in (self.expand_k, self.expand_v))
        return key, value

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head")
        if min(self.sizes(hidden_size)) < 1 or not self.gate_cap > 0:
            raise UserError(
                f"expand_k {self.expand_k}, expand_v {self.expand_v}, n_head {self.n_head} and gate_cap "
                f"{self.gate_cap} leave no key, no value or no gate; give larger shares or fewer heads."
            )

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        key, value = self.sizes(hidden_size)
        return 5 * self.n_head * key * (value + 1)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3, expand_k=0.7, expand_v=0.5, gate_cap=3.0),)


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


@config("rwkv6")
class RWKV6Config(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.rwkv6:RWKV6"
    equation: ClassVar[str] = "y_t = r_t (S_{t-1} + diag(u) k_t v_t^T), S_t = diag(a_t) S_{t-1} + k_t v_t^T"
    decay: ClassVar[str] = "per key, from the token"
    paper: ClassVar[str] = "Peng et al. 2024"

    n_head: int = 4
    mix_rank: int | None = None  # of the shares of the token before; None: 32, or D / 8 where that is less
    decay_rank: int | None = None  # of the decay; None: 64, or D / 4 where that is less

    def ranks(self, hidden_size: int) -> tuple[int, int]:
        mix = max(min(32, hidden_size // 8), 1) if self.mix_rank is None else self.mix_rank
        return mix, max(min(64, hidden_size // 4), 1) if self.decay_rank is None else self.decay_rank

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "mix_rank", "decay_rank")
        divides("n_head", self.n_head, "hidden_size", hidden_size)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        mix, decay = self.ranks(hidden_size)
        low_rank = 2 * hidden_size * (10 * mix + 2 * decay)
        return 5 * hidden_size * (hidden_size // self.n_head) + low_rank + 15 * hidden_size

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3, mix_rank=4, decay_rank=5),)


@config("rwkv7")
class RWKV7Config(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.rwkv7:RWKV7"
    equation: ClassVar[str] = "S_t = (diag(w_t) - (a_t c_t) c_t^T) S_{t-1} + k_t v_t^T, y_t = r_t S_t"
    decay: ClassVar[str] = "per key, from the token, at least 0.545"
    correction: ClassVar[str] = "erases along a_t c_t, a_t in (0, 1) for each key, what is found along c_t"
    paper: ClassVar[str] = "Peng et al. 2025"
    shares: ClassVar[bool] = True  # the first layer's values

    n_head: int = 4
    # ranks of the projections to decay, a, value residual and gate; None: the official multiples of 32
    decay_rank: int | None = None
    a_rank: int | None = None
    v_rank: int | None = None
    gate_rank: int | None = None
    norm_eps: float = 64e-5  # the official 1e-5 times its head size, 64

    def ranks(self, hidden_size: int) -> tuple[int, ...]:
        given = ((self.decay_rank, 2.5), (self.a_rank, 2.5), (self.v_rank, 1.7), (self.gate_rank, 5.0))
        return tuple(
            max(32, round(scale * hidden_size**0.5 / 32) * 32) if rank is None else rank for rank, scale in given
        )

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "n_head", "decay_rank", "a_rank", "v_rank", "gate_rank")
        divides("n_head", self.n_head, "hidden_size", hidden_size)

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        low_rank = 4 * hidden_size * sum(self.ranks(hidden_size))
        return 9 * hidden_size * (hidden_size // self.n_head) + low_rank + 20 * hidden_size

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(n_head=3, decay_rank=7, a_rank=5, v_rank=2, gate_rank=4),)


@config("gated_conv")
class GatedConvConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.gated_conv:GatedConv"
    equation: ClassVar[str] = "y_t = c_t * sum_j w_j b_{t-j} x_{t-j}"
    decay: ClassVar[str] = "forgets after conv_size tokens"
    paper: ClassVar[str] = "LFM2 (Liquid AI 2025); H3 (Fu et al. 2023)"

    conv_size: int = 3  # taps

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "conv_size")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        return hidden_size * (2 * self.conv_size + 2)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(), cls(conv_size=5))


Activation = Literal["gelu", "gelu_erf", "silu", "relu2"]


@config("mlp")
class MLPConfig(ChannelMixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.mlp:MLP"

    width: float = 4.0  # F / D
    activation: Activation = "gelu"  # in GPT-2's tanh form, gelu_erf in the exact one; relu2: squared ReLU
    gated: bool = False  # with silu: SwiGLU
    bias: bool = False


@config("moe")
class MoEConfig(ChannelMixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.moe:MoE"

    n_expert: int = 8
    experts_per_token: int = 2
    width: float = 2.0  # F / D of one expert
    activation: Activation = "silu"
    gated: bool = True
    normalize: bool = True  # a token's chosen weights sum to 1 (Mixtral); False: they stay as they were (Jamba)
    balance: float = 0.01  # weight of the loss that keeps experts equally busy
    shared_width: float = 0.0  # F / D of an expert that every token uses, gated (Qwen3-Next); 0: there is none

    def __post_init__(self) -> None:
        at_least_one(self, "n_expert", "experts_per_token")
        if self.experts_per_token > self.n_expert:
            raise UserError(
                f"experts_per_token is {self.experts_per_token} and there are {self.n_expert} experts; "
                f"give at most {self.n_expert}."
            )
        if not self.balance >= 0:
            raise UserError(f"balance is {self.balance}; give 0 (off) or more, such as 0.01.")

    def idle(self, hidden_size: int) -> int:
        matrices = 3 if self.gated else 2
        return (self.n_expert - self.experts_per_token) * matrices * hidden_size * round(self.width * hidden_size)


@config("rwkv_mlp")
class RWKVMLPConfig(ChannelMixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.rwkv_mlp:RWKVMLP"

    width: float = 4.0  # F / D
    gated: bool = False  # RWKV-6's; False: RWKV-7's


def _even_heads(hidden_size: int, n_head: int) -> None:
    if hidden_size // n_head % 2:
        raise UserError(
            f"Rotary positions need an even head size, and hidden_size {hidden_size} / n_head {n_head} is "
            f"{hidden_size // n_head}; change either."
        )
