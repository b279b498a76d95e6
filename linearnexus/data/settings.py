"""What data a run reads and how it is cut into batches: part of a run's settings, free of JAX.

Look first at: `DataSettings`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DataSettings:  # --help prints the comments
    """The data of a run and how it is cut into batches. The class of a run's settings checks the values."""

    # a corpus, a text file, a folder, a glob; or prepared folders: tokens, or a:0.7,b:0.3; or a task: recall:pairs=8,
    # copying, induction, parity, s5
    data: str = "stories"
    # what a token is: char, byte, word, bpe (bpe:8192: so many tokens), gpt2, cl100k, o200k, or the path of a
    # tokenizer.json; None: char, or what the data was prepared with
    tokenizer: str | None = None
    validation_fraction: float = 0.1  # the last part of a text, never trained on (prepared data has its own)
    sequence_length: int = 128  # tokens of context, T
    batch_size: int = 16  # sequences in a step, B
    order: Literal["epoch", "random"] = "epoch"  # epoch: each window once per epoch; random: windows anywhere
    packing: Literal["windows", "best-fit"] = "windows"  # best-fit: whole documents in a row, of prepared data
    eval_batches: int = 20  # batches of the validation split in an evaluation; 0: the whole split
    seed: int = 0  # of weights, batches, dropout and samples: the same seed, the same run
