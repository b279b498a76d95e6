"""The one law of every mixer and model, and what it is measured with; `python -m tests.laws` prints the errors."""
