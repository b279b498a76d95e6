"""The papers' equations in NumPy and float64, one token after another, as far from the product's code as can be.

Nothing here is fast, batched or shared with `linearnexus.ops`: a row is the list of its valid tokens, `document[t]`
numbers the document of token t, and every sum is a loop where the paper has one. What came before the row (a state, a
convolution's last inputs, a position) belongs to the first token's document; a new document begins with nothing.
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


def short_conv(x: np.ndarray, taps: np.ndarray, document: np.ndarray, conv_state: np.ndarray) -> np.ndarray:
    """y_t = sum_j taps[j] x_{t-j} inside a document: x [T,E], taps [W,E]; conv_state [W-1,E]: the inputs before the
    row, oldest first."""
    y = np.zeros_like(x)
    for t in range(len(x)):
        for j in range(len(taps)):
            before = t - j
            if before >= 0 and document[before] == document[t]:
                y[t] += taps[j] * x[before]
            elif before < 0 and document[0] == document[t]:
                y[t] += taps[j] * conv_state[before]  # conv_state[-1] is the last input before the row
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


def bonus_recurrence(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    decay: np.ndarray,
    document: np.ndarray,
    S: np.ndarray,
    bonus: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """y_t = (S_{t-1} + diag(u) k_t v_t^T)^T q_t, S_t = diag(w_t) S_{t-1} + k_t v_t^T (Peng et al. 2024, section 4.2):
    bonus u [H,K], the rest as in `linear_recurrence`, G = H."""
    y, S = np.zeros_like(v), S.copy()
    for t in range(len(v)):
        if t and document[t] != document[t - 1]:
            S = np.zeros_like(S)
        for h in range(len(S)):
            write = np.outer(k[t, h], v[t, h])
            y[t, h] = q[t, h] @ (S[h] + np.diag(bonus[h]) @ write)
            S[h] = np.diag(decay[t, h]) @ S[h] + write
    return y, S


def dplr_recurrence(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    decay: np.ndarray,
    document: np.ndarray,
    S: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """S_t = (diag(w_t) + b_t a_t^T) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t, by the matrix itself (Peng et al. 2025,
    section 4): all [T,H,K], v [T,H,V]."""
    y, S = np.zeros_like(v), S.copy()
    for t in range(len(v)):
        if t and document[t] != document[t - 1]:
            S = np.zeros_like(S)
        for h in range(len(S)):
            S[h] = (np.diag(decay[t, h]) + np.outer(b[t, h], a[t, h])) @ S[h] + np.outer(k[t, h], v[t, h])
            y[t, h] = q[t, h] @ S[h]
    return y, S


def mamba(
    weights: Weights, u: np.ndarray, document: np.ndarray, conv_state: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A Mamba layer on one row [T,D], with the weights' names and layouts of the official `mamba_simple.py`: in_proj
    [2E,D], conv1d.weight [E,W] with the current token's tap last, x_proj [R+2N,E], dt_proj [E,R], A_log [E,N].

    Where the weights have them, Jamba's RMSNorms on dt (before its projection), B and C (Lieber et al. 2024, section
    6.4; names of its official code). `conv_state` [W-1,E] of the convolution; h [E,N]: the SSM state before the row.
    Returns the outputs and the SSM state after.
    """
    inner, rank, n = weights["A_log"].shape[0], weights["dt_proj.weight"].shape[1], weights["A_log"].shape[1]
    xz = u @ weights["in_proj.weight"].T
    x, z = xz[:, :inner], xz[:, inner:]
    x = silu(short_conv(x, weights["conv1d.weight"].T[::-1], document, conv_state) + weights["conv1d.bias"])
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
    conv_state: np.ndarray,
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
    xBC = silu(short_conv(xBC, weights["conv1d.weight"].T[::-1], document, conv_state) + weights["conv1d.bias"])
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


