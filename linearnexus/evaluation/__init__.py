"""How well a model predicts a text: loss, perplexity, bits per byte."""
