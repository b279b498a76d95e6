"""What is set on the machine before the first computation."""

import subprocess
import sys

import pytest

PROGRAM = """
import os
from linearnexus.core.machine import keep_heap
def kib(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
before = kib("VmRSS"), kib("VmSize")
keep_heap()
block = bytearray(64 << 20)  # in the heap, and kept when it is freed
del block
kept = kib("VmRSS")
print(kept - before[0], kib("VmSize") - before[1], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 12)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_the_heap_grows_in_addresses_and_keeps_what_was_freed() -> None:
    """Catches a stretch for huge pages that is touched, or given back by `free`, and memory that leaves the process."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    memory, addresses, quarter = map(int, done.stdout.split())  # KiB
    assert 60 << 10 < memory < 80 << 10
    assert addresses > 0.9 * quarter


IN_TURN = """
import jax, jax.numpy as jnp
from linearnexus.core.machine import compute_in_turn
compute_in_turn()
multiply = jax.jit(lambda x: x @ x @ x @ x)
x = jnp.ones((1000, 1000))
multiply(x).block_until_ready()
assert all(multiply(x).is_ready() for _ in range(5))
"""


def test_a_computation_has_ended_when_its_call_returns() -> None:
    """Catches steps that overlap, each with a working memory of its own."""
    subprocess.run([sys.executable, "-c", IN_TURN], check=True)