def mamba3(
    weights: Weights, u: np.ndarray, document: np.ndarray, state: dict[str, np.ndarray], n_group: int, turns: int
) -> np.ndarray:
    """A Mamba-3 layer on one row [T,D], as the steps of its authors' code (tests/ops/triton/test_mamba3_siso.py,
    tests/ops/tilelang/test_mamba3_mimo.py, modules/mamba3.py) with its names and layouts: in_proj gives z, x, B, C,
    dd_dt, dd_A, trap and angles. state: ssm [H,P,N], angle [H,J], k [H,R,N] and v [H,R,P] of the token before."""
    n_head, rank, size = weights["B_bias"].shape
    inner = weights["out_proj.weight"].shape[1]
    ends = np.cumsum([inner, inner, rank * n_group * size, rank * n_group * size, n_head, n_head, n_head])
    out = []
    for t in range(len(u)):
        if t and document[t] != document[t - 1]:
            state = {name: np.zeros_like(part) for name, part in state.items()}
        z, x, B, C, dd_dt, dd_A, trap, angles = np.split(weights["in_proj.weight"] @ u[t], ends)
        dt, trap = softplus(dd_dt + weights["dt_bias"]), sigmoid(trap)
        A = -np.maximum([1 + a if a >= 0 else 1 / (1 - a) for a in dd_A], 1e-4)
        angle = state["angle"] + np.pi * np.tanh(angles) * dt[:, None]
        B, C = B.reshape(rank, n_group, size), C.reshape(rank, n_group, size)
        x, z = x.reshape(n_head, -1), z.reshape(n_head, -1)
        y, after = np.zeros_like(x), {**{name: np.zeros_like(part) for name, part in state.items()}, "angle": angle}
        for h in range(n_head):
            g = h // (n_head // n_group)
            alpha = np.exp(A[h] * dt[h])
            beta, gamma = (1 - trap[h]) * dt[h] * alpha, trap[h] * dt[h]
            after["ssm"][h] = alpha * state["ssm"][h]
            queries = []
            for r in range(rank):
                k = rms_norm(B[r, g], weights["B_norm.weight"]) + weights["B_bias"][h, r]
                q = rms_norm(C[r, g], weights["C_norm.weight"]) + weights["C_bias"][h, r]
                for i in range(turns):
                    for vector in (k, q):
                        turned = complex(vector[2 * i], vector[2 * i + 1]) * np.exp(1j * angle[h, i])
                        vector[2 * i], vector[2 * i + 1] = turned.real, turned.imag
                v = weights["mimo_x"][h, r] * x[h]
                after["ssm"][h] += beta * np.outer(state["v"][h, r], state["k"][h, r]) + gamma * np.outer(v, k)
                after["k"][h, r], after["v"][h, r] = k, v
                queries.append(q)
            for r in range(rank):
                read = after["ssm"][h] @ queries[r] + weights["D"][h] * after["v"][h, r]
                y[h] += weights["mimo_o"][h, r] * read * silu(weights["mimo_z"][h, r] * z[h])
        state = after
        out.append(weights["out_proj.weight"] @ y.reshape(inner))
    return np.array(out)


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


def mlstm(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    C: np.ndarray,
    n: np.ndarray,
    n_head: int,
    cap: float,
) -> np.ndarray:
    """Beck et al. 2024, equations 19 to 27, with nothing stabilised, on one row [T,D]; soft-capped gates and the norm
    of each head as in the official xlstm_large. C [H,K,V] and n [H,K]: the memory itself."""
    q, k, v = (split(x @ weights[name], n_head) for name in ("wq", "wk", "wv"))
    gates = np.einsum("td,dgh->gth", x, weights["w_gates"]) + weights["gate_bias"][:, None]
    i, f = cap * np.tanh(gates / cap)
    y = np.zeros_like(v)
    for h in range(n_head):
        memory, normaliser = C[h], n[h]
        for t in range(len(x)):
            if t and document[t] != document[t - 1]:
                memory, normaliser = np.zeros_like(memory), np.zeros_like(normaliser)
            forget = sigmoid(f[t, h])
            memory = forget * memory + np.exp(i[t, h]) * np.outer(k[t, h], v[t, h])
            normaliser = forget * normaliser + np.exp(i[t, h]) * k[t, h]
            query = q[t, h] / np.sqrt(q.shape[2])
            y[t, h] = query @ memory / max(abs(query @ normaliser), 1)
    y = y - y.mean(axis=-1, keepdims=True)
    y = rms_norm(y, np.ones(1), 1e-6).reshape(len(x), -1) * weights["norm"]
    return (sigmoid(x @ weights["wg"]) * y) @ weights["wo"]


