"""The law: a call over T tokens = T steps = any split into calls = any padding, any batch mates, any packing.

Everything is compared with one reference: each document alone in its batch, in one call, from its initial state. A
`Layout` arranges the same documents in another way (in rows with padding, behind one another, cut into calls or steps);
`Law.run` evaluates it and brings outputs, final states and gradients of a random linear functional of both back to the
documents. A property of the law is a few layouts, so a mixer or a preset is tested by registering it.

Gradients go by hand through the calls of a layout, last call first: each shape of a call is compiled once and serves
every layout.

Look first at: `Layout`, `Law.run`, `Law.properties`.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from linearnexus.core.forms import OPS, load_forms

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
# LLVM's optimisation makes no difference to what is computed, and takes three quarters of the compile time.
OPTIONS = {"xla_backend_optimization_level": 0}
INVALID = -1
DRAWS = 6  # of parameters moved by their rounding
SMALL = 3_000_000  # parameters up to which an unneeded backward pass costs less time than compiling a forward one

jit = functools.partial(jax.jit, compiler_options=OPTIONS)


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """The settings of every law: float64 where asked, no silent change of a dtype or a rank."""
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@dataclasses.dataclass(frozen=True)
class Subject:
    """What obeys the law: parameters, and pure functions of them. A state is a pytree with the batch first.

        call(params, x [B,T,...], valid [B,T], starts [B,T], state) -> y [B,T,...], state
        step(params, x [B,...], valid [B], starts [B], state) -> y [B,...], state

    `valid`, `starts` and, in a call, `state` may be None.
    """

    name: str
    params: Any
    call: Callable[..., Any]
    step: Callable[..., Any]
    start: Callable[[int, int], Any]  # batch, max_len -> the state before the first token
    draw: Callable[[np.random.Generator, int], np.ndarray]  # inputs of n tokens
    garbage: Callable[[np.random.Generator, int], np.ndarray]  # inputs of n invalid tokens


@dataclasses.dataclass(frozen=True)
class Doc:
    """A document of the law: it goes on from initial state `row`, or (None) begins fresh. `copy` tells equal ones
    apart."""

    row: int | None
    length: int
    copy: int = 0


@dataclasses.dataclass(frozen=True)
class Part:
    """One call of `length` tokens, or one step, and whether `valid` and `starts` are passed to it or None."""

    length: int
    step: bool = False
    valid: bool = True
    starts: bool = True


@dataclasses.dataclass(frozen=True)
class Layout:
    """Documents in a [B, T] batch. `doc` [B, T] is a place in `docs` or INVALID, `token` [B, T] a place in the
    document. `rows`: the initial state that each row goes on from (None: a fresh one), or None: no states at all."""

    docs: tuple[Doc, ...]
    doc: np.ndarray
    token: np.ndarray
    rows: tuple[int | None, ...] | None
    parts: tuple[Part, ...]
    ends: bool = False  # one document a row: the states after it are compared too

    @property
    def valid(self) -> np.ndarray:
        return self.doc != INVALID


@dataclasses.dataclass
class Result:
    """What a layout gives, brought back to its documents. `state` and `dstate` lie in the order of the layout's
    rows."""

    y: list[np.ndarray]
    state: list[np.ndarray]
    dparams: list[np.ndarray]
    dx: list[np.ndarray]
    dstate: list[np.ndarray]
    garbage: float = 0.0  # the largest gradient of an input that does not count
    finite: bool = True


def place(
    rng: np.random.Generator,
    rows: Iterable[Iterable[Doc]],
    length: int,
    how: str = "right",
    spare: int = 0,
    more: int = 0,
) -> tuple[tuple[Doc, ...], np.ndarray, np.ndarray]:
    """Lays each row's documents behind one another. `how`: the padding is on the "left", on the "right", or in "holes".

    `spare`: at least so many columns of the `length` stay invalid; what does not fit goes into `more` columns after.
    """
    rows = [list(row) for row in rows]
    docs = tuple(doc for row in rows for doc in row)
    doc, token = np.full((2, len(rows), length + more), INVALID)
    number = 0
    for b, row in enumerate(rows):
        cells = [(number + i, t) for i, one in enumerate(row) for t in range(one.length)]
        number += len(row)
        first = min(len(cells), length - spare)
        columns = {
            "left": np.arange(length - first, length),
            "right": np.arange(first),
            "holes": np.sort(rng.permutation(length)[:first]),
        }[how]
        columns = [*columns, *range(length, length + len(cells) - first)]
        assert len(cells) <= first + more, "the documents do not fit in the row"
        for column, (n, t) in zip(columns, cells, strict=True):
            doc[b, column], token[b, column] = n, t
    return docs, doc, token


def floats(tree: Any) -> list[Any]:
    """The float leaves of a tree."""
    return [leaf for leaf in jax.tree.leaves(tree) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)]


def with_floats(tree: Any, leaves: Iterable[Any]) -> Any:
    """The tree with other float leaves."""
    new = iter(leaves)
    return jax.tree.map(lambda leaf: next(new) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating) else leaf, tree)


def has_forms() -> bool:
    """Is a form registered? A differentiated program has the XLA form's values, so these are then computed apart."""
    load_forms()
    return any(op.forms for op in OPS.values())


