"""The layouts that presets are made of: a GPT, GPT-2, one mixer after another, Jamba's, RWKV's.

Look first at: `small`, `gpt`.
"""

from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MixerConfig, MLPConfig, MoEConfig, RWKVMLPConfig
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig

SIZES = {"nano": (4, 128, 4), "micro": (6, 384, 6)}  # n_layer, hidden_size, n_head
SMALL_STD = 0.01  # at 0.02 a tied head starts up to 11% above ln(vocab): it favours the token that was just read


def small(mixer: MixerConfig, n_layer: int, hidden_size: int, width: float) -> ModelConfig:
    """Blocks of a mixer and an MLP with squared ReLU that is `width` times as wide as the model."""
    block = BlockConfig(mixer, MLPConfig(width, activation="relu2"))
    return ModelConfig((block,), n_layer, hidden_size, embedding_std=SMALL_STD)


def gpt(n_layer: int, hidden_size: int, n_head: int) -> ModelConfig:
    """A GPT of today's make: RMSNorm, also on queries and keys, rotary positions, squared ReLU, no biases. Its count of
    parameters is GPT-2's, 12 n_layer hidden_size^2 beside the embedding."""
    return small(AttentionConfig(n_head=n_head, qk_norm=True), n_layer, hidden_size, 4.0)


def gpt2(n_layer: int, hidden_size: int, n_head: int) -> ModelConfig:
    """GPT-2 (Radford et al. 2019): LayerNorm and biases everywhere, learned positions, GELU."""
    block = BlockConfig(AttentionConfig(n_head=n_head, rope_theta=None, bias=True), MLPConfig(bias=True))
    return ModelConfig(
        (block,), n_layer, hidden_size, vocab_size=50_257, norm=LayerNormConfig(), learned_positions=1024
    )


def pure(
    mixer: MixerConfig, n_layer: int, hidden_size: int, vocab_size: int = 256, std: float = SMALL_STD
) -> ModelConfig:
    """One mixer after another and nothing else: Mamba (Gu and Dao 2023) and Mamba-2 (Dao and Gu 2024)."""
    return ModelConfig((BlockConfig(mixer),), n_layer, hidden_size, vocab_size, embedding_std=std)


def jamba(n_layer: int, hidden_size: int, n_head: int, every: int, width: float, experts: float = 0.0) -> ModelConfig:
    """Jamba's layout (Lieber et al. 2024): one attention layer, without positions, closes each run of `every` layers,
    the others are Mamba; each mixer is followed by an MLP, in every second layer by a mixture of experts of width
    `experts` (0: there is none)."""
    mlp = MLPConfig(width, activation="silu", gated=True)
    moe = MoEConfig(width=experts, normalize=False) if experts else mlp
    mixers = (MambaConfig(select_norm=bool(experts)),) * (every - 1) + (
        AttentionConfig(n_head=n_head, rope_theta=None),
    )
    pattern = tuple(BlockConfig(mixer, moe if layer % 2 else mlp) for layer, mixer in enumerate(mixers))
    return ModelConfig(pattern, n_layer, hidden_size, embedding_std=SMALL_STD)


def rwkv(mixer: MixerConfig, n_layer: int, hidden_size: int, width: float, gated: bool) -> ModelConfig:
    """RWKV's layout (Peng et al. 2024, 2025): LayerNorms, one of them before the first block, a channel mix that also
    sees the token before, and an output head of its own."""
    block = BlockConfig(mixer, RWKVMLPConfig(width, gated))
    return ModelConfig(
        (block,),
        n_layer,
        hidden_size,
        norm=LayerNormConfig(),
        input_norm=True,
        tie_embeddings=False,
        embedding_std=SMALL_STD,
    )