def _previous(x: np.ndarray, document: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The token before each one of a row [T,D] in its document, else zero; `last` [D] came before the row."""
    out = np.zeros_like(x)
    for t in range(len(x)):
        if t and document[t] == document[t - 1]:
            out[t] = x[t - 1]
        elif t == 0:
            out[t] = last
    return out


def _head_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """RWKV's group norm of one token [H,V] -> [H*V], its epsilon 64e-5."""
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 64e-5)
    return x.reshape(-1) * scale + bias


def rwkv6(
    weights: Weights, x: np.ndarray, document: np.ndarray, last: np.ndarray, S: np.ndarray, n_head: int
) -> np.ndarray:
    """Peng et al. 2024, section 4.2, on one row [T,D], token by token with the names of the official RWKV_Tmix_x060's
    forward pass. S [H,K,V], last [D]: the input before the row."""
    before = _previous(x, document, last)
    out = []
    for t in range(len(x)):
        if t and document[t] != document[t - 1]:
            S = np.zeros_like(S)
        xx = before[t] - x[t]
        xxx = np.tanh((x[t] + xx * weights["mix_x"]) @ weights["mix_down"]).reshape(5, -1)
        xw, xk, xv, xr, xg = (x[t] + xx * (weights["mix"][i] + xxx[i] @ weights["mix_up"][i]) for i in range(5))
        r, k, v = (part @ weights[name] for part, name in ((xr, "wr"), (xk, "wk"), (xv, "wv")))
        w = np.exp(-np.exp(weights["decay"] + np.tanh(xw @ weights["decay_down"]) @ weights["decay_up"]))
        r, k, v, w, u = (a.reshape(n_head, -1) for a in (r, k, v, w, weights["bonus"]))
        y, after = np.zeros_like(v), np.zeros_like(S)
        for h in range(n_head):
            kv = np.outer(k[h], v[h])
            y[h] = r[h] @ (S[h] + np.diag(u[h]) @ kv)
            after[h] = np.diag(w[h]) @ S[h] + kv
        S = after
        y = _head_norm(y, weights["norm.scale"], weights["norm.bias"])
        out.append((y * silu(xg @ weights["wg"])) @ weights["wo"])
    return np.array(out)


