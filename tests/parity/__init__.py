"""Parity with Hugging Face transformers: the same weights give the same logits and gradients, for nine families."""
