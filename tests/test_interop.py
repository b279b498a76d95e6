"""Published models in and out: every family's tables, GGUF files, and files that somebody has broken or made to harm.

Whether transformers computes the same is `tests.parity.checkpoints`; tests/fuzz_headers.py breaks 100,000 files.
"""

import dataclasses
import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import linearnexus as ln
from linearnexus.core.errors import UserError
from linearnexus.core.tensor_file import TensorFile, write
from linearnexus.interop import open_checkpoint
from linearnexus.interop.checkpoint import Checkpoint, shapes_of
from linearnexus.interop.families import FAMILIES, expressed
from linearnexus.interop.folder import write_folder
from linearnexus.interop.gguf_llama import table as gguf_table
from linearnexus.interop.layouts import Entry
from linearnexus.interop.quantized import KINDS, numbers
from linearnexus.interop.run import from_run, to_run, write_run
from linearnexus.interop.settings import difference
from linearnexus.interop.tokenizer_files import write_tokenizer
from linearnexus.mixers.configs import (
    AttentionConfig,
    GatedDeltaNetConfig,
    Mamba2Config,
    MambaConfig,
    MLPConfig,
    MoEConfig,
    RopeScaling,
    RWKV7Config,
    RWKVMLPConfig,
)
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig, RMSNormConfig
from linearnexus.tokenizers import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    HuggingFaceTokenizer,
    TiktokenTokenizer,
    Tokenizer,
    WordTokenizer,
)
from linearnexus.training.run_folder import read_config
from tests.fuzz_headers import CASES as FUZZ
from tests.fuzz_headers import gguf_bytes

LETTERS = CharTokenizer("abcdefghij")
SWIGLU = MLPConfig(1.5, "silu", gated=True)
EXPERTS = MoEConfig(3, 2, 0.5, normalize=False)


def model(*pattern: BlockConfig, n_layer: int = 3, **more: Any) -> ModelConfig:
    return ModelConfig(pattern, n_layer, 24, **{"vocab_size": 11, "tie_embeddings": False, **more})


def delta(**more: Any) -> GatedDeltaNetConfig:
    return GatedDeltaNetConfig(n_head=4, n_key_head=2, key_size=3, value_size=5, norm_eps=1e-6, **more)


LLAMA = AttentionConfig(n_head=4, n_kv_head=2)
SCALED = {"rope_theta": 500.0, "rope_scaling": RopeScaling(4.0, 16)}
NORMED = {"qk_norm": True, "norm_eps": 1e-6, "norm_offset": 1.0}
GATED = AttentionConfig(n_head=4, n_kv_head=1, head_size=8, rope_size=2, gate=True, **NORMED)
SMALL_EPS = {"norm": RMSNormConfig(1e-6)}
MODELS: dict[str, ModelConfig] = {
    "gpt2": model(
        BlockConfig(AttentionConfig(n_head=3, rope_theta=None, bias=True), MLPConfig(bias=True)),
        norm=LayerNormConfig(eps=1e-3),
        learned_positions=9,
        tie_embeddings=True,
    ),
    "llama": model(BlockConfig(dataclasses.replace(LLAMA, bias=True, **SCALED), SWIGLU)),
    "mistral": model(BlockConfig(dataclasses.replace(LLAMA, window=5, head_size=10), SWIGLU)),
    "qwen2": model(BlockConfig(dataclasses.replace(LLAMA, qkv_bias=True), SWIGLU), tie_embeddings=True),
    "qwen3": model(BlockConfig(dataclasses.replace(LLAMA, qk_norm=True, norm_eps=1e-6), SWIGLU), **SMALL_EPS),
    "mamba": model(BlockConfig(MambaConfig(state_size=5, dt_rank=3)), tie_embeddings=True),
    "falcon_mamba": model(BlockConfig(MambaConfig(5, select_norm=True, select_scale=False, norm_eps=1e-3))),
    "mamba2": model(BlockConfig(Mamba2Config(state_size=5, head_size=8, n_group=2))),
    "jamba": model(
        BlockConfig(MambaConfig(select_norm=True, norm_eps=1e-6), SWIGLU),
        BlockConfig(AttentionConfig(n_head=4, rope_theta=None), dataclasses.replace(EXPERTS, width=1.5)),
        **SMALL_EPS,
    ),
    "qwen3_next": model(
        BlockConfig(delta(), dataclasses.replace(EXPERTS, shared_width=0.75)),
        BlockConfig(GATED, SWIGLU),
        norm=RMSNormConfig(1e-6, 1.0),
    ),
    "rwkv7": model(
        BlockConfig(RWKV7Config(3, 7, 5, 2, 4, norm_eps=8e-5), RWKVMLPConfig(2.0)),
        norm=LayerNormConfig(),
        input_norm=True,
    ),
}


