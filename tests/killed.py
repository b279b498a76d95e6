"""Runs that are killed at a chosen moment, as no program can catch it, and resumed.

Look first at: `resumes`.
"""

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from linearnexus.training import launch
from tests.torture import differences

VARIABLE = "LINEARNEXUS_TEST_KILL_AT"


def die_at(moment: object) -> None:
    """Kills this process where it is the one that was chosen."""
    if os.environ.get(VARIABLE) == str(moment):
        os.kill(os.getpid(), signal.SIGKILL)


def resumes(module: str, moment: object, *arguments: object) -> Path:
    """`train(NAME, *arguments)` of a test module, left alone, and in a process that dies at the moment and is resumed
    here: both must end with the same bits. Returns the folder of the first."""
    alone = import_module(module).train("alone", *arguments)
    call = f"train({', '.join(map(repr, ('killed', *arguments)))})"
    environment = os.environ | {VARIABLE: str(moment), "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.run([sys.executable, "-c", f"from {module} import train; {call}"], env=environment)
    assert process.returncode == -signal.SIGKILL
    assert differences(alone, launch.resume(Path("runs/killed"), {}, quiet=True)) == []
    return alone
