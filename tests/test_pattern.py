"""Patterns: a model's layers from a short text, as it is typed."""

import pytest

from linearnexus.core.errors import UserError
from linearnexus.mixers.configs import AttentionConfig, GLAConfig, Mamba2Config, MLPConfig
from linearnexus.models.pattern import with_pattern
from linearnexus.models.presets import preset
from linearnexus.training.recipes import base_config, with_options

GPT = preset("gpt-micro")


def test_a_pattern_says_the_layers_in_order() -> None:
    """Counts, options and hyphens; heads as the model has them; channel mixers, width and the rest stay; the model is
    as deep as the pattern is long."""
    model = with_pattern(GPT, "7*mamba2(head_size=32, n_group=2), attention(window=64,qk_norm=True),gla")
    mixers = [block.mixer for block in model.pattern]
    assert mixers == [Mamba2Config(head_size=32, n_group=2)] * 7 + [
        AttentionConfig(n_head=6, window=64, qk_norm=True),
        GLAConfig(n_head=6),
    ]
    assert {block.channel_mixer for block in model.pattern} == {MLPConfig(4.0, activation="relu2")}
    assert (model.n_layer, model.hidden_size) == (9, 384)
    assert with_pattern(GPT, "gated-conv, attention").n_layer == 6
    assert with_pattern(preset("mamba-nano"), "gla,mamba").pattern[0].channel_mixer is None


def test_a_pattern_is_an_option_like_others() -> None:
    """Beside other options of the same run, which see the layers that the pattern brought in."""
    config = with_options(base_config("gpt-nano"), {"pattern": "3*attention,mamba", "window": 16, "n_layer": 8})
    assert config.model.n_layer == 8
    assert config.model.block(6).mixer == AttentionConfig(n_head=4, window=16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7*mamb2,attention", "did you mean 'mamba2'"),
        ("", "is no part of a pattern"),
        ("mamba2,,attention", "is no part of a pattern"),
        ("7 mamba2", "is no part of a pattern"),
        ("0*mamba2", "0 times"),
        ("attention(window)", "NAME=VALUE"),
        ("attention(windw=3)", "did you mean 'window'"),
        ("attention(window=three)", "that is not a value"),
        ("attention(window=0.5)", "window is 0.5"),
        ("attention(n_head=7)", "not divisible"),
    ],
)
def test_a_pattern_that_says_nothing_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        with_pattern(GPT, text)


def test_a_pattern_deeper_than_the_model_asked_for_is_refused() -> None:
    """The last layers would be missing, an attention layer among them, without a word."""
    with pytest.raises(UserError, match=r"pattern has 8 layers and n_layer is 4"):
        with_options(base_config("gpt-nano"), {"pattern": "7*mamba2,attention", "n_layer": 4})
