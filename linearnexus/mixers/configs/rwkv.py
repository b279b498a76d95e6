"""Configs of RWKV-6 and RWKV-7."""

from typing import ClassVar

from linearnexus.core.config import config
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one, divides


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
    shares_values: ClassVar[bool] = True  # the first layer's values

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