def pulled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles (params, x, valid, starts, state, dy, dafter) -> y, state, (dparams, dx, dstate)."""

    def run(params, x, valid, starts, state, dy, dafter):
        def outputs(inputs):
            params, x_floats, state_floats = inputs
            y, after = function(params, with_floats(x, x_floats), valid, starts, with_floats(state, state_floats))
            return (y, floats(after)), after

        (y, _), pull, after = jax.vjp(outputs, (params, floats(x), floats(state)), has_aux=True)
        if has_forms():
            y, after = function(params, x, valid, starts, state)
        return y, after, pull((dy, dafter))[0]

    return jit(run)


class Law:
    """One subject in one precision: its documents, initial states, references and compiled functions."""

    def __init__(
        self,
        subject: Subject,
        dtype: str,
        batch: int = 5,
        cuts: tuple[int, ...] = (20, 16, 1),
        long: int | None = 150,
        max_len: int = 64,
        exact: bool = True,
        seed: int = 0,
    ) -> None:
        """`cuts`: lengths of calls and documents; T is their sum. `long`: a longer training call. `exact`: pass None
        where every token is valid or no document starts, otherwise always arrays, and always `batch` rows (fewer
        functions to compile)."""
        self.subject, self.dtype, self.batch, self.cuts, self.long, self.exact = (
            subject,
            dtype,
            batch,
            cuts,
            long,
            exact,
        )
        self.length, self.max_len = sum(cuts), max_len
        self.rng = np.random.default_rng(seed)
        with precision(dtype):
            self.params = jax.device_put(subject.params)
            self.backward = {"call": pulled(subject.call), "step": pulled(subject.step)}
            small = sum(leaf.size for leaf in jax.tree.leaves(subject.params)) < SMALL
            self.forward = {kind: self._forward(kind, small) for kind in self.backward}
            self.fresh = functools.cache(lambda batch, max_len: jax.tree.map(np.asarray, subject.start(batch, max_len)))
            self._draws: dict[Any, Any] = {}
            self._references: dict[Any, Result] = {}
            self._sums: list[dict[Any, int]] = []  # which documents' gradients were compared as one sum
            self.states = self._prefixes()

    # documents, their cotangents, and the states they go on from

    def x(self, doc: Doc) -> np.ndarray:
        return self._draw(("x", doc), lambda rng: self._cast(self.subject.draw(rng, doc.length)))

    def dy(self, doc: Doc, size: int) -> np.ndarray:
        return self._draw(("dy", doc), lambda rng: self._cast(rng.standard_normal((doc.length, size))))

    def dend(self, row: int, like: list[np.ndarray]) -> list[np.ndarray]:
        """The cotangent of the state after the document that goes on from state `row`."""
        return self._draw(("dend", row), lambda rng: [self._cast(rng.standard_normal(leaf.shape[1:])) for leaf in like])

    def _draw(self, name: Any, draw: Callable[[np.random.Generator], Any]) -> Any:
        if name not in self._draws:
            self._draws[name] = draw(np.random.default_rng(list(str(name).encode())))
        return self._draws[name]

    def _cast(self, x: np.ndarray) -> np.ndarray:
        return x if x.dtype.kind in "iu" else x.astype(self.dtype)

    def _forward(self, kind: str, small: bool) -> Callable[..., Any]:
        """(params, x, valid, starts, state) -> the state after."""
        function = getattr(self.subject, kind)
        if not small:
            compiled = jit(function)
            return lambda *inputs: compiled(*inputs)[1]

        def forward(params: Any, x: Any, valid: Any, starts: Any, state: Any) -> Any:
            dy = np.zeros((*x.shape[: x.ndim - (x.dtype.kind == "f")], self._size(kind, x, state)), self.dtype)
            zeros = [np.zeros_like(leaf) for leaf in floats(state)]
            return self.backward[kind](params, x, valid, starts, state, dy, zeros)[1]

        return forward

    def _size(self, kind: str, x: Any, state: Any) -> int:
        """The size of an output vector."""
        if "size" not in self._draws:
            y, _ = jax.eval_shape(getattr(self.subject, kind), self.params, x, None, None, state)
            self._draws["size"] = y.shape[-1]
        return self._draws["size"]

    def _prefixes(self) -> Any:
        """States in the middle of texts: each row after another number of tokens, with a document border on the way in
        some, and the float parts moved at random."""
        lengths = [11 - 3 * (row % 3) for row in range(self.batch)]
        x = [self._cast(self.subject.draw(self.rng, max(lengths))) for _ in lengths]
        state = self.fresh(self.batch, self.max_len)
        for t in range(max(lengths)):
            valid = np.array([t < length for length in lengths])
            starts = np.array([t == 5 and row % 2 == 1 for row in range(self.batch)])
            state = self.forward["step"](self.params, np.stack([row[t] for row in x]), valid, starts, state)
        moved = [
            self._cast(leaf * (1 + 0.1 * self.rng.standard_normal(leaf.shape)))
            for leaf in map(np.asarray, floats(state))
        ]
        return jax.tree.map(np.asarray, with_floats(state, moved))

    def _state(self, layout: Layout) -> Any:
        """The initial state of the layout's rows."""
        if layout.rows is None:
            return None
        longest = max(doc.length for doc in layout.docs)
        fresh = self.fresh(1, longest if longest > self.length else self.max_len)  # the long training text: whole
        rows = [
            fresh if row is None else jax.tree.map(lambda leaf, r=row: leaf[r : r + 1], self.states)
            for row in layout.rows
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)

    # evaluation

    def run(self, layout: Layout) -> Result:
        """Evaluates a layout, call after call, and its gradients, call before call."""
        with precision(self.dtype):
            return self._run(layout)

    def _run(self, layout: Layout) -> Result:
        valid = layout.valid
        x = self.subject.garbage(self.rng, valid.size)
        x = self._cast(x.reshape(*valid.shape, *x.shape[1:]))
        starts = (layout.token == 0) & valid
        for b, t in zip(*np.nonzero(starts), strict=True):
            starts[b, t] = layout.docs[layout.doc[b, t]].row is None
        starts |= ~valid & (self.rng.random(valid.shape) < 0.3)  # a start at an invalid token does not count
        for n, doc in enumerate(layout.docs):
            x[layout.doc == n] = self.x(doc)
        bounds = itertools.pairwise(np.cumsum([0, *(part.length for part in layout.parts)]))
        columns = [
            begin if part.step else slice(begin, end) for part, (begin, end) in zip(layout.parts, bounds, strict=True)
        ]
        kinds = ["step" if part.step else "call" for part in layout.parts]
        inputs = [
            (x[:, at], valid[:, at] if part.valid else None, starts[:, at] if part.starts else None)
            for part, at in zip(layout.parts, columns, strict=True)
        ]
        states = [self._state(layout)]
        for kind, given in zip(kinds[:-1], inputs[:-1], strict=True):
            states.append(self.forward[kind](self.params, *given, states[-1]))

        like = floats(states[0])
        if layout.ends:
            assert layout.rows is not None and None not in layout.rows
            dstate = [np.stack(leaves) for leaves in zip(*(self.dend(row, like) for row in layout.rows), strict=True)]
        else:
            dstate = [np.zeros_like(leaf) for leaf in like]
        dy = self._cotangents(layout, self._size(kinds[0], inputs[0][0], states[0]))
        y, dx, after = [], [], None
        dparams = [np.zeros(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(self.params)]
        for number in reversed(range(len(columns))):
            given = (*inputs[number], states[number], dy[:, columns[number]], dstate)
            one, state, (dp, dxs, dstate) = jax.tree.map(np.asarray, self.backward[kinds[number]](self.params, *given))
            after = state if after is None else after
            y.append(one[:, None] if layout.parts[number].step else one)
            dx += [leaf[:, None] if layout.parts[number].step else leaf for leaf in dxs]
            for total, leaf in zip(dparams, jax.tree.leaves(dp), strict=True):
                total += leaf
        y = np.concatenate(y[::-1], axis=1)
        dx = np.concatenate(dx[::-1], axis=1) if dx else None
        finite = all(np.isfinite(array).all() for array in (y, *floats(after), *dparams, *dstate))
        cells = [layout.doc == n for n in range(len(layout.docs))]
        return Result(
            y=[y[cell] for cell in cells],
            state=jax.tree.leaves(after) if layout.ends else [],
            dparams=dparams,
            dx=[] if dx is None else [dx[cell] for cell in cells],
            dstate=dstate,
            garbage=0.0 if dx is None or valid.all() else float(np.abs(dx[~valid]).max()),
            finite=finite,
        )

    def _cotangents(self, layout: Layout, size: int) -> np.ndarray:
        dy = np.zeros((*layout.doc.shape, size), self.dtype)
        for n, doc in enumerate(layout.docs):
            dy[layout.doc == n] = self.dy(doc, size)
        return dy

    def reference(self, doc: Doc, ends: bool) -> Result:
        """The document alone, in one call; not `exact`: beside copies of itself, in a batch of the layouts' size."""
        if (doc, ends) not in self._references:
            copies = 1 if self.exact else self.batch
            layout = Layout(
                *place(self.rng, [[doc]] * copies, doc.length),
                rows=(doc.row,) * copies,
                parts=(Part(doc.length, valid=not self.exact, starts=not self.exact),),
                ends=ends,
            )
            found = self.run(layout)
            found.y, found.dx = found.y[:1], found.dx[:1]
            found.dparams = [leaf / copies for leaf in found.dparams]
            found.state, found.dstate = ([leaf[:1] for leaf in leaves] for leaves in (found.state, found.dstate))
            self._references[doc, ends] = found
        return self._references[doc, ends]

    def errors(self, layout: Layout) -> dict[str, float]:
        """The largest relative errors of the layout's values and gradients against the documents alone."""
        got = self.run(layout)
        want = [self.reference(doc, layout.ends) for doc in layout.docs]
        if not got.finite or not all(one.finite for one in want) or got.garbage:
            return {"values": np.inf, "gradients": np.inf}
        values = [error(np.concatenate(got.y), np.concatenate([one.y[0] for one in want]))]
        if layout.ends:
            states = [np.concatenate(leaves) for leaves in zip(*(one.state for one in want), strict=True)]
            values += [error(*pair) for pair in zip(got.state, states, strict=True)]
        times = collections.Counter((doc, layout.ends) for doc in layout.docs)
        self._sums.append(times)
        total = [np.zeros_like(leaf) for leaf in got.dparams]
        for key, n in times.items():
            for leaf, one in zip(total, self._references[key].dparams, strict=True):
                leaf += n * one
        largest = max(float(np.abs(leaf).max()) for leaf in total)
        gradients = [error(*pair, largest) for pair in zip(got.dparams, total, strict=True)]
        if got.dx:
            gradients.append(error(np.concatenate(got.dx), np.concatenate([one.dx[0] for one in want])))
        if layout.rows is not None:
            gradients += [error(*pair) for pair in zip(got.dstate, self._wanted_dstate(layout), strict=True)]
        return {"values": max(values), "gradients": max(gradients)}

    def rounding(self, exact: "Law") -> dict[str, float]:
        """What rounding alone does to the documents alone, in one call: the larger one of their errors against the same
        function of the same numbers in float64, and of what that function changes, in float64, when each parameter
        moves by at most half a unit in its last float32 place (DRAWS times at random). `exact`: the law of the same
        subject in float64; it takes over the numbers."""

        def wide(x: Any) -> Any:
            return np.asarray(x, "float64") if np.asarray(x).dtype.kind == "f" else x

        leaves, shape = jax.tree.leaves(self.params), jax.tree.structure(exact.params)
        with precision("float64"):
            exact.params = jax.device_put(jax.tree.unflatten(shape, map(wide, leaves)))
        exact.states = jax.tree.map(wide, self.states)
        exact._draws = {name: jax.tree.map(wide, drawn) for name, drawn in self._draws.items()}
        found, params = [self._references], exact.params
        for draw in range(DRAWS + 1):
            if draw:
                with precision("float64"):
                    exact.params = moved_by_rounding(params, np.random.default_rng(draw))
            exact._references = {}
            found.append({(doc, ends): exact.reference(doc, ends) for doc, ends in self._references})
        in_float32, wanted, *moved = found
        apart = [_apart(one, wanted, times) for one in (in_float32, *moved) for times in self._sums]
        return {kind: max(one[kind] for one in apart) for kind in ("values", "gradients")}

    def _wanted_dstate(self, layout: Layout) -> list[np.ndarray]:
        """The gradient of each row's initial state: its first document's, or zero where that begins fresh."""
        rows = []
        for b, row in enumerate(layout.rows or ()):
            first = layout.docs[layout.doc[b][layout.valid[b]][0]]
            known = self.reference(first, layout.ends).dstate
            rows.append(
                known if first.row is not None and first.row == row else [np.zeros_like(leaf) for leaf in known]
            )
        return [np.concatenate(leaves) for leaves in zip(*rows, strict=True)]

    # the properties

    def properties(self) -> dict[str, Callable[[], list[Layout]]]:
        """The law's parts by name; each makes its layouts, at random."""
        every = range(self.batch)
        rng = self.rng
        lengths = sorted({self.length, *self.cuts})

        def calls(lengths: Iterable[int], **options: bool) -> tuple[Part, ...]:
            return tuple(Part(length, **options) for length in lengths)

        def cuts(**options: bool) -> tuple[Part, ...]:
            return calls((int(n) for n in rng.permutation(self.cuts)), **options)

        def ones(n: int, **options: bool) -> tuple[Part, ...]:
            return calls([1] * n, step=True, **options)

        plain = {"valid": False, "starts": False}

        def single(how: str, lengths: list[int], parts: tuple[Part, ...] | None = None) -> Layout:
            """One document a row, each going on from its own state."""
            rows = [[Doc(row, lengths[row % len(lengths)])] for row in every]
            parts = parts or calls([self.length], starts=not self.exact)
            return Layout(*place(rng, rows, self.length, how), rows=tuple(every), parts=parts, ends=True)

        def shorter() -> list[int]:
            return [int(n) for n in rng.permutation(self.cuts)]

        def full(total: int, exactly: bool) -> list[int]:
            """Document lengths that fill `total` tokens; or, with at most three of the shortest in a run, nearly."""
            found: list[int] = []
            while (left := total - sum(found)) > 0:
                fits = [n for n in self.cuts if n <= left]
                if not exactly and found[-3:] == fits * 3:
                    break
                found.append(int(rng.choice(fits)))
            return found

        def packed(total: int, columns: int, rows: Any, how: str, parts: tuple[Part, ...]) -> Layout:
            """Rows of documents; with states, every second row goes on with an old one, the others start over."""
            docs = []
            for b in every:
                begin = [1, 1] if b == 1 else []  # two starts in succession, the first on the row's first token
                lengths = begin + full(total - len(begin), exactly=not parts[0].valid)
                docs.append([Doc(None, n, (b + i) % 4) for i, n in enumerate(lengths)])
                if rows is not None and b % 2 == 0:
                    docs[-1][0] = Doc(b, lengths[0])
            return Layout(*place(rng, docs, columns, how), rows=rows, parts=parts)

        def handed_over(columns: int, spare: int, how: str, valid: bool) -> Layout:
            """A call that ends one, two or three tokens after a document's start, and then steps that are told of no
            starts: what was left of the older documents would show."""
            last = max(self.cuts)
            docs = []
            for b in every:
                older = full(columns - spare - 1 - b % 3, exactly=True)
                docs.append([*(Doc(None, n, (b + i) % 4) for i, n in enumerate(older)), Doc(None, last, b % 4)])
            placed = place(rng, docs, columns, how, spare, more=last - 1)
            return Layout(*placed, tuple(every), (*calls([columns], valid=valid), *ones(last - 1, starts=False)))

        def steps() -> list[Layout]:
            variants = ({}, plain) if self.exact else ({},)
            return [single("right", [self.length], ones(self.length, **options)) for options in variants]

        def split() -> list[Layout]:
            placed = [(row, place(rng, [[Doc(row, self.length)]], self.length)) for row in every]
            return [Layout(*one, rows=(row,), parts=cuts(**plain), ends=True) for row, one in placed]

        def pack() -> list[Layout]:
            t, states = self.length, tuple(every)
            return [
                packed(t, t, states, "right", calls([t], valid=not self.exact)),
                packed(t - 4, t, states, "holes", cuts()),
                packed(t - 4, t, states, "holes", ones(t)),
                handed_over(t, 0, "right", valid=not self.exact),
                handed_over(self.cuts[0], 3, "holes", valid=True),
            ]

        def training() -> list[Layout]:
            t, t_long = self.length, self.long or self.length
            one = place(rng, [[Doc(None, t_long)]], t_long)
            layouts = [
                packed(t_long - 9, t_long, None, "holes", calls([t_long])),
                Layout(*one, rows=None, parts=calls([t_long], **plain)),
            ]
            if self.exact:
                ragged = [[Doc(None, lengths[b % len(lengths)], b)] for b in every]
                padded = (place(rng, ragged, t, how) for how in ("left", "right", "holes"))
                layouts += [Layout(*one, rows=None, parts=calls([t], starts=False)) for one in padded]
                layouts.append(packed(t, t, None, "right", calls([t], valid=False)))
            return layouts

        return {
            "steps": steps,
            "split": split,
            "pad left": lambda: [single("left", shorter())],
            "pad right": lambda: [single("right", shorter())],
            "pad holes": lambda: [single("holes", shorter())],
            "batch": lambda: [single("right", lengths)],
            "packed": pack,
            "training": training,
        }

    def leaks(self, arrangements: tuple[str, ...] = ("one document", "training", "packed")) -> list[str]:
        """Where a token changes, to the last bit, an output that it must not reach: an earlier one or another
        document's."""
        training, packed = (self.properties()[name]() for name in ("training", "packed"))
        layouts = {"one document": training[1], "training": training[0], "packed": packed[1]}
        found = []
        for name in arrangements:
            layout = layouts[name]
            before = self.run(layout).y
            for _ in range(3):
                n = int(self.rng.integers(len(layout.docs)))
                doc = layout.docs[n]
                at = int(self.rng.integers(doc.length))
                twin = doc
                while (self.x(twin)[at] == self.x(doc)[at]).all():  # another token may be the same id
                    twin = Doc(doc.row, doc.length, int(self.rng.integers(1000, 1 << 30)))
                self._draws["x", twin] = np.concatenate([self.x(doc)[:at], self.x(twin)[at:]])
                after = self.run(dataclasses.replace(layout, docs=(*layout.docs[:n], twin, *layout.docs[n + 1 :]))).y
                if (before[n][at:] == after[n][at:]).all():
                    found.append(f"{name}: token {at} changed and no output did")
                for other, (one, two) in enumerate(zip(before, after, strict=True)):
                    end = at if other == n else None
                    if not np.array_equal(one[:end], two[:end]):
                        found.append(f"{name}: token {at} of document {n} changed document {other}")
        return found

    def measure(self, name: str) -> dict[str, float]:
        """The largest errors of one property."""
        found = [self.errors(layout) for layout in self.properties()[name]()]
        return {kind: max(one[kind] for one in found) for kind in ("values", "gradients")}


def moved_by_rounding(params: Any, rng: np.random.Generator) -> Any:
    """Each parameter of float64 moved by at most half a unit in its last float32 place."""
    return jax.tree.map(lambda leaf: leaf * (1 + 2.0**-24 * rng.uniform(-1, 1, leaf.shape)), params)


def _apart(got: dict[Any, Result], want: dict[Any, Result], times: dict[Any, int]) -> dict[str, float]:
    """The largest errors of documents' values, and of the sum of their gradients, each so many times."""
    pairs = [(got[doc], want[doc]) for doc in times]
    values = [error(*both) for a, b in pairs for both in zip(a.y + a.state, b.y + b.state, strict=True)]
    sums = [
        [sum(n * leaf for n, leaf in zip(times.values(), leaves, strict=True)) for leaves in zip(*side, strict=True)]
        for side in ([one[doc].dparams for doc in times] for one in (got, want))
    ]
    largest = max(float(np.abs(leaf).max()) for leaf in sums[1])
    return {"values": max(values), "gradients": max(error(*both, largest) for both in zip(*sums, strict=True))}


def error(got: np.ndarray, want: np.ndarray, largest: float = 0.0) -> float:
    """max |got - want| / max |want|. A tensor that is zero in exact arithmetic (the gradient of a key's bias where
    softmax cannot see it: below a millionth of the `largest` one) is measured against the largest. Whole numbers must
    be equal."""
    if want.dtype.kind in "iub":
        return 0.0 if (got == want).all() else np.inf
    if got.shape != want.shape or not want.size:
        return 0.0 if got.shape == want.shape else np.inf
    scale = float(np.abs(want).max())
    off = float(np.abs(got - want).max())
    if off == 0.0:
        return 0.0
    return off / (scale if scale > 1e-6 * largest else largest) if scale or largest else np.inf
