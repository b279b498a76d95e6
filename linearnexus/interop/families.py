"""The families of published models, in the order in which a model of ours is offered to them.

Look first at: `FAMILIES`, `expressed`.
"""

from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.interop.falcon_mamba import FALCON_MAMBA
from linearnexus.interop.gpt2 import GPT2
from linearnexus.interop.jamba import JAMBA
from linearnexus.interop.layouts import SWAPPED
from linearnexus.interop.llama import LLAMA
from linearnexus.interop.mamba import MAMBA
from linearnexus.interop.mamba2 import MAMBA2
from linearnexus.interop.qwen3_next import QWEN3_NEXT
from linearnexus.interop.rwkv7 import RWKV7
from linearnexus.interop.settings import Family, PublishedSettings, difference
from linearnexus.models.config import ModelConfig

FAMILIES = (GPT2, LLAMA, MAMBA, FALCON_MAMBA, MAMBA2, JAMBA, QWEN3_NEXT, RWKV7)


def family_of(model_type: str, where: str) -> Family:
    """The family of a config.json. Raises UserError, which names the file, for one that is not known."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise UserError(f"{where}: model_type is {model_type!r:.60}, and these can be read: {known}.")


def expressed(config: ModelConfig) -> tuple[Family, dict[str, Any]]:
    """The family that computes the same as this model, and its settings: what they say, read back, is this model.

    Raises UserError where there is none.
    """
    reason = "its layers are those of none"
    for family in FAMILIES:
        written = family.write(config)
        if written is not None:
            same = {"vocab_size": config.vocab_size, "tie_word_embeddings": config.tie_embeddings}
            differs = difference(family.seen(config), family.read(PublishedSettings(written | same, "config.json")))
            if differs is None:
                return family, written
            reason = f"{family.name} has {differs}"
    names = ", ".join(family.name for family in FAMILIES)
    raise UserError(f"No family of published models ({names}) computes what this model does: {reason}.")


def linear_layers(config: ModelConfig) -> dict[str, str]:
    """Our matrices that are a linear layer of their own in the family that computes the same as this model: our name
    and that layer's. Empty where no family does."""
    try:
        family, _ = expressed(config)
    except UserError:
        return {}
    single = (entry for entry in family.table(config) if entry.layout is SWAPPED and " " not in entry.ours)
    return {entry.ours: entry.theirs.removesuffix(".weight") for entry in single if entry.theirs.endswith(".weight")}
