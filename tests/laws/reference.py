"""The papers' equations in NumPy and float64, one token after another, as far from the product's code as can be.

Nothing here is fast, batched or shared with `linearnexus.ops`: a row is the list of its valid tokens, `document[t]`
numbers the document of token t, and every sum is a loop where the paper has one. What came before the row (a state, a
convolution's tail, a position) belongs to the first token's document; a new document begins with nothing.
"""

import numpy as np

Weights = dict[str, np.ndarray]


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def rms_norm(x: np.ndarray, scale: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Zhang and Sennrich 2019, equation 4, over the last axis."""
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * scale


def unit(x: np.ndarray) -> np.ndarray:
    """x / |x| over the last axis, the epsilon inside the root as in flash-linear-attention's l2norm."""
    return x / np.sqrt(np.sum(x**2, axis=-1, keepdims=True) + 1e-6)


def split(x: np.ndarray, n: int) -> np.ndarray:
    """[T, n*K] -> [T, n, K]"""
    return x.reshape(len(x), n, x.shape[1] // n)


def rotate(x: np.ndarray, position: int, theta: float) -> np.ndarray:
    """Su et al. 2021, section 3.2.1: pairs as complex numbers, turned by position * theta^(-2i/K). Pair i is (x[i], x[i
    + K/2])."""
    half = len(x) // 2
    angle = position * theta ** (-2 * np.arange(half) / len(x))
    turned = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag])


