"""Sessions: forked, undone, saved and killed, a conversation has the bits of one that nothing happened to."""

import dataclasses
import functools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import linearnexus as ln
from linearnexus.core.errors import UserError
from linearnexus.core.module import named_leaves
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.generation.snapshots import resized
from linearnexus.models.language_model import LanguageModel
from linearnexus.posttraining.session import KEPT, Session
from linearnexus.tokenizers import ByteTokenizer
from tests.tiny import MODELS

QUESTIONS = ("Who is in the wood?", "And what does the old king say to the frog?", "Why?", "Tell me more of it.")
KINDS = ["gpt", pytest.param("jamba", marks=pytest.mark.slow)]


@functools.cache
def writer(kind: str, seed: int = 0, context: int = 512) -> Generator:
    config = dataclasses.replace(MODELS[kind], vocab_size=256)
    return Generator(LanguageModel.init(config, jax.random.key(seed)), ByteTokenizer(), context)


def begin(kind: str, context: int = 512) -> Session:
    return Session(writer(kind, 0, context), "Answer.", SamplingConfig(temperature=1.2, top_k=60, seed=2**33), 24)


def replay(questions: Any, kind: str) -> Session:
    """A fresh session that is asked the same."""
    session = begin(kind)
    for question in questions:
        session.say(question)
    return session


def same(one: Session, other: Session) -> bool:
    """Do the histories and the states have the same bits?"""
    assert one.turn is not None and other.turn is not None
    states = [named_leaves(session.turn.snapshot.state) for session in (one, other)]
    equal = all((np.asarray(states[0][name]) == np.asarray(states[1][name])).all() for name in states[0])
    return one.history == other.history and states[0].keys() == states[1].keys() and equal


@pytest.mark.parametrize("kind", KINDS)
def test_forks_and_undo_are_fresh_replays(kind: str) -> None:
    """Catches a fork that writes into its parent's state, an undo that leaves a token behind, and a state that was read
    in other chunks."""
    trunk = begin(kind)
    forks = []
    for turn in range(8):
        trunk.say(QUESTIONS[turn % 4])
        forks.append(trunk.fork())
        assert forks[-1].turn.snapshot is trunk.turn.snapshot  # a fork costs no bytes of state
    for number, fork in enumerate(forks[:3]):
        fork.say(f"fork {number}?")
        asked = [QUESTIONS[turn % 4] for turn in range(number + 1)]
        assert same(fork, replay([*asked, f"fork {number}?"], kind))
        fork.undo()
        fork.undo()
        assert fork.history == replay(asked[:-1], kind).history
        fork.say("Again?")
        assert fork.history == replay([*asked[:-1], "Again?"], kind).history
    assert trunk.history == replay([QUESTIONS[turn % 4] for turn in range(8)], kind).history


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_session_resumes_in_another_process(kind: str, tmp_path: Path) -> None:
    """The process that saved it is killed. Catches a state that is saved in another precision, and a lost turn."""
    program = (
        "import os, signal; from tests.test_session import *\n"
        f"session = replay(QUESTIONS[:3], {kind!r}); session.save('talk'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == -signal.SIGKILL
    loaded = Session.load(tmp_path / "talk", writer(kind))
    assert loaded.turn is not None and loaded.sampling.seed == 2**33 and loaded.max_tokens == 24
    loaded.say(QUESTIONS[3])
    whole = replay(QUESTIONS, kind)
    assert same(loaded, whole) and loaded.read < 150 < len(whole.turn.snapshot.ids)
    loaded.undo()
    loaded.undo()
    assert loaded.history == replay(QUESTIONS[:2], kind).history
    assert [path.name for path in tmp_path.iterdir()] == ["talk"]


def test_retry_and_reset() -> None:
    session = replay(QUESTIONS[:2], "gpt")
    first = session.history[-1]
    second = "".join(session.retry()).strip()
    assert len(session.history) == 4 and session.history[-1].content == second != first.content
    assert "".join(session.retry()).strip() not in (first.content, second)
    session.undo()
    session.say(QUESTIONS[1])
    assert session.history[-1] == first
    session.reset()
    for verb in (session.undo, session.retry):
        with pytest.raises(UserError, match=r"There is nothing to (undo|retry): the conversation has not begun."):
            verb()


def test_the_memory_of_a_long_conversation_is_bounded() -> None:
    session = begin("gpt")
    for number in range(KEPT + 3):
        session.say(f"{number}?")
    kept = [turn.snapshot is not None for turn in session._turns()]
    assert kept == [False] * 3 + [True] * KEPT
    assert 0 < session.nbytes <= KEPT * session.turn.snapshot.nbytes
    for _ in range(KEPT + 1):
        session.undo()
    assert session.history == replay(["0?", "1?"], "gpt").history


@pytest.mark.slow
def test_a_resized_cache_is_the_same_blocks(strict: None) -> None:
    generator = writer("jamba", 0, 600)
    state = generator.model.init_state(1, 256)
    state = jax.tree.map(lambda a: a + 1, state)
    larger = resized(generator.model, state, 600)
    again = resized(generator.model, larger, 256)
    assert jax.tree.map(np.shape, again) == jax.tree.map(np.shape, state)
    assert all(
        (np.asarray(a) == np.asarray(b)).all() for a, b in zip(*map(jax.tree.leaves, (again, state)), strict=True)
    )


def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path: Path) -> None:
    """A flipped bit anywhere is told. Catches numbers that are believed because the file has the right length."""
    path = tmp_path / "talk"
    replay(QUESTIONS[:2], "gpt").save(path)
    whole, draw = path.read_bytes(), random.Random(0)
    for place in [*range(0, 1200, 97), *(draw.randrange(len(whole)) for _ in range(40))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            Session.load(path, writer("gpt"))
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    for part in (whole[:-1], whole[:100], b"", b"no session"):
        path.write_bytes(part)
        with pytest.raises(UserError, match="talk"):
            Session.load(path, writer("gpt"))
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"was saved with another model; load it with the run that it belongs to"):
        Session.load(path, writer("gpt", seed=1))
    with pytest.raises(UserError, match=r"was saved with another (model|shape of state)"):
        Session.load(path, writer("gpt", context=128))
    with pytest.raises(UserError, match="cannot be read"):
        Session.load(tmp_path / "nothing", writer("gpt"))
    with pytest.raises(UserError, match="cannot be saved as"):
        begin("gpt").save(tmp_path / "no" / "folder")
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(UserError, match="talk is not a saved session; give a file that"):
        Session.load(path, writer("gpt"))


def test_an_empty_session_is_saved_too(tmp_path: Path) -> None:
    begin("gpt").save(tmp_path / "empty")
    loaded = Session.load(tmp_path / "empty", writer("gpt"))
    assert loaded.history == () and loaded.system == begin("gpt").system


def test_a_session_of_a_run(tmp_path: Path) -> None:
    """`run.session()` and `ln.load_session`, which finds the run by itself."""
    run = ln.load("storyteller")
    session = run.session(max_tokens=16, temperature=0.3)
    session.say("who is the story about?")
    session.save(tmp_path / "talk")
    again = ln.load_session(tmp_path / "talk")
    assert again.history == session.history and again.sampling.temperature == 0.3
    assert again.say("why?") == session.say("why?")
