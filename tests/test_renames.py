"""Old names: each works until the version that renames.py tells, and says its new name in one sentence."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from linearnexus.core import renames
from linearnexus.core.config import config_class, from_json, make, to_json
from linearnexus.core.errors import UserError
from linearnexus.core.module import vector
from linearnexus.core.renames import RenamedWarning
from linearnexus.mixers.configs import (
    AttentionConfig,
    DeltaNetConfig,
    GatedConvConfig,
    GatedDeltaNetConfig,
    KimiDeltaAttentionConfig,
    MambaConfig,
    MLSTMConfig,
    MoEConfig,
)
from linearnexus.mixers.contract import MatrixState
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.pattern import with_pattern
from linearnexus.models.presets import override, preset
from linearnexus.training import checkpoint

BALANCE = "'balance' of moe is now called 'aux_loss_weight'; the old name works until version 0.3."
OLD_MIXER = """
import jax
import jax.numpy as jnp
from linearnexus.core.config import config
from linearnexus.core.initial import normal, step_bias
from linearnexus.core.module import matrix, module, static, vector
from linearnexus.mixers.base import Out
from linearnexus.mixers.config import MixerConfig

@config("old_mixer")
class OldConfig(MixerConfig):
    implementation = f"{__name__}:Old"
    shares = True

    def sequence_flops(self, hidden_size, context):
        return 0

@module
class Old:
    w: jax.Array = matrix()
    fade: jax.Array = vector(rate=2.0)
    config: OldConfig = static()

    @classmethod
    def init(cls, config, hidden_size, key):
        return cls(normal(key, hidden_size, hidden_size), step_bias(key, hidden_size), config)

    def init_state(self, batch, max_len, dtype):
        return jnp.zeros((batch, 1))

    def __call__(self, x, context, state=None):
        return Out(x, state)

    def step(self, x, context, state):
        return Out(x, state)

    def look(self, x, context):
        return {}
"""
ROOT = Path(__file__).resolve().parents[1]
TOLD = [
    "'linearnexus.core.initial' is now called 'linearnexus.core.initializers'",
    "'step_bias' of linearnexus.core.initializers is now called 'init_dt_bias'",
    "'linearnexus.mixers.base' is now called 'linearnexus.mixers.contract'",
    "'Out' of linearnexus.mixers.contract is now called 'MixerOutput'",
    "'linearnexus.mixers.config' is now called 'linearnexus.mixers.configs'",
    "'shares' of MixerConfig is now called 'shares_values'",
    "'rate' of vector is now called 'lr_multiplier'",
]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}


def test_a_config_field_in_a_file_is_read_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """config.json of an older run. Catches a run that no longer opens, and a warning about what nobody typed."""
    written = to_json(preset("jamba-moe-nano"))
    old = json.loads(json.dumps(written).replace("aux_loss_weight", "balance"))
    assert old != written
    assert from_json(old) == preset("jamba-moe-nano")
    assert not [warning for warning in recwarn if issubclass(warning.category, RenamedWarning)]


def test_a_config_field_in_python() -> None:
    """As a keyword, in `dataclasses.replace`, in `make` and `override`, and when it is read."""
    with pytest.warns(FutureWarning) as told:
        made = MoEConfig(4, balance=0.5)  # type: ignore[call-arg]
    assert [str(warning.message) for warning in told] == [BALANCE] and told[0].filename == __file__
    assert made == MoEConfig(4, aux_loss_weight=0.5)
    with pytest.warns(RenamedWarning):
        assert dataclasses.replace(made, balance=0.25).aux_loss_weight == 0.25  # type: ignore[call-arg]
    with pytest.warns(RenamedWarning):
        assert make(MoEConfig, {"balance": 0.25}).aux_loss_weight == 0.25
    with pytest.warns(RenamedWarning):
        changed = override(preset("jamba-moe-nano"), balance=0.25)
    experts = [block.channel_mixer for block in changed.pattern if isinstance(block.channel_mixer, MoEConfig)]
    assert [part.aux_loss_weight for part in experts] == [0.25, 0.25]
    with pytest.warns(RenamedWarning):
        assert made.balance == 0.5  # type: ignore[attr-defined]
    with pytest.warns(RenamedWarning), pytest.raises(UserError, match="aux_loss_weight is -1"):
        MoEConfig(balance=-1)  # type: ignore[call-arg]


def test_an_option_in_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sequence mixer has a renamed field yet: one is made up."""
    monkeypatch.setitem(renames.CONFIG_FIELDS, "attention", {"span": "window"})
    with pytest.warns(RenamedWarning, match="'span' of attention is now called 'window'"):
        model = with_pattern(preset("gpt-nano"), "attention(span=7)")
    assert model.pattern[0].mixer == AttentionConfig(n_head=4, window=7)


def test_arguments_and_attributes() -> None:
    state = jnp.zeros((1, 1, 1, 1))
    with pytest.warns(RenamedWarning, match="'tail' of MatrixState is now called 'conv_state'"):
        old = MatrixState(state, tail=state)  # type: ignore[call-arg]
    assert old.conv_state is state
    with pytest.warns(RenamedWarning, match="'tail' of MatrixState"):
        assert old.tail is state  # type: ignore[attr-defined]
    assert jax.tree.map(lambda array: array + 1, old).conv_state == 1
    with pytest.warns(RenamedWarning, match="'rate' of vector is now called 'lr_multiplier'"):
        field = vector(rate=2.0)
    assert field.metadata["lr_multiplier"] == 2.0


