"""The block, the language model and the presets."""
