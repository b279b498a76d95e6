"""The Llama family in GGUF files, with the tokenizer that they carry. llama.cpp turns rotary pairs of architecture
"llama" as neighbours, so its q and k rows are permuted; those of qwen2 and qwen3 are not.

Look first at: `open_gguf`, `table`.
"""

from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.interop import llama
from linearnexus.interop.checkpoint import Checkpoint, check
from linearnexus.interop.gguf import GGUFFile
from linearnexus.interop.layouts import SWAPPED, Entry, paired, under
from linearnexus.interop.settings import PublishedSettings
from linearnexus.interop.tokenizer_files import BYTE_LEVEL, byte_level_bpe
from linearnexus.mixers.configs import AttentionConfig
from linearnexus.models.config import ModelConfig
from linearnexus.tokenizers import HuggingFaceTokenizer
from linearnexus.tokenizers.hugging_face import WORDS

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# GGUF's names of settings (behind the architecture's), and those of transformers.
NAMES = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
    "expert_count": "num_local_experts",
}
CONTROL, USER_DEFINED = 3, 4  # types of tokens


def _words(digits: str) -> list[dict[str, Any]]:
    split = {
        "type": "Split",
        "pattern": {"Regex": WORDS.replace("{}", digits)},
        "behavior": "Isolated",
        "invert": False,
    }
    return [split, {**BYTE_LEVEL, "use_regex": False}]


# How a text is cut into words, by GGUF's tokenizer.ggml.pre.
WORDS_OF = {
    "gpt-2": [BYTE_LEVEL],
    "smollm": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    "llama-bpe": _words("{1,3}"),
    "qwen2": _words(""),
}


def open_gguf(path: Path) -> Checkpoint:
    """Raises UserError for a file that is broken or holds what cannot be represented."""
    file = GGUFFile(path)
    where = str(path)
    kind = file.settings.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"{path}: general.architecture is {kind!r:.60}, and these can be read: {', '.join(ARCHITECTURES)}."
        )
    own = {name.removeprefix(f"{kind}."): value for name, value in file.settings.items() if name.startswith(f"{kind}.")}
    given = PublishedSettings(own, f"{where}: {kind}")
    given.only("rope.scaling.type", "none", "linear")
    given.only("expert_count", 0)
    values = {NAMES[name]: value for name, value in own.items() if name in NAMES}
    values |= {"model_type": kind, "vocab_size": file.kinds.get("token_embd.weight", ("", (0,)))[1][0]}
    values |= {"tie_word_embeddings": "output.weight" not in file.kinds}
    if own.get("rope.scaling.type") == "linear":
        values["rope_scaling"] = {"type": "linear", "factor": own.get("rope.scaling.factor")}
    theirs = PublishedSettings(values, where)
    head = theirs.whole("head_dim", theirs.whole("hidden_size") // theirs.whole("num_attention_heads"))
    values["partial_rotary_factor"] = given.whole("rope.dimension_count", head) / head
    config = llama.read(theirs)
    length = theirs.whole("max_position_embeddings", 2048)
    tokenizer = read_tokenizer(PublishedSettings(file.settings, where))
    return check(Checkpoint(path, "Llama", config, tokenizer, length, table(config, kind == "llama"), file))


def table(config: ModelConfig, pairs: bool) -> list[Entry]:
    entries = [Entry("embedding", "token_embd.weight"), Entry("norm.scale", "output_norm.weight")]
    if not config.tie_embeddings:
        entries.append(Entry("head", "output.weight"))
    for layer in range(config.n_layer):
        mixer = config.block(layer).mixer
        assert isinstance(mixer, AttentionConfig)
        block = [
            Entry("norm.scale", "attn_norm.weight"),
            Entry("mixer.wq", "attn_q.weight", paired(mixer.n_head) if pairs else SWAPPED),
            Entry("mixer.wk", "attn_k.weight", paired(mixer.kv_heads) if pairs else SWAPPED),
            Entry("mixer.wv", "attn_v.weight", SWAPPED),
            Entry("mixer.wo", "attn_output.weight", SWAPPED),
            *(Entry(f"mixer.b{one}", f"attn_{one}.bias") for one in ("qkv" if mixer.qkv_bias else "")),
            *(Entry(f"mixer.{one}_norm.scale", f"attn_{one}_norm.weight") for one in ("qk" if mixer.qk_norm else "")),
            Entry("channel_norm.scale", "ffn_norm.weight"),
            *(Entry(f"channel_mixer.{one}", f"ffn_{one}.weight", SWAPPED) for one in ("gate", "up", "down")),
        ]
        entries += under(f"blocks.{layer}", f"blk.{layer}", block)
    return entries


def read_tokenizer(given: PublishedSettings) -> HuggingFaceTokenizer:
    """The file's byte-level BPE, as a tokenizer.json. Raises UserError for another kind."""
    given.only("tokenizer.ggml.model", "gpt2")
    given.only("tokenizer.ggml.pre", *WORDS_OF)
    tokens, merges = given.get("tokenizer.ggml.tokens", list, []), given.get("tokenizer.ggml.merges", list, [])
    types = given.get("tokenizer.ggml.token_type", list, [1] * len(tokens))
    cut = [merge.split(" ") for merge in merges if _is_text(merge)]
    pairs = [(merge[0], merge[1]) for merge in cut if len(merge) == 2]
    vocabulary = {token: number for number, token in enumerate(tokens)} if all(map(_is_text, tokens)) else {}
    if not tokens or not len(vocabulary) == len(tokens) == len(types):
        raise given.refusal("tokenizer.ggml.tokens", f"{len(tokens)} tokens", "distinct texts, each with a type")
    if len(pairs) != len(merges) or not all({*pair, "".join(pair)} <= vocabulary.keys() for pair in pairs):
        raise given.refusal("tokenizer.ggml.merges", f"{len(merges)} merges", "pairs of tokens that make a token")
    special, added = (
        {token: number for number, (token, one) in enumerate(zip(tokens, types, strict=True)) if one == kind}
        for kind in (CONTROL, USER_DEFINED)
    )
    before = WORDS_OF[given.get("tokenizer.ggml.pre", str, "gpt-2")]
    end = given.get("tokenizer.ggml.eos_token_id", int)
    if end is not None and not 0 <= end < len(tokens):
        raise given.refusal("tokenizer.ggml.eos_token_id", end, f"ids below {len(tokens)}")
    return HuggingFaceTokenizer(
        byte_level_bpe(vocabulary, pairs, special, before, added),
        None if end is None else tokens[end],
        given.get("tokenizer.chat_template", str),
    )


def _is_text(token: Any) -> bool:
    return isinstance(token, str)
