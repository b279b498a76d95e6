"""What is raced, in plain data: both sides build it from here. Imports neither JAX nor PyTorch.

Look first at: `Work`, `WORKS`.
"""

from dataclasses import dataclass
from typing import Literal

from linearnexus.models.config import Weights

Architecture = Literal["gpt", "mamba", "mamba2"]


@dataclass(frozen=True)
class Work:
    """`training`: steps of AdamW on batches of `batch` x `length` tokens. `generation`: `length` tokens behind a prompt
    of one, `batch` texts at once, with temperature 0.8, top-k 50, top-p 0.95. A GPT is nanoGPT's: LayerNorm without
    bias, GELU, learned positions, no dropout, tied embeddings."""

    kind: Literal["training", "generation"]
    architecture: Architecture
    n_layer: int
    width: int
    batch: int
    length: int
    vocab_size: int = 65
    peers: tuple[str, ...] = ("transformers",)
    weights: Weights = "float32"  # of our side; the peers' stay float32

    @property
    def heads(self) -> int:
        """Attention heads: 4 of 32 in the smallest model, 64 wide in the others."""
        return max(4, self.width // 64)

    @property
    def name(self) -> str:
        size = f"{self.architecture} {self.n_layer} x {self.width}"
        kept = "" if self.weights == "float32" else f", {self.weights} weights"
        return f"{self.kind} {size}, {self.batch} x {self.length}{kept}"


NANOGPT = ("nanoGPT, eager", "nanoGPT, compiled", "transformers")
GPT_SIZES = ((4, 128, 65), (6, 384, 65), (12, 768, 50_257))  # n_layer, width, vocabulary: 0.8M, 10.6M, 124M
WORKS = (
    Work("training", "gpt", 4, 128, 12, 64, peers=NANOGPT),
    Work("training", "gpt", 6, 384, 16, 256, peers=NANOGPT),
    Work("training", "gpt", 12, 768, 1, 1024, 50_257, peers=NANOGPT),
    *(Work("training", "mamba", 4, 128, b, t, peers=("transformers", "mamba.py")) for b, t in ((12, 64), (4, 512))),
    *(Work("training", "mamba2", 4, 128, b, t) for b, t in ((12, 64), (4, 512))),
    *(Work("generation", "gpt", n, d, 1, 200 if d < 768 else 64, v) for n, d, v in GPT_SIZES),
    *(Work("generation", "gpt", n, d, 1, 200 if d < 768 else 64, v, weights="int8") for n, d, v in GPT_SIZES[1:]),
    *(Work("generation", "gpt", n, d, 16, 200 if d < 768 else 32, v) for n, d, v in GPT_SIZES),
    *(Work("generation", a, 4, 128, batch, 200) for batch in (1, 16) for a in ("mamba", "mamba2")),
)