def rwkv7(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    last: np.ndarray,
    S: np.ndarray,
    n_head: int,
    first: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Time mixing of RWKV-7 on one row [T,D], by its author's formulation for NumPy (RWKV-LM, rwkv_v7_numpy.py): the
    state S [H,V,K] has values as rows. first [T,D]: the first layer's values (None: this is it); returned too."""
    before = _previous(x, document, last)
    out, values = [], []
    for t in range(len(x)):
        if t and document[t] != document[t - 1]:
            S = np.zeros_like(S)
        xr, xw, xk, xv, xa, xg = (x[t] + mu * (before[t] - x[t]) for mu in weights["mix"])
        r, k, v = xr @ weights["wr"], xk @ weights["wk"], xv @ weights["wv"]
        w = np.exp(-sigmoid(np.tanh(xw @ weights["w.down"]) @ weights["w.up"] + weights["w_bias"]) / np.exp(0.5))
        if first is not None:
            v = v + (first[t] - v) * sigmoid(xv @ weights["v.down"] @ weights["v.up"] + weights["v.bias"])
        values.append(v)
        a = sigmoid(xa @ weights["a.down"] @ weights["a.up"] + weights["a.bias"])
        g = sigmoid(xg @ weights["g.down"]) @ weights["g.up"]
        kk = k * weights["k_k"]
        k = k + k * (a - 1) * weights["k_a"]
        r, w, k, v, kk, a, r_k = (i.reshape(n_head, -1) for i in (r, w, k, v, kk, a, weights["r_k"]))
        kk = kk / np.linalg.norm(kk, axis=1, keepdims=True)
        S = np.array(
            [S[h] @ np.diag(w[h]) - np.outer(S[h] @ kk[h], kk[h] * a[h]) + np.outer(v[h], k[h]) for h in range(n_head)]
        )
        y = _head_norm(np.array([S[h] @ r[h] for h in range(n_head)]), weights["norm.scale"], weights["norm.bias"])
        y = y + (np.sum(r * k * r_k, axis=1, keepdims=True) * v).reshape(-1)
        out.append((y * g) @ weights["wo"])
    return np.array(out), np.array(values) if first is None else first


def rwkv_channel_mix(weights: Weights, x: np.ndarray, document: np.ndarray, last: np.ndarray) -> np.ndarray:
    """RWKV-7's, and with a gate RWKV-6's, on one row [T,D]."""
    shift = _previous(x, document, last) - x
    y = np.maximum((x + shift * weights["mix_k"]) @ weights["up"], 0) ** 2 @ weights["down"]
    if "gate" in weights:
        y = y * sigmoid((x + shift * weights["mix_r"]) @ weights["gate"])
    return y


def rwkv_model(weights: dict[str, Weights], ids: np.ndarray, document: np.ndarray, n_head: int) -> np.ndarray:
    """A whole RWKV-7 on one row of ids [T], from nothing: a norm before the first layer and one after the last,
    residual layers of time and channel mixing. Keys: "model", "0.time", "0.channel", "0.norms", ..."""

    def norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5) * scale + bias

    model = weights["model"]
    x = norm(model["embedding"][ids], model["input_norm.scale"], model["input_norm.bias"])
    nothing, size, first, layer = np.zeros(x.shape[1]), x.shape[1] // n_head, None, 0
    while f"{layer}.time" in weights:
        norms = weights[f"{layer}.norms"]
        y = norm(x, norms["norm.scale"], norms["norm.bias"])
        S = np.zeros((n_head, size, size))
        y, first = rwkv7(weights[f"{layer}.time"], y, document, nothing, S, n_head, first)
        x = x + y
        y = norm(x, norms["channel_norm.scale"], norms["channel_norm.bias"])
        x = x + rwkv_channel_mix(weights[f"{layer}.channel"], y, document, nothing)
        layer += 1
    return norm(x, model["norm.scale"], model["norm.bias"]) @ model["head"].T


