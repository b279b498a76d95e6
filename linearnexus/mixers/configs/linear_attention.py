"""Configs of the mixers whose memory only adds: linear attention, RetNet, GLA and mLSTM."""

from typing import ClassVar

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one, divides, even_heads


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
        even_heads(hidden_size, self.n_head)

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