def short_conv(x: np.ndarray, taps: np.ndarray, document: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """y_t = sum_j taps[j] x_{t-j} inside a document: x [T,E], taps [W,E]; tail [W-1,E]: the inputs before the row,
    oldest first."""
    y = np.zeros_like(x)
    for t in range(len(x)):
        for j in range(len(taps)):
            before = t - j
            if before >= 0 and document[before] == document[t]:
                y[t] += taps[j] * x[before]
            elif before < 0 and document[0] == document[t]:
                y[t] += taps[j] * tail[before]  # tail[-1] is the last input before the row
    return y


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
            h[e] = np.exp(dt[t, e] * A[e]) * h[e] + dt[t, e] * B[t] * x[t, e]
            y[t, e] = h[e] @ C[t]
    return y, h


def linear_recurrence(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, decay: np.ndarray, document: np.ndarray, S: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """S_t = diag(a_t) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t (Katharopoulos et al. 2020, equations 18 to 20, without the
    normaliser; with the decay Yang et al. 2023, equation 3): q, k [T,G,K], v [T,H,V], decay [T,H,1] or [T,H,K], S
    [H,K,V]. Head h reads with query and key h // (H / G)."""
    y, S = np.zeros_like(v), S.copy()
    for t in range(len(v)):
        if t and document[t] != document[t - 1]:
            S = np.zeros_like(S)
        for h in range(len(S)):
            g = h * k.shape[1] // len(S)
            S[h] = np.diag(np.broadcast_to(decay[t, h], k.shape[2])) @ S[h] + np.outer(k[t, g], v[t, h])
            y[t, h] = q[t, g] @ S[h]
    return y, S


def delta_recurrence(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    beta: np.ndarray,
    decay: np.ndarray,
    document: np.ndarray,
    S: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """S_t = (I - b_t k_t k_t^T) diag(a_t) S_{t-1} + b_t k_t v_t^T, y_t = S_t^T q_t, by the matrix itself (Yang et al.
    2024a, section 2.2; with the decay Yang et al. 2024b, equation 10): beta [T,H], the rest as in
    `linear_recurrence`."""
    y, S = np.zeros_like(v), S.copy()
    for t in range(len(v)):
        if t and document[t] != document[t - 1]:
            S = np.zeros_like(S)
        for h in range(len(S)):
            key, query = (a[t, h * k.shape[1] // len(S)] for a in (k, q))
            erase = np.eye(len(key)) - beta[t, h] * np.outer(key, key)
            keep = np.diag(np.broadcast_to(decay[t, h], len(key)))
            S[h] = erase @ keep @ S[h] + beta[t, h] * np.outer(key, v[t, h])
            y[t, h] = query @ S[h]
    return y, S


def mamba(
    weights: Weights, u: np.ndarray, document: np.ndarray, tail: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A Mamba layer on one row [T,D], with the weights' names and layouts of the official `mamba_simple.py`: in_proj
    [2E,D], conv1d.weight [E,W] with the current token's tap last, x_proj [R+2N,E], dt_proj [E,R], A_log [E,N].

    Where the weights have them, Jamba's RMSNorms on dt (before its projection), B and C (Lieber et al. 2024, section
    6.4; names of its official code). `tail` [W-1,E] of the convolution; h [E,N]: the SSM state before the row. Returns
    the outputs and the SSM state after.
    """
    inner, rank, n = weights["A_log"].shape[0], weights["dt_proj.weight"].shape[1], weights["A_log"].shape[1]
    xz = u @ weights["in_proj.weight"].T
    x, z = xz[:, :inner], xz[:, inner:]
    x = silu(short_conv(x, weights["conv1d.weight"].T[::-1], document, tail) + weights["conv1d.bias"])
    x_db = x @ weights["x_proj.weight"].T
    dt, B, C = x_db[:, :rank], x_db[:, rank : rank + n], x_db[:, rank + n :]
    if "dt_layernorm.weight" in weights:
        dt = rms_norm(dt, weights["dt_layernorm.weight"])
        B, C = rms_norm(B, weights["b_layernorm.weight"]), rms_norm(C, weights["c_layernorm.weight"])
    dt = softplus(dt @ weights["dt_proj.weight"].T + weights["dt_proj.bias"])
    y, h = selective_scan(x, dt, -np.exp(weights["A_log"]), B, C, document, h)
    return ((y + weights["D"] * x) * silu(z)) @ weights["out_proj.weight"].T, h


def mamba2(
    weights: Weights,
    u: np.ndarray,
    document: np.ndarray,
    tail: np.ndarray,
    S: np.ndarray,
    n_group: int,
) -> np.ndarray:
    """A Mamba-2 layer on one row [T,D] as the semiseparable matrix M[t,s] = C_t . B_s a_t ... a_{s+1} (Dao and Gu 2024,
    equation 3 and section 7), with the names and layouts of the official `mamba2.py`: in_proj [2E+2GN+H,D] gives z, x,
    B, C, dt; the norm comes after the gate, over the channels of each group. S [H,N,P]."""
    n_head, inner = len(weights["A_log"]), len(weights["norm.weight"])
    keys = (len(weights["conv1d.bias"]) - inner) // 2
    projected = u @ weights["in_proj.weight"].T
    z, xBC, dt = projected[:, :inner], projected[:, inner:-n_head], projected[:, -n_head:]
    xBC = silu(short_conv(xBC, weights["conv1d.weight"].T[::-1], document, tail) + weights["conv1d.bias"])
    x, B, C = split(xBC[:, :inner], n_head), xBC[:, inner : inner + keys], xBC[:, inner + keys :]
    B, C = split(B, n_group), split(C, n_group)
    dt = softplus(dt + weights["dt_bias"])
    y = np.zeros_like(x)
    for h in range(n_head):
        A, g = -np.exp(weights["A_log"][h]), h // (n_head // n_group)
        for t in range(len(u)):
            y[t, h] = weights["D"][h] * x[t, h]
            for s in range(t + 1):
                if document[s] == document[t]:
                    y[t, h] += C[t, g] @ B[s, g] * np.exp(A * sum(dt[s + 1 : t + 1, h])) * dt[s, h] * x[s, h]
            if document[t] == document[0]:
                y[t, h] += np.exp(A * sum(dt[: t + 1, h])) * C[t, g] @ S[h]
    y = split(y.reshape(len(u), inner) * silu(z), n_group)
    y = rms_norm(y, weights["norm.weight"].reshape(n_group, -1)).reshape(len(u), inner)
    return y @ weights["out_proj.weight"].T


def linear_attention(
    weights: Weights, x: np.ndarray, document: np.ndarray, S: np.ndarray, z: np.ndarray, n_head: int
) -> np.ndarray:
    """Katharopoulos et al. 2020, equation 8 with the feature map of equation 7, on one row [T,D]: sums over the earlier
    tokens; of those before the row there is S [H,K,V] and the normaliser z [H,K]. The 1e-6 is the official code's."""

    def feature(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))  # elu(x) + 1

    q, k, v = (split(x @ weights[name], n_head) for name in ("wq", "wk", "wv"))
    q, k = feature(q), feature(k)
    y = np.zeros_like(v)
    for t in range(len(x)):
        for h in range(n_head):
            carried = document[t] == document[0]
            above, below = q[t, h] @ S[h] * carried, q[t, h] @ z[h] * carried
            for s in range(t + 1):
                if document[s] == document[t]:
                    above = above + q[t, h] @ k[s, h] * v[s, h]
                    below = below + q[t, h] @ k[s, h]
            y[t, h] = above / (below + 1e-6)
    return y.reshape(len(x), -1) @ weights["wo"]


def retnet(
    weights: Weights, x: np.ndarray, document: np.ndarray, S: np.ndarray, position: int, n_head: int
) -> np.ndarray:
    """Sun et al. 2023, equation 5 (parallel form) and equation 8 on one row [T,D]: (Q K^T * D) V with D[n,m] =
    gamma^(n-m) and Q K^T turned by e^{i theta (n-m)}, theta of RoPE; heads scaled by 1/sqrt(K) and normalised without
    weights. S [H,K,V] holds keys turned by their positions, of which there are `position` before the row."""
    q, k, v = (split(x @ weights[name], n_head) for name in ("wq", "wk", "wv"))
    size = q.shape[2]
    theta = 10_000.0 ** (-2 * np.arange(size // 2) / size)
    pairs_q, pairs_k = (a[..., : size // 2] + 1j * a[..., size // 2 :] for a in (q, k))
    y = np.zeros_like(v)
    for h in range(n_head):
        gamma = 1 - 2.0 ** (-5 - h)
        for n in range(len(x)):
            for m in range(n + 1):
                if document[m] == document[n]:
                    score = np.sum(pairs_q[n, h] * np.exp(1j * theta * (n - m)) * np.conj(pairs_k[m, h])).real
                    y[n, h] += score * gamma ** (n - m) * v[m, h]
            if document[n] == document[0]:
                y[n, h] += gamma ** (n + 1) * rotate(q[n, h], position + n, 10_000.0) @ S[h]
    y = rms_norm(y / np.sqrt(size), np.ones(1)).reshape(len(x), -1)
    return (silu(x @ weights["wg"]) * y) @ weights["wo"]


def gla(
    weights: Weights, x: np.ndarray, document: np.ndarray, S: np.ndarray, n_head: int, temperature: float
) -> np.ndarray:
    """Yang et al. 2023, equation 3 (the recurrence) and section 4.4 (decay and output gate) on one row [T,D]; queries
    scaled by 1/sqrt(K) and one RMSNorm scale for all heads, as in flash-linear-attention. S [H,K,V]."""
    q, k, v = (split(x @ weights[name], n_head) for name in ("wq", "wk", "wv"))
    decay = sigmoid(x @ weights["wa_down"] @ weights["wa_up"] + weights["a_bias"]) ** (1 / temperature)
    y, _ = linear_recurrence(q / np.sqrt(q.shape[2]), k, v, split(decay, n_head), document, S)
    y = rms_norm(y, weights["norm"]).reshape(len(x), -1)
    return (silu(x @ weights["wg"]) * y) @ weights["wo"]


def _delta_inputs(
    weights: Weights, x: np.ndarray, document: np.ndarray, tail: np.ndarray, n_key_head: int, n_head: int, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """q, k, v and beta in (0, reach) of both delta networks. The official layers' three convolutions lie side by side
    in conv [W, all channels] and tail [W-1, all channels]."""
    parts, first = [], 0
    for name, n in (("wq", n_key_head), ("wk", n_key_head), ("wv", n_head)):
        channels = slice(first, first := first + weights[name].shape[1])
        mixed = short_conv(x @ weights[name], weights["conv"][:, channels], document, tail[:, channels])
        parts.append(split(silu(mixed), n))
    q, k, v = parts
    return unit(q) / np.sqrt(q.shape[2]), unit(k), v, reach * sigmoid(x @ weights["wb"])


def deltanet(
    weights: Weights, x: np.ndarray, document: np.ndarray, tail: np.ndarray, S: np.ndarray, n_head: int, reach: float
) -> np.ndarray:
    """Yang et al. 2024a, sections 2.2 and 3.4, on one row [T,D]; `reach`: 2 with the negative eigenvalues of Grazzi et
    al. 2024, else 1. S [H,K,V]."""
    q, k, v, beta = _delta_inputs(weights, x, document, tail, n_head, n_head, reach)
    y, _ = delta_recurrence(q, k, v, beta, np.ones((len(x), n_head, 1)), document, S)
    return rms_norm(y, weights["norm"]).reshape(len(x), -1) @ weights["wo"]


def gated_deltanet(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    tail: np.ndarray,
    S: np.ndarray,
    n_key_head: int,
    n_head: int,
    reach: float,
) -> np.ndarray:
    """Yang et al. 2024b, equation 10 and section 3.4, on one row [T,D]: Mamba-2's decay, and the gate after the norm.
    S [H,K,V]; heads share keys as in Qwen3-Next."""
    q, k, v, beta = _delta_inputs(weights, x, document, tail, n_key_head, n_head, reach)
    decay = np.exp(-np.exp(weights["A_log"]) * softplus(x @ weights["wa"] + weights["dt_bias"]))
    y, _ = delta_recurrence(q, k, v, beta, decay[..., None], document, S)
    y = rms_norm(y, weights["norm"]).reshape(len(x), -1)
    return (y * silu(x @ weights["wg"])) @ weights["wo"]


def gated_conv(weights: Weights, u: np.ndarray, document: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """LFM2's short convolution (Liquid AI 2025; transformers' Lfm2ShortConv) on one row [T,D]: in_proj gives b, c, x;
    y = c * conv(b * x). `tail` [W-1,D]: the last b * x before the row."""
    size = u.shape[1]
    b, c, x = (u @ weights["w_in"][:, i * size : (i + 1) * size] for i in range(3))
    return (c * short_conv(b * x, weights["conv"], document, tail)) @ weights["w_out"]


def attention(
    weights: Weights,
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
