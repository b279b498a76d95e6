"""What is set on the machine before the first computation: the compilation cache, and memory that stays with the
process.

Look first at: `prepare`.
"""

import ctypes
import sys
import tempfile
import warnings
from collections.abc import Callable

from linearnexus.core.paths import cache_dir

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # glibc's malloc.h
NEVER = 2**31 - 1


def keep_heap() -> None:
    """Lets freed memory stay with the process (glibc only): one heap, never trimmed, and no mappings beside it. XLA
    frees its buffers after every step; given back to the system they are faulted in again, page by page (1.3 times the
    step of gpt-nano, docs/log.md). To be called before JAX is imported."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, NEVER)


def cache_compilations(tell: Callable[[str], None]) -> None:
    """Keeps compiled programs in the cache folder, however fast they compiled, unless the user has set JAX's own
    cache. `tell` hears of a folder that cannot be written to."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        folder = cache_dir() / "xla"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            tell(
                f"Compiled programs cannot be kept in {folder} ({error.strerror}), so each start takes longer; set "
                "LINEARNEXUS_CACHE to a folder that you can write to."
            )
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk, say: JAX goes on without the cache.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def prepare(tell: Callable[[str], None] = warnings.warn) -> None:
    """Both, in their order."""
    keep_heap()
    cache_compilations(tell)
