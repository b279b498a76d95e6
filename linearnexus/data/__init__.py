"""Corpora and batches: from `--data SOURCE` to the arrays that a training step takes. NumPy only.

Look first at: `corpora.load_corpus` (text), `batches.split` (train and validation), `batches.WindowBatches` (batches).
"""
