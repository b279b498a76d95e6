"""The papers' equations in NumPy and float64, one token after another, as far from the product's code as can be.

Nothing here is fast, batched or shared with `linearnexus.ops`: a row is the list of its valid tokens, `document[t]`
numbers the document of token t, and every sum is a loop where the paper has one.
"""

import numpy as np


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def selective_scan(
    x: np.ndarray, dt: np.ndarray, A: np.ndarray, B: np.ndarray, C: np.ndarray, document: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gu and Dao 2023, equation 2 with Algorithm 2's discretisation: x, dt [T,E], A [E,N], B, C [T,N], h [E,N]."""
    y = np.zeros_like(x)
    h = h.copy()
    for t in range(len(x)):
        if t and document[t] != document[t - 1]:
            h = np.zeros_like(h)
        for e in range(x.shape[1]):
            for n in range(A.shape[1]):
                h[e, n] = np.exp(dt[t, e] * A[e, n]) * h[e, n] + dt[t, e] * B[t, n] * x[t, e]
            y[t, e] = sum(C[t, n] * h[e, n] for n in range(A.shape[1]))
    return y, h


def mamba(
    weights: dict[str, np.ndarray], u: np.ndarray, document: np.ndarray, tail: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Mamba layer on one row [T,D], with the weights' names and layouts of the official `mamba_simple.py` (its
    `step`, repeated): in_proj [2E,D], conv1d.weight [E,W] with the current token's tap last, x_proj [R+2N,E], dt_proj
    [E,R], A_log [E,N].

    `tail` [W-1,E]: the convolution's inputs before the row, oldest first; h [E,N]: the SSM state before it. Returns
    both after.
    """
    inner, rank, n = weights["A_log"].shape[0], weights["dt_proj.weight"].shape[1], weights["A_log"].shape[1]
    past = list(tail)
    A = -np.exp(weights["A_log"])
    h = h.copy()
    out = []
    for t in range(len(u)):
        if t and document[t] != document[t - 1]:
            past, h = [np.zeros(inner) for _ in past], np.zeros_like(h)
        xz = weights["in_proj.weight"] @ u[t]
        x, z = xz[:inner], xz[inner:]
        window = [*past, x]
        past = window[1:]
        x = silu(sum(weights["conv1d.weight"][:, w] * window[w] for w in range(len(window))) + weights["conv1d.bias"])
        x_db = weights["x_proj.weight"] @ x
        dt, B, C = x_db[:rank], x_db[rank : rank + n], x_db[rank + n :]
        dt = softplus(weights["dt_proj.weight"] @ dt + weights["dt_proj.bias"])
        for e in range(inner):
            h[e] = np.exp(dt[e] * A[e]) * h[e] + dt[e] * B * x[e]
        y = np.array([h[e] @ C for e in range(inner)]) + weights["D"] * x
        out.append(weights["out_proj.weight"] @ (y * silu(z)))
    return np.array(out), np.array(past).reshape(tail.shape), h


def rotate(x: np.ndarray, position: int, theta: float) -> np.ndarray:
    """Su et al. 2021, section 3.2.1: pairs as complex numbers, turned by position * theta^(-2i/K). Pair i is (x[i], x[i
    + K/2])."""
    half = len(x) // 2
    angle = position * theta ** (-2 * np.arange(half) / len(x))
    turned = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag])


def rms_norm(x: np.ndarray, scale: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2) + eps) * scale


def attention(
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    document: np.ndarray,
    past: list[tuple[np.ndarray, np.ndarray]],
    n_head: int,
    n_kv_head: int,
    window: int | None,
    theta: float | None,
    position: int = 0,
) -> np.ndarray:
    """Vaswani et al. 2017, section 3.2, on one row [T,D], for each token and each head by itself.

    `past`: keys and values [G,K] of the tokens before the row, oldest first, all of the first token's document;
    `position`: how many tokens of that document came before.
    """
    size = x.shape[1] // n_head
    keys = [(key, value, document[0] if len(document) else 0) for key, value in past]
    out = []
    for t in range(len(x)):
        if t and document[t] != document[t - 1]:
            position = 0

        def heads(name: str, t: int = t, position: int = position) -> np.ndarray:
            y = weights["w" + name].T @ x[t] + weights.get("b" + name, 0)
            y = y.reshape(-1, size)
            if name != "v" and f"{name}_norm" in weights:
                y = np.array([rms_norm(head, weights[f"{name}_norm"]) for head in y])
            if name != "v" and theta is not None:
                y = np.array([rotate(head, position, theta) for head in y])
            return y

        q = heads("q")
        keys.append((heads("k"), heads("v"), document[t]))
        seen = [(key, value) for key, value, of in (keys if window is None else keys[-window:]) if of == document[t]]
        read = []
        for h in range(n_head):
            g = h // (n_head // n_kv_head)
            score = np.array([q[h] @ key[g] / np.sqrt(size) for key, _ in seen])
            share = np.exp(score - score.max())
            share = share / share.sum()
            read.append(sum(s * value[g] for s, (_, value) in zip(share, seen, strict=True)))
        out.append(weights["wo"].T @ np.concatenate(read) + weights.get("bo", 0))
        position += 1
    return np.array(out)
