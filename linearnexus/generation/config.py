"""How the next token is chosen. Imports without JAX, so that the command line answers at once."""

import math

from linearnexus.core.config import config
from linearnexus.core.errors import UserError


@config("sampling")
class SamplingConfig:  # --help prints the docstring and the comments
    """How the next token is drawn: the penalties apply first, then the others in this order."""

    temperature: float = 0.8  # divides the scores: below 1 safer, above 1 more daring; 0: always the best token
    top_k: int = 0  # only the k most probable tokens; 0: off
    top_p: float = 1.0  # only the most probable tokens that together hold this probability; 1: off
    min_p: float = 0.0  # only tokens at least this many times as probable as the best one; 0: off
    repetition_penalty: float = 1.0  # weakens the tokens that the text already holds; 1: off, below 1: strengthens them
    presence_penalty: float = 0.0  # is taken from the score of each token that was written already; 0: off
    frequency_penalty: float = 0.0  # the same, times how often it was written; 0: off
    seed: int = 0  # the same seed, the same text; 64 bits of it count

    def __post_init__(self) -> None:
        rules = (
            (
                "temperature",
                0 <= self.temperature < math.inf,
                "it divides the scores, so give 0 (always the most probable token) or more, such as 0.8",
            ),
            ("top_k", self.top_k >= 0, "it counts tokens, so give 1 or more, or 0 to keep them all"),
            (
                "top_p",
                0 < self.top_p <= 1,
                "it is a probability, so give a number above 0, up to 1 (which keeps all tokens)",
            ),
            ("min_p", 0 <= self.min_p < 1, "it is a share of the best token's probability, so give 0 (off) to below 1"),
            (
                "repetition_penalty",
                0 < self.repetition_penalty < math.inf,
                "it divides the scores of tokens already used, so give a number above 0: 1 is off, 1.1 is mild",
            ),
            ("presence_penalty", abs(self.presence_penalty) < math.inf, "give a number, such as 0 (off) or 0.5"),
            ("frequency_penalty", abs(self.frequency_penalty) < math.inf, "give a number, such as 0 (off) or 0.5"),
        )
        for name, allowed, rule in rules:
            if not allowed:
                raise UserError(f"{name} is {getattr(self, name)}; {rule}.")


DEFAULT = SamplingConfig()