def _delta_inputs(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    conv_state: tuple[np.ndarray, ...],
    n_key_head: int,
    n_head: int,
    reach: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """q, k, v and beta in (0, reach) of both delta networks, each of q, k and v with a convolution and its state."""
    parts = []
    for name, n, before in zip("qkv", (n_key_head, n_key_head, n_head), conv_state, strict=True):
        mixed = short_conv(x @ weights[f"w{name}"], weights[f"conv_{name}"], document, before)
        parts.append(split(silu(mixed), n))
    q, k, v = parts
    return unit(q) / np.sqrt(q.shape[2]), unit(k), v, reach * sigmoid(x @ weights["wb"])


def deltanet(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    conv_state: tuple[np.ndarray, ...],
    S: np.ndarray,
    n_head: int,
    reach: float,
) -> np.ndarray:
    """Yang et al. 2024a, sections 2.2 and 3.4, on one row [T,D]; `reach`: 2 with the negative eigenvalues of Grazzi et
    al. 2024, else 1. S [H,K,V]."""
    q, k, v, beta = _delta_inputs(weights, x, document, conv_state, n_head, n_head, reach)
    y, _ = delta_recurrence(q, k, v, beta, np.ones((len(x), n_head, 1)), document, S)
    return rms_norm(y, weights["norm"]).reshape(len(x), -1) @ weights["wo"]


def gated_deltanet(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    conv_state: tuple[np.ndarray, ...],
    S: np.ndarray,
    n_key_head: int,
    n_head: int,
    reach: float,
) -> np.ndarray:
    """Yang et al. 2024b, equation 10 and section 3.4, on one row [T,D]: Mamba-2's decay, and the gate after the norm.
    S [H,K,V]; heads share keys as in Qwen3-Next."""
    q, k, v, beta = _delta_inputs(weights, x, document, conv_state, n_key_head, n_head, reach)
    decay = np.exp(-np.exp(weights["A_log"]) * softplus(x @ weights["wa"] + weights["dt_bias"]))
    y, _ = delta_recurrence(q, k, v, beta, decay[..., None], document, S)
    y = rms_norm(y, weights["norm"]).reshape(len(x), -1)
    return (y * silu(x @ weights["wg"])) @ weights["wo"]


def kimi_delta_attention(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    conv_state: tuple[np.ndarray, ...],
    S: np.ndarray,
    n_head: int,
    reach: float,
) -> np.ndarray:
    """Kimi Team 2025, equation 1 and section 4, on one row [T,D]; the decay's function is that of the official code,
    with one A a head and one dt_bias a key. S [H,K,V]."""
    q, k, v, beta = _delta_inputs(weights, x, document, conv_state, n_head, n_head, reach)
    step = split(softplus(x @ weights["wa_down"] @ weights["wa_up"] + weights["dt_bias"]), n_head)
    decay = np.exp(-np.exp(weights["A_log"])[None, :, None] * step)
    y, _ = delta_recurrence(q, k, v, beta, decay, document, S)
    y = rms_norm(y, weights["norm"]).reshape(len(x), -1)
    return (y * sigmoid(x @ weights["wg_down"] @ weights["wg_up"])) @ weights["wo"]


def gated_conv(weights: Weights, u: np.ndarray, document: np.ndarray, conv_state: np.ndarray) -> np.ndarray:
    """LFM2's short convolution (Liquid AI 2025; transformers' Lfm2ShortConv) on one row [T,D]: in_proj gives b, c, x;
    y = c * conv(b * x). `conv_state` [W-1,D]: the last b * x before the row."""
    b, c, x = (u @ weights["w_in"][:, i] for i in range(3))
    return (c * short_conv(b * x, weights["conv"], document, conv_state)) @ weights["w_out"]


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


def latent_attention(
    weights: Weights,
    x: np.ndarray,
    document: np.ndarray,
    past: list[tuple[np.ndarray, np.ndarray]],
    n_head: int,
    theta: float | None,
    position: int = 0,
) -> np.ndarray:
    """DeepSeek-AI 2024, equations 9 to 19, on one row [T,D], for each token and each head by itself: every key and
    value is made from the latent vector, nothing is absorbed. Norms as in the official code, pairs of the rotation as
    in `rotate`; without a theta nothing is rotated.

    `past`: latent vector [C] and rotated key [R] of the tokens before the row, oldest first, of the first token's
    document; `position`: how many tokens of that document came before.
    """

    def turned(x: np.ndarray, position: int) -> np.ndarray:
        return x if theta is None else rotate(x, position, theta)

    rank = len(weights["norm"])
    rope = weights["w_down"].shape[1] - rank
    size = weights["wk"].shape[1] // n_head
    kept = [(c, k_r, document[0] if len(document) else 0) for c, k_r in past]
    out = []
    for t in range(len(x)):
        if t and document[t] != document[t - 1]:
            position = 0
        query = rms_norm(weights["wq_down"].T @ x[t], weights["q_norm"], 1e-6) if "wq_down" in weights else x[t]
        queries = (weights["wq"].T @ query).reshape(n_head, size + rope)
        down = weights["w_down"].T @ x[t]
        kept.append((rms_norm(down[:rank], weights["norm"], 1e-6), turned(down[rank:], position), document[t]))
        seen = [(c, k_r) for c, k_r, of in kept if of == document[t]]
        read = []
        for h in range(n_head):
            of_head = slice(h * size, (h + 1) * size)
            q = np.concatenate([queries[h, :size], turned(queries[h, size:], position)])
            keys = [np.concatenate([weights["wk"][:, of_head].T @ c, k_r]) for c, k_r in seen]
            values = [split(weights["wv"], n_head)[:, h].T @ c for c, _ in seen]
            score = np.array([q @ key for key in keys]) / np.sqrt(size + rope)
            share = np.exp(score - score.max())
            read.append(sum(s * value for s, value in zip(share / share.sum(), values, strict=True)))
        out.append(weights["wo"].T @ np.concatenate(read))
        position += 1
    return np.array(out)
