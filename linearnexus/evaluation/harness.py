"""A model for lm-evaluation-harness (Gao et al., https://github.com/EleutherAI/lm-evaluation-harness).

    pip install 'linearnexus[eval]'

    import linearnexus as ln, lm_eval
    from linearnexus.evaluation.harness import HarnessModel

    model = HarnessModel(ln.load("runs/latest").generator)
    print(lm_eval.simple_evaluate(model, tasks=["lambada_openai"])["results"])

A text is cut from the left where it is longer than the context that the model was trained with.

Look first at: `HarnessModel.loglikelihood`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from linearnexus.evaluation.perplexity import windowed
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.models.language_model import LanguageModel
from linearnexus.training.objective import token_losses

MAX_TOKENS = 256  # of an answer whose task names no length


@jax.jit
def scores(
    model: LanguageModel, inputs: Int[Array, "B T"], targets: Int[Array, "B T"]
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
    """The loss of each target, and whether it is the most probable token."""
    logits = model(inputs).logits
    return token_losses(logits, targets), jnp.argmax(logits, axis=-1) == targets


class HarnessModel(LM):
    def __init__(self, generator: Generator, batch_size: int = 16) -> None:
        super().__init__()
        self.generator, self.size = generator, batch_size
        self.length = generator.model.config.learned_positions or generator.context_length

    def loglikelihood(self, requests: Sequence[Instance], **_settings: Any) -> list[tuple[float, bool]]:
        """For (context, continuation): ln p(continuation | context), and whether greedy decoding would write it."""
        pairs = [self._pair(*request.args) for request in requests]
        order = sorted(range(len(pairs)), key=lambda number: len(pairs[number][0]))
        found: dict[int, tuple[float, bool]] = {}
        for first in range(0, len(order), self.size):
            numbers = order[first : first + self.size]
            width = 1 << (len(pairs[numbers[-1]][0]) - 1).bit_length()  # few programs, as in generation
            ids = np.zeros((self.size, width), np.int32)
            for row, number in enumerate(numbers):
                ids[row, : len(pairs[number][0])] = pairs[number][0]
            losses, best = scores(self.generator.model, ids, np.roll(ids, -1, axis=1))
            for row, number in enumerate(numbers):
                text, count = pairs[number]
                part = slice(len(text) - 1 - count, len(text) - 1)
                found[number] = -float(np.asarray(losses[row, part], np.float64).sum()), bool(best[row, part].all())
        return [found[number] for number in range(len(pairs))]

    def loglikelihood_rolling(self, requests: Sequence[Instance], **_settings: Any) -> list[float]:
        """For (text,): ln p(text), after the end token or a new line."""
        texts = [np.array([*self._begin(), *self.generator.tokenizer.encode(request.args[0])]) for request in requests]
        return [-float(sum(map(np.sum, windowed(self.generator.model, ids, self.length)))) for ids in texts]

    def generate_until(self, requests: Sequence[Instance], **_settings: Any) -> list[str]:
        """For (context, settings): the text that the model writes, up to one of settings["until"]. Requests with the
        same settings, as those of a task are, are written together."""
        alike: dict[tuple, list[int]] = {}
        for number, (_, settings) in enumerate(request.args for request in requests):
            until = settings.get("until") or []
            temperature = settings.get("temperature", 0.0) if settings.get("do_sample") else 0.0
            wish = int(settings.get("max_gen_toks", MAX_TOKENS))
            key = wish, temperature, (until,) if isinstance(until, str) else tuple(until)
            alike.setdefault(key, []).append(number)
        answers: dict[int, str] = {}
        for (wish, temperature, stop), numbers in alike.items():
            most = max(1, self.length - wish)
            ids = [self.generator.encode(requests[number].args[0])[-most:] for number in numbers]
            written = self.generator.generate(ids, wish, SamplingConfig(temperature=temperature), stop)
            answers |= {number: one.text for number, one in zip(numbers, written, strict=True)}
        return [answers[number] for number in range(len(requests))]

    def _pair(self, context: str, continuation: str) -> tuple[list[int], int]:
        """The ids of both, at most T + 1, and how many of them are the continuation. Spaces at the end of the context
        go with the continuation, as the harness does it."""
        spaces = len(context) - len(context.rstrip())
        head, whole = context[: len(context) - spaces], context + continuation
        encode = self.generator.tokenizer.encode
        before = encode(head) if head else self._begin()
        ids = encode(whole) if head else [*before, *encode(whole)]
        return ids[-self.length - 1 :], min(len(ids) - len(before), self.length)

    def _begin(self) -> list[int]:
        end = self.generator.tokenizer.end_token
        return self.generator.encode("") if end is None else [end]
