"""Conversations as text: a tokenizer's own chat template (Jinja), or a plain one that every tokenizer can write.

    User: Who is the story about?

    Assistant: Nora

A blank line ends an answer of the plain template, or the tokenizer's end token where it has one.

Look first at: `template_of`, `encode_conversation` (its answers told apart), `PlainTemplate`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.tokenizers.hugging_face import HuggingFaceTokenizer
from linearnexus.tokenizers.tokenizer import Tokenizer

jinja2, sandbox = LazyPackage("jinja2"), LazyPackage("jinja2.sandbox")

ROLES = ("system", "user", "assistant")
BLANK_LINES = re.compile(r"\n\s*\n")
BEGINS = ("<s>", "<|begin_of_text|>", "<bos>")  # what templates call bos_token
PROBE = "zqz"  # a word that no template holds


class Message(NamedTuple):
    role: str
    content: str


class Template(Protocol):
    def text(self, messages: Sequence[Message], ask: bool) -> str:
        """The conversation as text; `ask`: with the beginning of the answer that is to come."""


@dataclass(frozen=True)
class PlainTemplate:
    end: str | None = None  # the name of the tokenizer's end token

    def text(self, messages: Sequence[Message], ask: bool) -> str:
        turns = []
        for role, content in messages:
            # a blank line would end the answer before it is over
            content = content.strip() if self.end else BLANK_LINES.sub("\n", content.strip())
            end = self.end if self.end and role == "assistant" else ""
            turns.append(f"{role.capitalize()}: {content}{end}\n\n")
        return "".join(turns) + ("Assistant:" if ask else "")


@dataclass(frozen=True)
class JinjaTemplate:
    """The chat template of a Hugging Face tokenizer, in Jinja's sandbox, with the settings of transformers."""

    source: str
    begin: str
    end: str

    def text(self, messages: Sequence[Message], ask: bool) -> str:
        try:
            return self._template.render(
                messages=[message._asdict() for message in messages],
                add_generation_prompt=ask,
                bos_token=self.begin,
                eos_token=self.end,
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise UserError(f"The tokenizer's chat template refuses the conversation ({error}).") from error

    @cached_property
    def _template(self) -> Any:
        def refuse(sentence: str) -> None:
            raise jinja2.TemplateError(sentence)

        environment = sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = refuse
        # transformers marks answers so; Jinja knows no such block
        source = re.sub(r"{%(-?)\s*generation\s*(-?)%}", r"{%\1 if true \2%}", self.source)
        return environment.from_string(re.sub(r"{%(-?)\s*endgeneration\s*(-?)%}", r"{%\1 endif \2%}", source))


def template_of(tokenizer: Tokenizer) -> Template:
    """The tokenizer's own template, or the plain one. Raises UserError for a tokenizer that cannot write that."""
    names = {number: name for name, number in tokenizer.special_tokens.items()}
    end = None if tokenizer.end_token is None else names.get(tokenizer.end_token)
    if isinstance(tokenizer, HuggingFaceTokenizer) and tokenizer.chat_template:
        begin = next((name for name in BEGINS if name in tokenizer.special_tokens), "")
        return JinjaTemplate(tokenizer.chat_template, begin, end or "")
    plain = PlainTemplate(end)
    try:
        encode(tokenizer, plain.text([Message(role, "") for role in ROLES], True))
    except UserError as error:
        raise UserError(
            f"The plain chat template needs the letters of 'User:', 'Assistant:', 'System:' and a new line, and the "
            f"tokenizer does not know them all ({error}) Train a model with --tokenizer byte to chat with."
        ) from error
    return plain


def stop_text(template: Template, tokenizer: Tokenizer) -> str:
    """What ends an answer: the special token after it, or all that the template writes there ("": nothing)."""
    question = [Message("user", PROBE.upper())]
    prompt, whole = template.text(question, True), template.text([*question, Message("assistant", PROBE)], False)
    after = whole[len(prompt) :].partition(PROBE)[2]
    found = [name for name in tokenizer.special_tokens if name in after]
    return min(found, key=after.index) if found else after


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a template's text, in which the names of special tokens stand for them."""
    special = tokenizer.special_tokens
    if not special:
        return tokenizer.encode(text)
    names = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    pieces = [piece for piece in re.split(f"({names})", text) if piece]
    return [id_ for piece in pieces for id_ in ([special[piece]] if piece in special else tokenizer.encode(piece))]


def check_contents(messages: Sequence[Message], tokenizer: Tokenizer) -> None:
    """Raises UserError where a message holds what the template would take for a special token."""
    for role, content in messages:
        for name in tokenizer.special_tokens:
            if name in content:
                raise UserError(f"A message of the {role} holds the special token {name}; leave it out of the text.")


def segments(messages: Sequence[Message], template: Template, stop: str) -> list[tuple[str, bool]] | None:
    """The text up to the end of the last answer, cut at the beginning and the end of each: (text, is it an answer?).
    None: the template writes the beginning of a conversation otherwise once it goes on."""
    found, done = [], ""
    for place, message in enumerate(messages):
        if message.role == "assistant":
            prompt, whole = template.text(messages[:place], True), template.text(messages[: place + 1], False)
            if not prompt.startswith(done) or not whole.startswith(prompt):
                return None
            end = whole.rfind(stop) + len(stop) if stop else len(whole)
            found += [(prompt[len(done) :], False), (whole[len(prompt) : end], True)]
            done = whole[:end]
    return found


def encode_conversation(
    messages: Sequence[Message], template: Template, tokenizer: Tokenizer, stop: str
) -> tuple[list[int], list[bool]]:
    """The ids up to the end of the last answer, and which of them are answers or their ends. Each answer is encoded
    apart from what stands before it, as when it is generated. Raises UserError where answers cannot be told apart."""
    check_contents(messages, tokenizer)
    parts = segments(messages, template, stop)
    if parts is None:
        raise UserError(
            "The tokenizer's chat template writes the beginning of a conversation otherwise once it goes on, so its "
            "answers cannot be told apart; give conversations of one answer."
        )
    encoded = [(encode(tokenizer, text), is_answer) for text, is_answer in parts]
    return [id_ for ids, _ in encoded for id_ in ids], [is_answer for ids, is_answer in encoded for _ in ids]