def test_tensors_of_an_older_checkpoint(tmp_path: Path) -> None:
    """Model and optimizer, by the last part of a tensor's name or any other, to the bit and without a word; another
    unknown tensor is still refused."""
    like = {"mixer": {"x_proj": np.arange(6, dtype=np.float32).reshape(2, 3), "w_in": np.ones(2, np.float32)}}
    for tree, place in ((like, "mixer.w_select"), ({"mu": {"blocks": [like]}}, "mu.blocks.0.mixer.w_select")):
        path = tmp_path / "file.safetensors"
        checkpoint.write_tensors(path, tree)
        tensors = {name.replace("x_proj", "w_select"): array for name, array in load_file(path).items()}
        assert place in tensors
        save_file(tensors, path)
        read = checkpoint.load_tree(path, tree)
        jax.tree.map(np.testing.assert_array_equal, read, tree)
        save_file({**tensors, "mixer.w_other": np.ones(1, np.float32)}, path)
        with pytest.raises(UserError, match=r"w_other: the config has no such tensor"):
            checkpoint.open_tensors(path, tree)


@pytest.mark.slow
def test_tensors_that_had_another_form(tmp_path: Path) -> None:
    """A matrix that had fewer dimensions, and taps that were one array, open to the bit: in a model, an optimizer's
    state and under any name above them. Mamba's own `conv` stays; another shape is still refused, and so is a part that
    is missing."""
    size = {"hidden_size": 16, "vocab_size": 5}
    pattern = tuple(
        BlockConfig(mixer)
        for mixer in (
            MambaConfig(),
            GatedConvConfig(),
            MLSTMConfig(n_head=2),
            DeltaNetConfig(n_head=2),
            GatedDeltaNetConfig(n_head=2),
            KimiDeltaAttentionConfig(n_head=2),
        )
    )
    model = LanguageModel.init(ModelConfig(pattern, len(pattern), **size), jax.random.key(0))
    number = iter(range(10**6))
    model = jax.tree.map(lambda leaf: leaf + next(number), model)  # no two arrays are alike
    for tree in (model, {"mu": model, "count": np.arange(2.0)}):
        path = tmp_path / "file.safetensors"
        checkpoint.write_tensors(path, tree)
        now = load_file(path)
        old = {}
        for name, array in now.items():
            above, _, last = name.rpartition(".")
            if last == "conv_q":
                old[f"{above}.conv"] = np.concatenate([now[f"{above}.conv_{part}"] for part in "qkv"], axis=1)
            elif last == "gate_bias":
                old[name] = array.reshape(-1)
            elif last not in ("conv_k", "conv_v"):
                old[name] = array.reshape(len(array), -1) if last in ("w_in", "w_gates") else array
        assert len(old) == len(now) - 6 and max(array.ndim for array in old.values()) == 2
        save_file(old, path)
        jax.tree.map(np.testing.assert_array_equal, checkpoint.load_tree(path, tree), tree)
        first = next(name for name in old if name.endswith("w_in"))
        save_file({**old, first: old[first][:, 1:].copy()}, path)
        with pytest.raises(UserError, match=r"w_in is float32\[16, 63\], and the config asks for float32\[16, 2, 32\]"):
            checkpoint.open_tensors(path, tree)
        first = next(name for name in old if name.endswith("3.mixer.conv"))
        save_file({**old, first: old[first][:, 1:].copy()}, path)
        with pytest.raises(UserError, match=r"3\.mixer\.conv_q: the config asks for it"):
            checkpoint.open_tensors(path, tree)


def test_a_mixer_file_with_old_imports(tmp_path: Path) -> None:
    """The command line tells each old name once, as a sentence, and the mixer works. Catches an old module that pulls
    in JAX with the package, and a traceback's line of source in what the user reads."""
    (tmp_path / "old_mixer.py").write_text(OLD_MIXER)
    code = (
        "import os, sys; os.environ['LINEARNEXUS_MIXERS'] = 'old_mixer.py'; "
        "import linearnexus; assert 'jax' not in sys.modules; "
        "from linearnexus.cli.main import main; main(['info', 'old-mixer-nano'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert "old_mixer" in done.stdout
    told = done.stderr.splitlines()
    assert sorted(told) == sorted(f"linearnexus: {words}; the old name works until version 0.3." for words in TOLD)


def test_old_modules_are_found(tmp_path: Path) -> None:
    """In a process of its own, so that nothing of the package has been imported before."""
    code = """
from linearnexus.core.initial import normal
from linearnexus.mixers import base
import linearnexus.mixers.base as same
from linearnexus.tokenizers.base import Tokenizer
from linearnexus.models.stored import stored
assert base is same and base.MatrixState.__name__ == "MatrixState"
try:
    from linearnexus.mixers.base import nothing
except ImportError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == 0 and done.stdout == "refused\n", done.stderr


def test_every_row_leads_somewhere() -> None:
    """Catches a row whose new name is misspelt, and an old name that is in use again."""
    for old, new in renames.MODULES.items():
        import_module(new)
        assert old != new
    for place, names in renames.NAMES.items():
        for old, new in names.items():
            assert old not in vars(import_module(place))
            where, _, name = new.rpartition(":")
            assert name in vars(import_module(where or place)), new
    for name, fields in renames.CONFIG_FIELDS.items():
        known = {field.name for field in dataclasses.fields(config_class(name))}
        assert set(fields.values()) <= known and not set(fields) & known


def test_modules_with_a_renamed_name() -> None:
    with pytest.warns(RenamedWarning, match="'low_rank_step' of linearnexus.ops.delta_rule is now called 'dplr_step'"):
        from linearnexus.ops.delta_rule import low_rank_step
    assert low_rank_step.__name__ == "dplr_step"
    with pytest.warns(RenamedWarning, match=r"is now called 'linearnexus.models.own_mixers.add_mixers'"):
        from linearnexus.models.presets import add_mixers  # noqa: F401
    with pytest.raises(ImportError):
        from linearnexus.ops.delta_rule import nothing  # noqa: F401
