"""Configs of Mamba, Mamba-2 and Mamba-3."""

from typing import ClassVar

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one, divides


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
