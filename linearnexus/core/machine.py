"""Settings of the process, made once before its first computation (the compilation cache, memory that stays with the
process, one computation at a time on a CPU), and what goes back to the system after the first step.

Look first at: `prepare`.
"""

import ctypes
import os
import sys
import warnings
from collections.abc import Callable

from linearnexus.core.lazy import LazyPackage
from linearnexus.core.paths import cache_dir
from linearnexus.core.resolve import resolve

jax, tempfile = LazyPackage("jax"), LazyPackage("tempfile")
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX, NEVER = -1, -4, -8, -1  # glibc's malloc.h
MADV_HUGEPAGE, HUGE_PAGE = 14, 2**21  # Linux's mman.h; bytes


def keep_heap() -> None:
    """Lets freed memory stay with the process (glibc only): one heap, never trimmed, and no mappings beside it. XLA
    frees its buffers after every step; given back to the system they are faulted in again, page by page (1.3 times the
    step of gpt-nano, docs/log.md). The heap asks for pages of 2 MiB in place of 4 KiB (1.02 to 1.08 times). To be
    called before JAX is imported."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    try:
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    except AttributeError:  # another C library
        return
    _ask_for_huge_pages(libc, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)


def return_free_memory() -> None:
    """Gives what the heap holds free back to the system (glibc only). To be called once, after a first step: compiling
    needed much that nothing needs again, and later steps do not always fit where the first one's working memory was."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _ask_for_huge_pages(libc: ctypes.CDLL, size: int) -> None:
    """Grows the heap by `size` bytes of addresses, which cost no memory until they are used, asks for huge pages there,
    and leaves them to the heap."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.free.argtypes = (ctypes.c_void_p,)
    if place := libc.malloc(size):  # None: there is a limit on addresses
        first = -(-place // HUGE_PAGE) * HUGE_PAGE
        libc.madvise(first, (place + size - first) // HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE)
        libc.free(place)


def cache_compilations(on_message: Callable[[str], None]) -> None:
    """Keeps compiled programs in the cache folder, however fast they compiled, unless the user has set JAX's own
    cache. `on_message` hears of a folder that cannot be written to."""
    if jax.config.jax_compilation_cache_dir is None:
        folder = cache_dir() / "xla"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            on_message(
                f"Compiled programs cannot be kept in {folder} ({error.strerror}), so each start takes longer; set "
                "LINEARNEXUS_CACHE to a folder that you can write to."
            )
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk, say: JAX goes on without the cache.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def compute_in_turn() -> None:
    """Lets a CPU's computations run in the thread that asks for them, to be called before the first one. In JAX's own
    threads the next one may begin before the last one has freed its working memory, and a step that waits for its loss
    does not wait for that: heaps of 3 to 5 such memories where one is enough, and no faster (docs/log.md)."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def prepare(on_message: Callable[[str], None] = warnings.warn) -> None:
    """Makes these settings, of the whole process. The command line does it; a program of one's own may, before it
    computes anything with JAX. on_message: is told of a cache folder that cannot be written to."""
    _prepared.add(True)
    keep_heap()
    compute_in_turn()
    cache_compilations(on_message)
    if os.environ.get("LINEARNEXUS_FORMS", "xla") != "xla":
        resolve("linearnexus.core.forms:load_forms")()


_prepared: set[bool] = set()  # True: `prepare` was called, or has been suggested


def suggestion() -> str | None:
    """A sentence that suggests `prepare` to a program that did not call it; None: it did, or has been told."""
    if True in _prepared:
        return None
    _prepared.add(True)
    return (
        "Call linearnexus.prepare() before the first computation and training on a CPU takes less time and memory; it "
        "sets JAX and memory up for the whole process, so it is left to you."
    )
