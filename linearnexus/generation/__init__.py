"""Sampling and the decode engine.

Look first at: `engine.Generator` (prompts to text), `sampling.filtered` (temperature, top-k, top-p, min-p), `look` (the
same in numbers for a person). Nothing is imported here, so that `config` comes without JAX.
"""
