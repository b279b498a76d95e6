"""From `--data` to the arrays that a training step takes. NumPy only.

Look first at: `registry.open_source` (from --data to a source), `source.DataSource` (what a source gives),
`batches.Batches` (steps), `corpora.load_corpus` (a text), `prepare.prepare` (documents to shards).
"""