class Random:
    """A source of our own tensors: random, around 1, where a scale's distance from 1 has no rounding."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self.kinds = {name: ("F32", shape) for name, shape in shapes_of(config).items()}
        self._seed = seed

    def read(self, name: str) -> np.ndarray:
        rng = np.random.default_rng([self._seed, *name.encode()])
        return rng.uniform(0.6, 1.9, self.kinds[name][1]).astype(np.float32)

    def where(self, name: str) -> str:
        return name


def make_run(folder: Path, config: ModelConfig, tokenizer: Tokenizer = LETTERS) -> Path:
    """A run with random weights."""
    source = Random(config)
    folder.mkdir(parents=True)
    length, entries = config.learned_positions or 32, [Entry(name, name) for name in source.kinds]
    write_run(folder, Checkpoint(folder, "random", config, tokenizer, length, entries, source))
    return folder


def weights(run: Path) -> TensorFile:
    return TensorFile(run / "checkpoints" / "step_00000000" / "model.safetensors")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder."""
    place = tmp_path_factory.mktemp("llama")
    from_run(make_run(place / "run", MODELS["llama"]), place / "folder")
    return place / "folder"


@pytest.mark.parametrize("kind", MODELS)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    """Catches a layout whose two directions differ, a setting that gets lost, a tensor without a name on either side,
    and a family that takes a model that is not its own."""
    config = MODELS[kind]
    run = make_run(tmp_path / "run", config)
    from_run(run, tmp_path / "folder")
    written = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert written["model_type"] == kind
    back = to_run(tmp_path / "folder", tmp_path / "back")
    assert difference(config, back.config) is None
    ours = [name for entry in back.entries for name in entry.ours.split()]
    assert sorted(ours) == sorted(shapes_of(config))
    unused = {entry.ours for entry in back.entries if not entry.theirs}
    before, after = weights(run), weights(tmp_path / "back")
    assert set(before.places) == set(after.places)
    for name in before.places:
        same = np.array_equal(before.read(name), after.read(name))
        assert same or (name in unused and not after.read(name).any()), name


def test_scales_without_an_offset_go_out_as_their_distance_from_1(tmp_path: Path) -> None:
    """Qwen3-Next adds 1 to the scales of its norms, and a model trained here does not."""
    gated = dataclasses.replace(GATED, norm_offset=0.0)
    run = make_run(tmp_path / "run", model(BlockConfig(delta(), SWIGLU), BlockConfig(gated, SWIGLU), **SMALL_EPS))
    from_run(run, tmp_path / "folder")
    config, opened, _ = open_checkpoint(tmp_path / "folder")
    assert config.norm == RMSNormConfig(1e-6, 1.0) and config.block(1).mixer == GATED
    before = weights(run)
    for name, norm in (("norm", opened.norm), ("blocks.1.mixer.q_norm", opened.blocks[1].mixer.q_norm)):
        assert np.array_equal(before.read(f"{name}.scale"), norm.scale + np.float32(norm.offset))


def test_every_family_is_tested() -> None:
    assert {kind for family in FAMILIES for kind in family.model_types} - {"rwkv7_fla"} == set(MODELS)


