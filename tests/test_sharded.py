"""The training step with sharded arguments computes what one device computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
TOLERANCE = 2e-6  # relative, of a loss: float32 sums in another order (5e-7 measured)


@pytest.mark.parametrize(
    ("preset", "optimizer"),
    [
        ("gpt-nano", "adamw"),
        pytest.param("gpt-nano", "muon", marks=pytest.mark.slow),
        pytest.param("mamba-nano", "muon", marks=pytest.mark.slow),
        pytest.param("gated-deltanet-nano", "muon", marks=pytest.mark.slow),
        pytest.param("jamba-moe-nano", "adamw", marks=pytest.mark.slow),
    ],
)
def test_losses_on_eight_devices(preset: str, optimizer: str) -> None:
    """Four steps with the batch sharded, and with parameters and optimizer sharded by their axes: the losses of one
    device, and shardings that a step keeps. Catches a sum that counts a device twice, and a gradient of one shard."""
    environment = os.environ | {"XLA_FLAGS": FLAGS, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.sharded", preset, optimizer]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["one"][0] - found["one"][-1] > 0.05  # it learns
    for plan in ("data", "fsdp"):
        worst = max(abs(a - b) / a for a, b in zip(found["one"], found[plan], strict=True))
        assert worst < TOLERANCE, (plan, found)
