"""Numbers that were measured on a machine, in one table a platform: sizes of chunks, blocks and tiles.

They decide how long an op takes and how much memory it needs, and may change the last bits of what it computes, never
more. An op has its part of the table as its parameter `tuning`; `linearnexus.core.forms` passes the one of the platform
that a program is compiled for.

Look first at: `CPU`, `TABLES`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProductTuning:
    """A matrix product of few rows, and the output head."""

    few: int  # tokens: from here on a product reads more of them than of the weights
    block: int  # numbers of an embedding that are converted at a time: they stay in the processor's cache


@dataclass(frozen=True)
class AttentionTuning:
    blocks: int  # query blocks of a call: work above the diagonal is at most 1 / (2 blocks) of the square
    min_block: int  # tokens of a block at least
    long: int  # tokens above which the backward pass computes the weights of a block again, and keeps none
    blocks_at_once: int  # blocks of a window: their scores stay in the processor's cache
    tile: int  # queries and keys of a tile after a state: scores and keys stay in the processor's cache
    few_heads: int  # up to so many; with more, tiles of half the side


@dataclass(frozen=True)
class LinearAttentionTuning:
    chunk: int  # tokens
    leaf: int  # tokens of the smallest blocks under decays a key


@dataclass(frozen=True)
class DeltaRuleTuning:
    chunk: int  # tokens
    leaf: int  # tokens of the smallest blocks under decays a key
    rows: int  # of a block of the triangular system that is inverted row by row


@dataclass(frozen=True)
class ScanTuning:
    chunk: int  # tokens between the states that the backward pass keeps


@dataclass(frozen=True)
class Tuning:
    """The numbers of one platform, a part for each kind of op."""

    products: ProductTuning
    attention: AttentionTuning
    linear_attention: LinearAttentionTuning
    delta_rule: DeltaRuleTuning
    selective_scan: ScanTuning


# Measured on two cores of an AMD EPYC with 23 GiB (docs/log.md).
CPU = Tuning(
    products=ProductTuning(few=32, block=2**20),
    attention=AttentionTuning(blocks=8, min_block=64, long=2048, blocks_at_once=8, tile=512, few_heads=8),
    linear_attention=LinearAttentionTuning(chunk=32, leaf=4),
    delta_rule=DeltaRuleTuning(chunk=32, leaf=4, rows=8),
    selective_scan=ScanTuning(chunk=8),
)
GPU = CPU  # not measured yet
TPU = CPU  # not measured yet

# By JAX's name of a platform; a platform without a table has the CPU's.
TABLES = {"cpu": CPU, "cuda": GPU, "rocm": GPU, "tpu": TPU}
