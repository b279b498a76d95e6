"""Models in and out: Hugging Face folders, GGUF files and our run folders, one file a family of models.

    settings.py     config.json, setting by setting      layouts.py     their tensors beside ours, in both directions
    folder.py       Hugging Face folders                 gguf.py        GGUF files
    checkpoint.py   an opened model, checked, not read   run.py         run folders

Look first at: `open_checkpoint`; then llama.py (a family).
"""

from linearnexus.interop.run import open_checkpoint

__all__ = ["open_checkpoint"]
