"""What a computer is and how fast: cores, memory, vector instructions, measured rates, what is installed.

Everything is read from the system without more rights than a user has; what cannot be known is None or "unknown".

Look first at: `Machine`, `machine`, `product_rate`, `reading_rate`, `concerns`.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from linearnexus.core.paths import cache_dir

PACKAGES = ("linearnexus", "jax", "jaxlib", "numpy", "optax")
# As Linux names them (x86, then Arm), and as people do; the ones that speed up products.
VECTORS = {"sse4_2": "SSE4.2", "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "avx512f": "AVX-512", "avx512_bf16": "BF16"}
VECTORS |= {"amx_bf16": "AMX", "asimd": "NEON", "sve": "SVE", "bf16": "BF16", "i8mm": "I8MM"}
COMPILERS = ("c++", "g++", "clang++")
PRODUCT = 1024  # rows and columns of the measured product
LARGE = 256 * 2**20  # bytes of the matrix that is read: more than a processor's cache
SECONDS = 0.5  # for each measurement
# Variables and what they change.
EFFECTS = {
    "XLA_FLAGS": "how programs are compiled, and may make them slower",
    "JAX_PLATFORMS": "which devices JAX uses",
    "JAX_ENABLE_X64": "numbers to float64, which take twice the memory and time",
    "JAX_DISABLE_JIT": "everything to uncompiled, many times slower",
    "LINEARNEXUS_FORMS": "which form the ops take",
}
OWN = ("LINEARNEXUS_CACHE", "LINEARNEXUS_MIXERS", "LINEARNEXUS_SOURCES", "LINEARNEXUS_PLUGINS")
LITTLE_DISK, LITTLE_MEMORY, BUSY = 5 * 2**30, 2 * 2**30, 0.5  # bytes, bytes, share of the cores


@dataclass(frozen=True)
class Machine:
    system: str
    processor: str
    cores: int
    usable_cores: int  # that this process may use
    load: float | None  # cores that programs kept busy in the last minute
    memory: int | None  # bytes
    free_memory: int | None
    vectors: tuple[str, ...] | None  # None: unknown
    x86: bool
    translated: bool  # an Intel Python on an Apple processor
    python: str
    versions: Mapping[str, str]
    compiler: str | None
    free_disk: int | None  # where the cache folder is, or will be
    nvidia: bool  # is NVIDIA's driver installed?
    variables: Mapping[str, str]  # that change what JAX and the package do


def machine() -> Machine:
    """Looks at this computer, without JAX."""
    info = _proc("cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", info, re.MULTILINE)
    vectors: tuple[str, ...] | None = None
    if flags:
        vectors = tuple(name for flag, name in VECTORS.items() if flag in flags[1].split())
    elif sys.platform == "darwin":
        vectors = _vectors_of_macos()
    name = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _proc("meminfo"), re.MULTILINE))
    memory = int(kib["MemTotal"]) * 1024 if "MemTotal" in kib else _number(_sysctl("hw.memsize"))
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=(name[1] if name else _sysctl("machdep.cpu.brand_string")) or platform.machine() or "unknown",
        cores=os.cpu_count() or 1,
        usable_cores=_usable_cores(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        memory=memory,
        free_memory=int(kib["MemAvailable"]) * 1024 if "MemAvailable" in kib else None,
        vectors=vectors,
        x86=platform.machine().lower() in ("x86_64", "amd64"),
        translated=_sysctl("sysctl.proc_translated") == "1",
        python=platform.python_version(),
        versions={package: found for package in PACKAGES if (found := _version(package))},
        compiler=compiler(),
        free_disk=_free_disk(cache_dir()),
        nvidia=shutil.which("nvidia-smi") is not None,
        variables={name: os.environ[name] for name in (*EFFECTS, *OWN) if os.environ.get(name)},
    )


def compiler() -> str | None:
    """The C++ compiler that is found first, in its own words, or None."""
    for name in COMPILERS:
        if path := shutil.which(name):
            return (_output(path, "--version").splitlines() or [name])[0]
    return None


def product_rate(jax: Any) -> float:
    """Floating-point operations a second of a product of two float32 matrices."""
    x = jax.numpy.ones((PRODUCT, PRODUCT))
    multiply = jax.jit(lambda x: x @ x)
    return 2 * PRODUCT**3 / _least_seconds(lambda: multiply(x).block_until_ready())


def reading_rate(jax: Any, linear: Callable[..., Any], memory: int | None = None) -> float:
    """Bytes a second of a row times a matrix larger than the processor's cache, with the package's own product: what a
    model does for a token that it writes. `memory`: the bytes that are free."""
    rows = min(LARGE, (memory or 8 * LARGE) // 8) // 4 // 4096
    x, weight = jax.numpy.ones((1, rows)), jax.numpy.ones((rows, 4096))
    multiply = jax.jit(linear)
    return weight.nbytes / _least_seconds(lambda: multiply(x, weight).block_until_ready())


def concerns(its: Machine, platforms: tuple[str, ...]) -> list[str]:
    """What is wrong or unusual, each in a sentence. `platforms`: of the devices that JAX sees."""
    found = []
    if its.translated:
        found.append(
            "This Python was made for Intel processors and is being translated; install one for Apple's, and "
            "everything takes a fraction of the time."
        )
    if its.x86 and its.vectors is not None and not {"AVX2", "AVX-512"} & set(its.vectors):
        found.append("The processor has no AVX2, so training and generating take several times as long as elsewhere.")
    if its.usable_cores < its.cores:
        found.append(f"This process may use {its.usable_cores} of {its.cores} cores; the rates are those of these.")
    if its.load is not None and its.load > BUSY * its.cores:
        found.append(
            f"Other programs wanted about {its.load:.1f} cores in the last minute, and there are {its.cores}, so the "
            "speed above is too low and training takes longer; close what you do not need."
        )
    if its.free_memory is not None and its.free_memory < LITTLE_MEMORY:
        found.append(
            f"Only {its.free_memory / 2**30:.1f} GiB of memory are free; a training run may be ended by the system."
        )
    if its.free_disk is not None and its.free_disk < LITTLE_DISK:
        found.append(
            f"Only {its.free_disk / 2**30:.1f} GiB of disk are free where the cache is; checkpoints and compiled "
            "programs need room (linearnexus cache shows what can go)."
        )
    if its.nvidia and set(platforms) == {"cpu"}:
        found.append(
            "There is an NVIDIA GPU here, but JAX computes on the CPU; pip install 'linearnexus[cuda]' to use the GPU."
        )
    if its.versions.get("jax", "").split(".")[:2] != its.versions.get("jaxlib", "").split(".")[:2]:
        found.append(
            f"jax {its.versions.get('jax')} and jaxlib {its.versions.get('jaxlib')} do not belong together; install "
            "both with: pip install --upgrade jax jaxlib."
        )
    return found + [
        f"The variable {name} is set ({its.variables[name]}), which changes {effect}; unset it if unsure."
        for name, effect in EFFECTS.items()
        if name in its.variables
    ]


def _least_seconds(call: Callable[[], Any]) -> float:
    """The least seconds of calls over half a second: the first compiles and does not count."""
    call()
    end, least = time.perf_counter() + SECONDS, float("inf")
    while (began := time.perf_counter()) < end:
        call()
        least = min(least, time.perf_counter() - began)
    return least


def _usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cores, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no container, or "max"
        return cores


def _vectors_of_macos() -> tuple[str, ...] | None:
    if platform.machine() == "arm64":
        return ("NEON",)
    words = f"{_sysctl('machdep.cpu.features')} {_sysctl('machdep.cpu.leaf7_features')}".lower().split()
    named = tuple(name for flag, name in VECTORS.items() if flag in words or (flag in ("avx",) and "avx1.0" in words))
    return named or None


def _free_disk(folder: Path) -> int | None:
    try:
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _proc(name: str) -> str:
    try:
        return Path("/proc", name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    return _output("sysctl", "-n", name).strip() if sys.platform == "darwin" else ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
