"""The topics of `linearnexus explain`, in the order of the guide (docs/concepts.md). Imports without JAX."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Topic:
    about: Literal["run", "text", "model", "machine"]  # a run and a text; a text; a preset or a run; nothing else
    sentence: str
    look_for: str
    command: str  # to try next
    example: str = ""  # the text or the preset where none is given
    mixer: str = ""  # the run must have a layer of it


PROMPT = "Once upon a time there was a"
TOPICS: dict[str, Topic] = {
    "generate": Topic(
        "run",
        "how a model writes: probabilities, a draw, the token is appended, and again",
        "the drawn token is not always the most probable one.",
        'linearnexus generate storyteller "Once upon a time" --temperature 0.5',
        PROMPT,
    ),
    "sampling": Topic(
        "run",
        "one prompt under greedy, temperatures, top-k and top-p: the odds, and what is written",
        "a low temperature makes the first row larger; top-k and top-p set the last rows to nothing.",
        'linearnexus inspect storyteller "Once upon a" --top-k 5 --top-p 0.9',
        PROMPT,
    ),
    "tokens": Topic(
        "text",
        "what a token is: your text as characters, words, and pieces of words",
        "a larger vocabulary cuts the same text into fewer tokens.",
        'linearnexus tokenizer show "any text of yours" --tokenizers bpe:512 gpt2 o200k',
        "Hello, world!",
    ),
    "attention": Topic(
        "run",
        "what each token may look at (the causal mask), and what a trained model looks at",
        "nothing right of the diagonal, and heads that look at different things.",
        'linearnexus explain attention "another text" --save attention.png',
        "Once upon a time there was a princess called Nora. She",
        mixer="attention",
    ),
    "complexity": Topic(
        "machine",
        "measured time and memory of attention and Mamba on longer and longer texts",
        "attention's time grows about four times when the text doubles, Mamba's about twice; its state not at all.",
        "linearnexus explain cache",
    ),
    "mamba": Topic(
        "run",
        "Mamba's state over time: what each token writes into it, and how it decays",
        "columns that fade at once and columns that stay: the model itself decides what to remember.",
        "linearnexus explain hybrid",
        "Once upon a time there was a princess called Nora. She",
        mixer="mamba",
    ),
    "hybrid": Topic(
        "model",
        "a hybrid model layer by layer: what each one keeps of the text, in bytes",
        "only the attention layers grow with the text.",
        "linearnexus explain hybrid jamba-micro",
        "jamba-nano",
    ),
    "training": Topic(
        "run",
        "what a training step reads: each token's target is the next token; and the loss of each",
        "dark tokens: new names and turns of the story surprise, the rest of a word or phrase does not.",
        'linearnexus explain training "a sentence that no story has"',
        "Once upon a time there was a princess called Nora who lived in a big castle.",
    ),
    "cache": Topic(
        "model",
        "the next token with and without a cache: time and memory",
        "without a cache the time grows with the text, with one hardly; the bytes of Mamba's stay the same.",
        "linearnexus explain cache jamba-nano",
        "gpt-nano",
    ),
    "size": Topic(
        "model",
        "where a model's parameters are, and the rough formula beside the exact count",
        "the larger a GPT-2, the smaller its embedding's share and the better the rough formula.",
        "linearnexus info gpt2-small",
        "gpt2-small",
    ),
}
ALSO = {  # a word of the glossary -> the topic that shows it
    **dict.fromkeys(("temperature", "top-k", "top-p", "greedy", "nucleus"), "sampling"),
    **dict.fromkeys(("bpe", "word", "character", "tokenizer", "token", "vocabulary"), "tokens"),
    **dict.fromkeys(
        ("mask", "causal", "causal-mask", "self-attention", "head", "heads", "gpt", "transformer"), "attention"
    ),
    **dict.fromkeys(("state", "ssm", "mamba2"), "mamba"),
    **dict.fromkeys(("loss", "target", "perplexity"), "training"),
    **dict.fromkeys(("kv-cache", "inference"), "cache"),
    **dict.fromkeys(("parameters", "embedding", "embeddings"), "size"),
    **dict.fromkeys(("memory", "speed", "quadratic"), "complexity"),
    "jamba": "hybrid",
}
