"""A published model whose author traces every activation: GlassLM (glassllm 0.1.0, MIT, plain NumPy), 0.85M parameters.

    python -m tests.parity.glass        downloads the wheel (3 MB) and prints the table of docs/interop.md

Its weights and its tokenizer become a Hugging Face folder of the llama family, `convert` makes a run of that, and each
recorded step of its tracer is compared with the same place in our model, in float64; then what both write, greedy.

Look first at: `as_llama`, `activations`, `main`.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

import linearnexus as ln
from linearnexus.core.layers import linear
from linearnexus.core.tokens import count_tokens
from linearnexus.interop.run import to_run
from linearnexus.mixers.contract import Context
from linearnexus.mixers.mlp import ACTIVATIONS
from linearnexus.models.language_model import LanguageModel
from linearnexus.ops import softmax_attention as op
from tests.laws.law import precision

PROMPT = "Alice was beginning to get very tired of sitting by her sister on the bank."
LARGEST = 1e-9  # relative, in float64: the law's
NAMES = {
    "norm1.gamma": "input_layernorm",
    "attn.W_Q": "self_attn.q_proj",
    "attn.W_K": "self_attn.k_proj",
    "attn.W_V": "self_attn.v_proj",
    "attn.W_O": "self_attn.o_proj",
    "norm2.gamma": "post_attention_layernorm",
    "ffn.W1": "mlp.gate_proj",
    "ffn.W3": "mlp.up_proj",
    "ffn.W2": "mlp.down_proj",
}


def as_llama(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a GlassLM as a Hugging Face folder."""
    given = model.cfg
    size = given.d_model // given.n_heads
    config = {
        "model_type": "llama",
        "vocab_size": given.vocab_size,
        "hidden_size": given.d_model,
        "intermediate_size": int(8 * given.d_model / 3),
        "num_hidden_layers": given.n_layers,
        "num_attention_heads": given.n_heads,
        "num_key_value_heads": given.n_kv_heads,
        "max_position_embeddings": given.max_len,
        "rope_theta": given.rope_base,
        "rms_norm_eps": given.eps,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    }
    tensors = {"model.embed_tokens.weight": model.E.data, "model.norm.weight": model.norm_f.gamma.data}
    for layer, block in enumerate(model.blocks):
        for name, parameter in block.named_parameters().items():
            weight = parameter.data.T
            if name in ("attn.W_Q", "attn.W_K"):  # rotary pairs: neighbours there, halves of a head here
                weight = weight.reshape(-1, size // 2, 2, given.d_model).swapaxes(1, 2).reshape(weight.shape)
            tensors[f"model.layers.{layer}.{NAMES[name]}.weight"] = weight
    save_file(
        {name: np.ascontiguousarray(data, np.float32) for name, data in tensors.items()}, folder / "model.safetensors"
    )
    pieces = {
        "version": "1.0",
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}],
        },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"\n|▁*[^▁\n]+|▁+"},
            "behavior": "Isolated",
            "invert": False,
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}],
        },
        "added_tokens": [],
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "vocab": tokenizer.token_to_id,
            "merges": [list(pair) for pair in tokenizer.merges],
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(pieces))


def activations(model: LanguageModel, ids: list[int]) -> dict[tuple[str, int | None], np.ndarray]:
    """What our model computes at the places that the tracer names, without the batch."""
    tokens, _, _ = count_tokens((1, len(ids)), None, None, None, None)
    context = Context(tokens, None)
    found: dict[tuple[str, int | None], Any] = {}
    x = model.embedding[jnp.asarray([ids])]
    found["embed", None] = x
    for layer, block in enumerate(model.blocks):
        mixer, mlp = block.mixer, block.channel_mixer
        h = block.norm(x)
        q, k, v = mixer._project(h, tokens)
        heads = {"attn.rope_q": q, "attn.rope_k": k, "attn.v": v}
        weights = mixer.look(h, context)["weights"]
        mixed = op.causal_attention(q, k, v, tokens)
        out = mixer(h, context).y
        after = x + out
        h2 = block.channel_norm(after)
        gate, up = linear(h2, mlp.gate), linear(h2, mlp.up)
        down = mlp(h2, context).y
        at_layer = {
            "norm.attn": h,
            **{name: part.swapaxes(1, 2) for name, part in heads.items()},
            "attn.softmax": weights,
            "attn.mix": mixed.swapaxes(1, 2),
            "attn.out": out,
            "resid.attn": after,
            "norm.ffn": h2,
            "ffn.gate": gate,
            "ffn.up": up,
            "ffn.act": ACTIVATIONS["silu"](gate) * up,
            "ffn.down": down,
            "resid.ffn": after + down,
        }
        found |= {(name, layer): value for name, value in at_layer.items()}
        x = block(x, context).y
    found["norm.final", None] = model.norm(x)
    found["logits", None] = model(jnp.asarray([ids])).logits
    return {place: np.asarray(value)[0] for place, value in found.items()}


def paired(rotated: np.ndarray) -> np.ndarray:
    """[..., K] whose rotary pairs are halves, with the pairs as neighbours."""
    return rotated.reshape(*rotated.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(rotated.shape)


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        download = ["-m", "pip", "download", "--no-deps", "--quiet", "--dest", place, "glassllm==0.1.0"]
        subprocess.run([sys.executable, *download], check=True)
        (wheel,) = folder.glob("glassllm-*.whl")
        zipfile.ZipFile(wheel).extractall(folder / "unpacked")
        sys.path.insert(0, str(folder / "unpacked"))
        from glassllm.model import GlassLM
        from glassllm.tokenizer import Tokenizer
        from glassllm.trace import Tracer

        weights = folder / "unpacked" / "glassllm" / "weights"
        theirs = GlassLM.load(weights / "en.npz", dtype=np.float64)
        tokenizer = Tokenizer.load(weights / "en.tokenizer.json")
        (folder / "llama").mkdir()
        as_llama(theirs, tokenizer, folder / "llama")
        to_run(folder / "llama", folder / "run")
        run = ln.load(folder / "run")
        ids = run.tokenizer.encode(PROMPT)
        same_ids = ids == tokenizer.encode(PROMPT) and run.tokenizer.decode(ids) == PROMPT
        print(
            f"{sum(part.data.size for part in theirs.parameters()):,} parameters; the same {len(ids)} ids: {same_ids}\n"
        )

        tracer = Tracer()
        theirs(ids, trace=tracer)
        with precision("float64"):
            model = jax.tree.map(lambda array: array.astype(jnp.float64), run.model)
            model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype="float64"))
            ours = activations(model, ids)
        worst: dict[str, float] = {}
        for (name, layer), value in ours.items():
            expected = tracer.get(name, layer).value
            value = paired(value) if name.startswith("attn.rope") else value
            assert value.shape == expected.shape, (name, value.shape, expected.shape)
            worst[name] = max(worst.get(name, 0.0), float(np.abs(value - expected).max() / np.abs(expected).max()))
        print("| step of its tracer | largest relative difference, all layers |\n|---|---|")
        print("\n".join(f"| {name} | {error:.1e} |" for name, error in worst.items()))
        left = [name for name in tracer.step_ids() if name not in worst]
        print(f"\nNot compared, as these lie inside one of ours: {', '.join(left)}.")

        written = [step.token for step in theirs.generate(ids, 60, greedy=True)]
        text = run.generate(PROMPT, max_tokens=60, temperature=0)
        same_text = run.tokenizer.decode(written) == text
        print(f"60 tokens, greedy, the same: {same_text}\n\n> {PROMPT}{text}")
        return 0 if same_ids and same_text and max(worst.values()) < LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
