"""Corpora and batches: from `--data SOURCE` to the arrays that a training step takes. NumPy only.

Look first at: `corpora.load_corpus` (a text), `prepare.prepare` (documents to shards), `batches.Batches` (steps).
"""