def test_a_large_model_has_several_files(tmp_path: Path) -> None:
    """Catches an index that does not fit its files, and prefixes that a file leaves out."""
    config = MODELS["gpt2"]
    run = make_run(tmp_path / "run", config)
    folder = tmp_path / "folder"
    folder.mkdir()
    family, settings = expressed(config)
    trained, _ = read_config(run)
    write_folder(folder, family, settings, trained, weights(run), LETTERS, pytest.fail, part=10_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == len(list(folder.glob("*.safetensors"))) > 3
    to_run(folder, tmp_path / "back")
    assert all(
        np.array_equal(weights(run).read(name), weights(tmp_path / "back").read(name)) for name in weights(run).places
    )
    bare = {place.removeprefix("transformer."): file for place, file in index["weight_map"].items()}
    files = {name: TensorFile(folder / name) for name in set(bare.values())}
    arrays = {name: files[file].read(f"transformer.{name}") for name, file in bare.items()}
    arrays["h.0.attn.bias"] = np.ones((1, 1, 9, 9), np.float32)  # a mask, as in the files of 2019
    for path in folder.glob("model*"):
        path.unlink()
    write(folder / "model.safetensors", {name: one.shape for name, one in arrays.items()}, arrays.values())
    _, opened, _ = open_checkpoint(folder)
    assert np.array_equal(opened.blocks[1].mixer.wq, weights(run).read("blocks.1.mixer.wq"))


@pytest.mark.slow
def test_a_converted_run_is_an_ordinary_one(llama: Path, tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    """Catches a run folder that another verb cannot read, and a resume that goes on without an optimizer."""
    done = run_cli("convert", llama, "runs/mine", cwd=tmp_path)
    assert done.returncode == 0 and "runs/mine" in done.stdout, done.stderr
    run = ln.load(tmp_path / "runs" / "mine")
    text = run.generate("abc", max_tokens=5, temperature=0)
    config, opened, tokenizer = open_checkpoint(llama)
    assert config == run.config.model == open_checkpoint(tmp_path / "runs" / "mine")[0]
    assert len(text) == 5 and tokenizer.encode("cab") == run.tokenizer.encode("cab") == LETTERS.encode("cab")
    assert np.array_equal(opened.head, run.model.head)
    assert run.inspect("abc").tokens
    assert run.evaluate("abcabcab").tokens == 7
    assert "rope_scaling" in run_cli("info", "runs/mine", cwd=tmp_path).stdout
    resumed = run_cli("train", "--resume", "runs/mine", cwd=tmp_path)
    assert resumed.returncode == 2 and "converted weights" in resumed.stderr and "--from runs/mine" in resumed.stderr
    again = run_cli("convert", llama, "runs/mine", cwd=tmp_path)
    assert again.returncode == 2 and "not overwritten" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_a_model_of_no_family_is_refused(tmp_path: Path) -> None:
    """With the setting that no family has."""
    run = make_run(tmp_path / "run", model(BlockConfig(LLAMA, MLPConfig(activation="relu2"))))
    with pytest.raises(UserError, match=r"Llama has .*activation silu where this model has relu2"):
        from_run(run, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    "tokenizer",
    [
        CharTokenizer('a \n"\\\u00e9\U0001f600'),
        ByteTokenizer(),
        BPETokenizer((("a", "b"), ("\u0120", "a"), ("ab", "ab"))),
        TiktokenTokenizer("gpt2"),
    ],
    ids=lambda tokenizer: type(tokenizer).__name__,
)
def test_tokenizers_go_along(tokenizer: Tokenizer) -> None:
    """The same ids and the same text. Catches a pre-tokenizer that cuts otherwise, and an end token that gets lost."""
    texts = ['a\n\n "a\\ a', "abab ab a\u00e9\U0001f600", " a", "\n", "a  aa \n a"]
    if not isinstance(tokenizer, CharTokenizer):
        texts.append("It's 2026: na\u00efve <|endoftext|>?\r\n\tx")
    files = write_tokenizer(tokenizer)
    theirs = HuggingFaceTokenizer(files["tokenizer.json"], json.loads(files["tokenizer_config.json"]).get("eos_token"))
    for text in texts:
        if isinstance(tokenizer, CharTokenizer) and not set(text) <= set(tokenizer.characters):
            continue
        assert theirs.encode(text) == tokenizer.encode(text), text
        assert theirs.decode(theirs.encode(text)) == text
    assert (theirs.vocab_size, theirs.end_token) == (tokenizer.vocab_size, tokenizer.end_token)


def test_a_tokenizer_without_that_form_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    from_run(
        make_run(tmp_path / "run", MODELS["mamba"], WordTokenizer(("a", "b"))), tmp_path / "f", on_message=told.append
    )
    assert len(told) == 1 and "word" in told[0]
    assert not (tmp_path / "f" / "tokenizer.json").exists()


# --- GGUF -------------------------------------------------------------------------------------------------------------


def bits(value: int, start: int, count: int) -> int:
    return value >> start & (1 << count) - 1


def six(s: np.ndarray, n: int) -> tuple[int, int]:
    """Scale and minimum n of a block of Q4_K or Q5_K (get_scale_min_k4 in ggml-quants.c)."""
    a, b = [int(x) for x in s[:4]], [int(x) for x in s[4:8]]
    if n < 4:
        return bits(a[n], 0, 6), bits(b[n], 0, 6)
    c = int(s[n + 4])
    return bits(c, 0, 4) | bits(a[n - 4], 6, 2) << 4, bits(c, 4, 4) | bits(b[n - 4], 6, 2) << 4


def number(name: str, block: Any, i: int) -> float:
    """Number i of a block, one at a time: an independent reading of ggml's layouts."""
    q = block["q"]
    if name == "Q8_0":
        return float(q[i]) * float(block["d"])
    if name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        value = bits(int(q[i % 16]), 4 * (i // 16), 4)
        if name[1] == "5":
            value |= bits(int(block["h"][i // 8]), i % 8, 1) << 4
        if name[3] == "0":
            return (value - (8 if name[1] == "4" else 16)) * float(block["d"])
        return value * float(block["d"]) + float(block["m"])
    if name == "Q6_K":
        half, rest = divmod(i, 128)
        value = bits(int(q[64 * half + rest % 64]), 4 * (rest // 64), 4)
        value |= bits(int(block["h"][32 * half + rest % 32]), 2 * (rest // 32), 2) << 4
        return float(block["d"]) * int(block["s"][i // 16]) * (value - 32)
    group, place = divmod(i, 32)
    value = bits(int(q[32 * (group // 2) + place]), 4 * (group % 2), 4)
    if name == "Q5_K":
        value |= bits(int(block["h"][place]), group, 1) << 4
    scale, minimum = six(block["s"], group)
    return float(block["d"]) * scale * value - float(block["m"]) * minimum


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.size > 1], ids=lambda kind: kind.name)
def test_quantized_numbers(kind: Any) -> None:
    """Catches a nibble, a fifth bit or a scale that is taken from another place."""
    rng = np.random.default_rng(0)
    blocks = np.frombuffer(rng.bytes(3 * kind.block.itemsize), kind.block).copy()
    for name in {"d", "m"} & set(kind.block.names):
        blocks[name] = rng.standard_normal(3)
    want = [number(kind.name, block, i) for block in blocks for i in range(kind.size)]
    assert np.allclose(numbers(kind, blocks), want, rtol=1e-5, atol=1e-5)


def gguf_of(config: ModelConfig, **settings: object) -> bytes:
    """A file with the weights of `Random`, matrices in F32."""
    source, tensors = Random(config), {}
    for entry in gguf_table(config, pairs=True):
        (array,) = entry.layout.to_theirs([source.read(name) for name in entry.ours.split()])
        tensors[entry.theirs] = array.shape[::-1], 0, np.ascontiguousarray(array, "<f4").tobytes()
    mixer = config.pattern[0].mixer
    assert isinstance(mixer, AttentionConfig)
    values = {
        "general.architecture": "llama",
        "llama.embedding_length": config.hidden_size,
        "llama.block_count": config.n_layer,
        "llama.feed_forward_length": 36,
        "llama.attention.head_count": mixer.n_head,
        "llama.attention.head_count_kv": mixer.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 0.5,
        "llama.context_length": 77,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<end>", "a", "b", "ab", "\u0120", "\u0120ab", "1"],
        "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b", "\u0120 ab"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.chat_template": "{{ messages }}",
    }
    kept = {key: value for key, value in {**values, **settings}.items() if value is not None}
    return gguf_bytes(kept, tensors)


LLAMA_FILE = model(BlockConfig(LLAMA, SWIGLU), n_layer=2, norm=RMSNormConfig(0.5))


def test_a_gguf_file(tmp_path: Path) -> None:
    """Catches q and k whose rows stay in GGUF's order, and a tokenizer that is cut or ends otherwise."""
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_of(LLAMA_FILE))
    config, opened, tokenizer = open_checkpoint(path)
    assert difference(LLAMA_FILE, config) is None
    source = Random(LLAMA_FILE)
    for name in ("wq", "wk", "wv", "wo"):
        assert np.array_equal(getattr(opened.blocks[1].mixer, name), source.read(f"blocks.1.mixer.{name}"))
    (entry,) = (one for one in gguf_table(config, pairs=True) if one.ours == "blocks.0.mixer.wq")
    (theirs,) = entry.layout.to_theirs([np.arange(24 * 24).reshape(24, 24)])
    # row 1 of a head holds what is rotated together with row 0: the column of ours that lies half a head away
    assert theirs[0].tolist() == list(range(0, 576, 24)) and theirs[1].tolist() == list(range(3, 576, 24))
    assert tokenizer.encode("ab ab<end>a11")[:2] == [3, 5] and tokenizer.encode("11") == [6, 6]
    assert tokenizer.end_token == 0 and getattr(tokenizer, "chat_template", "") == "{{ messages }}"
    to_run(path, tmp_path / "run")
    assert ln.load(tmp_path / "run").config.sequence_length == 77


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"general.architecture": "bert"}, "general.architecture is 'bert'"),
        ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model is 'llama'"),
        ({"tokenizer.ggml.pre": "tekken"}, "tokenizer.ggml.pre is 'tekken'"),
        ({"tokenizer.ggml.merges": ["a c"]}, "tokenizer.ggml.merges"),
        ({"tokenizer.ggml.tokens": [str(n) for n in range(12)], "tokenizer.ggml.merges": None}, "tokenizer.ggml"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type is 'yarn'"),
        ({"llama.expert_count": 8}, "expert_count is 8"),
        ({"llama.block_count": 3}, "no tensor blk.2.attn_norm.weight"),
        ({"llama.attention.head_count": 5}, "24 is not divisible by n_head 5"),
        ({"llama.block_count": 2**31}, "block_count|num_hidden_layers"),
    ],
)
def test_a_gguf_file_that_cannot_be_represented(settings: dict[str, object], says: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_of(LLAMA_FILE, **settings))
    with pytest.raises(UserError, match=says):
        to_run(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"GGUX" + bytes(40), "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version is 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60) + bytes(99), "past the end"),
        (gguf_of(LLAMA_FILE)[:-4000], "does not lie in the file"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_a_broken_gguf_file(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as told:
        to_run(path, tmp_path / "run")
    assert "model.gguf" in str(told.value) and "\n" not in str(told.value)


# --- broken and hostile folders ---------------------------------------------------------------------------------------


def header(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Changes the header of the weights."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        values, data = header(path)
        change(values)
        text = json.dumps(values).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)

    return spoil


def file_with(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def settings(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def index_naming(file: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": file}}))

    return spoil


def renamed(values: dict[str, Any], old: str, new: str) -> None:
    values[new] = values.pop(old)


def moved(values: dict[str, Any], by: int) -> None:
    place = values["model.norm.weight"]
    place["data_offsets"] = [n + by for n in place["data_offsets"]]


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")


def more_tokens(folder: Path) -> None:
    for name, text in write_tokenizer(CharTokenizer("abcdefghijklmnop")).items():
        (folder / name).write_text(text)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut short": (cut_short, r"model\.safetensors is no whole safetensors file"),
    "a header of 2^60 bytes": (
        file_with("model.safetensors", struct.pack("<Q", 2**60) + b"{}"),
        r"header would have 1,152,921,504,606,846,976 bytes",
    ),
    "a header that is no JSON": (file_with("model.safetensors", struct.pack("<Q", 2) + b"{,"), "header is not JSON"),
    "a header nested deeply": (
        file_with("model.safetensors", struct.pack("<Q", 100_000) + b"[" * 100_000),
        "nested too deeply|not JSON",
    ),
    "overlapping offsets": (rewritten(lambda v: moved(v, -4)), "model.norm.weight overlaps the tensor before it"),
    "a gap": (rewritten(lambda v: moved(v, 4)), "model.norm.weight leaves a gap"),
    "offsets and shape that differ": (
        rewritten(lambda v: v["model.norm.weight"].update(shape=[23])),
        r"model.norm.weight is F32 \[23\]",
    ),
    "a wrong dtype": (rewritten(lambda v: v["model.norm.weight"].update(dtype="I32")), "model.norm.weight is I32"),
    "an unknown dtype": (rewritten(lambda v: v["model.norm.weight"].update(dtype="X")), "unknown dtype 'X'"),
    "another shape": (
        rewritten(lambda v: v["model.norm.weight"].update(shape=[4, 6])),
        r"model.norm.weight is \[4, 6\], and the settings of the model ask for \[24\]",
    ),
    "a missing tensor": (rewritten(lambda v: renamed(v, "model.norm.weight", "x")), "has no tensor model.norm.weight"),
    "an extra tensor": (
        rewritten(lambda v: v.update(x={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
        "tensor x has no place",
    ),
    "a path that leaves the folder": (index_naming("../outside.safetensors"), "not in its folder"),
    "an absolute path": (index_naming("/etc/passwd"), "not in its folder"),
    "an index that names a missing file": (index_naming("model-1.safetensors"), "model-1.safetensors cannot be read"),
    "a pickle": (without_weights, "pytorch_model.bin is a pickle"),
    "too many tokens": (more_tokens, "tokenizer has 16 tokens and the embedding only 11"),
    "a broken config.json": (file_with("config.json", b'{"model_type": '), "config.json is no JSON"),
    "an unknown model": (settings(model_type="bert"), "model_type is 'bert'"),
    "a nonlinearity that we lack": (settings(hidden_act="gelu"), "hidden_act is 'gelu'"),
    "scaled positions that we lack": (
        settings(rope_scaling={"rope_type": "yarn", "factor": 2.0}),
        "rope_scaling is 'yarn'.* default, linear and llama3",
    ),
    "a bias that we lack": (settings(mlp_bias=True), "mlp_bias is True"),
    "a size that is text": (settings(hidden_size="24"), "hidden_size is '24', which is not a whole number"),
    "no size": (settings(hidden_size=None), "hidden_size is missing"),
    "a name that writes over the screen": (
        rewritten(lambda v: v.update({"x\x1b[2J\n" * 99: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})),
        r"tensor 'x\\x1b\[2J\\nx",
    ),
    "types of layers that are none": (settings(model_type="qwen2", layer_types=[{}, {}, {}]), "layer_types is"),
    "a number without end": (settings(rms_norm_eps=float("inf")), "rms_norm_eps is inf"),
    "more layers than it has": (settings(num_hidden_layers=90), "has no tensor model.layers.3.input_layernorm.weight"),
    "a billion layers": (settings(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder(what: str, llama: Path, tmp_path: Path) -> None:
    """One sentence that names what is wrong, and nothing is left behind."""
    spoil, says = HOSTILE[what]
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    with pytest.raises(UserError, match=says) as told:
        to_run(folder, tmp_path / "run")
    assert len(str(told.value)) < 700 and "\n" not in str(told.value)
    assert not [path for path in tmp_path.iterdir() if "run" in path.name]


def test_numbers_of_16_bits(llama: Path, tmp_path: Path) -> None:
    """BF16 and F16 become the same numbers as float32."""
    values, data = header(llama / "model.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    out, want, changed = b"", {}, {}
    for number, (name, place) in enumerate((n, p) for n, p in values.items() if n != "__metadata__"):
        array = np.frombuffer(data[slice(*place["data_offsets"])], "<f4").reshape(place["shape"])
        half = array.astype("<f2") if number % 2 else (array.view("<u4") >> 16).astype("<u2")
        want[name] = half.astype(np.float32) if number % 2 else (half.astype("<u4") << 16).view("<f4")
        span = [len(out), len(out) + half.nbytes]
        changed[name] = {"dtype": "F16" if number % 2 else "BF16", "shape": place["shape"], "data_offsets": span}
        out += half.tobytes()
    text = json.dumps(changed).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + out)
    _, opened, _ = open_checkpoint(folder)
    assert np.array_equal(opened.embedding, want["model.embed_tokens.weight"])
    assert np.array_equal(opened.blocks[0].mixer.wq, want["model.layers.0.self_attn.q_proj.weight"].T)
    assert np.array_equal(opened.blocks[0].mixer.bq, want["model.layers.0.self_attn.q_proj.bias"])


@pytest.mark.parametrize("parser", FUZZ)
def test_broken_headers(parser: str) -> None:
    """Whatever the bytes say, the parser accepts them soundly or says what is wrong; 300 seeds."""
    accepted = [FUZZ[parser](random.Random(seed)) for seed in range(300)]
    assert 10 < sum(accepted) < 290


def test_scaled_rotary_positions() -> None:
    """Llama 3's rule at its two ends: short wavelengths stay, long ones are `factor` times slower."""
    scaling = RopeScaling(8.0, 8192, 1.0, 4.0)
    rates = 2 * math.pi / np.array([10.0, 8192 / 4.0, 8192 / 2.5, 8192.0, 1e6])
    share = (2.5 - 1) / 3
    want = rates * np.array([1, 1, share + (1 - share) / 8, 1 / 8, 1 / 8])
    assert np.allclose(scaling(rates), want)
    assert np.allclose(RopeScaling(4.0)(rates), rates / 4)
