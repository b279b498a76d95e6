"""What LinearNexus computed at a commit, kept so that a redesign can show that it computes the same; see `__main__`."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
