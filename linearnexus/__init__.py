"""LinearNexus: train, run, compare and explain language models.

    import linearnexus as ln

    ln.prepare()  # optional: faster on a CPU, by settings of the whole process
    run = ln.train("gpt-nano", data="stories", max_minutes=2)
    print(run.generate("Once upon a time"))
    run = ln.load("runs/latest")

Letters of shapes, everywhere: B batch, T time, D hidden_size, H heads, G key and value heads, K key size of a head,
V value size of a head, S cache slots, E inner channels of Mamba, N state of an SSM, C chunk, F channels of an MLP,
W vocabulary.
"""

from typing import TYPE_CHECKING, Any

from linearnexus.core.machine import prepare
from linearnexus.core.renames import keep_old_modules

if TYPE_CHECKING:
    from linearnexus.api import Run, Session, compare, find_rate, generate, load, load_session, sft, train

keep_old_modules()

__all__ = ["Run", "Session", "compare", "find_rate", "generate", "load", "load_session", "prepare", "sft", "train"]


def __getattr__(name: str) -> Any:
    """Imports JAX when it is first needed, so that `import linearnexus` and `linearnexus --help` answer at once."""
    if name not in __all__:
        raise AttributeError(f"module 'linearnexus' has no attribute '{name}'")
    from linearnexus import api

    return getattr(api, name)
