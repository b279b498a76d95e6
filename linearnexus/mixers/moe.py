"""Mixture of experts: many feed-forward networks, of which each token uses the few that a router picks for it.

    p = softmax(router x)      y = sum over the k largest p_e of p_e expert_e(x)
    with `shared_width`: y + sigmoid(shared_gate x) shared(x), an expert that every token uses (Qwen Team 2024)

Shazeer et al. 2017, section 2, with the router of Mixtral (Jiang et al. 2024: the chosen p sum to 1) or Jamba
(`normalize` False: they do not), and Switch's loss against a router that always picks the same experts (Fedus et al.
2021, equations 4 to 6). No token is dropped: the tokens of each expert are laid behind one another in as many blocks as
they need, and each block is one product with its expert's weights.

Look first at: `_route`, `_experts`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from linearnexus.core.initializers import normal
from linearnexus.core.layers import at_least_float32, linear
from linearnexus.core.module import matrix, module, part, static, table
from linearnexus.mixers.configs import MLPConfig, MoEConfig
from linearnexus.mixers.contract import Context, MixerOutput
from linearnexus.mixers.mlp import ACTIVATIONS, MLP

LARGEST_BLOCK = 128  # tokens of a block


@module
class MoE:
    router: Array = table("expert", "embed")
    up: Array = matrix("expert", "embed", "ffn")
    gate: Array | None = matrix("expert", "embed", "ffn")
    down: Array = matrix("expert", "ffn", "embed", residual=True)
    shared: MLP | None = part(ffn="shared_ffn")
    shared_gate: Array | None = table(None, "embed")  # [1, D]
    config: MoEConfig = static()

    @classmethod
    def init(cls, config: MoEConfig, hidden_size: int, key: Array) -> "MoE":
        """Weights N(0, 0.02), as in Mixtral and Jamba."""
        n, inner = config.n_expert, round(config.width * hidden_size)
        router, up, gate, down = jax.random.split(key, 4)
        shared = MLPConfig(config.shared_width, config.activation, config.gated) if config.shared_width else None
        return cls(
            router=normal(router, n, hidden_size),
            up=normal(up, n, hidden_size, inner),
            gate=normal(gate, n, hidden_size, inner) if config.gated else None,
            down=normal(down, n, inner, hidden_size),
            shared=MLP.init(shared, hidden_size, jax.random.fold_in(key, 4)) if shared else None,
            shared_gate=normal(jax.random.fold_in(key, 5), 1, hidden_size) if shared else None,
            config=config,
        )

    def __call__(self, x: Float[Array, "... D"], context: Context) -> MixerOutput:
        router_probs, expert_ids, weights = self._route(x)
        y = self._experts(x.reshape(-1, x.shape[-1]), expert_ids.reshape(-1, expert_ids.shape[-1]))
        y = jnp.sum(y.reshape(*expert_ids.shape, -1) * weights[..., None].astype(x.dtype), axis=-2)
        if self.shared is not None and self.shared_gate is not None:
            y = y + jax.nn.sigmoid(linear(x, self.shared_gate.T)) * self.shared(x, context).y
        return MixerOutput(y, loss=self._aux_loss(router_probs, expert_ids, context))

    def look(self, x: Float[Array, "... D"], context: Context) -> dict[str, Array]:
        """router_probs [..., X]: what the router gives each expert; expert_ids [..., k]: the experts used; weights
        [..., k]: how much of each."""
        router_probs, expert_ids, weights = self._route(x)
        return {"router_probs": router_probs, "expert_ids": expert_ids, "weights": weights}

    def _route(self, x: Float[Array, "... D"]) -> tuple[Array, Array, Array]:
        router_probs = jax.nn.softmax(at_least_float32(linear(x, self.router.T)), axis=-1)
        weights, expert_ids = jax.lax.top_k(router_probs, self.config.experts_per_token)
        if self.config.normalize:
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
        return router_probs, expert_ids, weights

    def _experts(self, x: Float[Array, "M D"], expert_ids: Int[Array, "M k"]) -> Float[Array, "M k D"]:
        """What each chosen expert makes of each token."""
        k, n = expert_ids.shape[1], self.config.n_expert
        expert = expert_ids.reshape(-1)  # [M*k]
        size = min(LARGEST_BLOCK, 1 << max(0, (expert.size // n).bit_length() - 1))
        counts = jnp.sum(expert[:, None] == jnp.arange(n, dtype=expert.dtype)[None], axis=0, dtype=jnp.int32)
        blocks = -(-counts // size)
        first_block = jnp.cumsum(blocks) - blocks
        first_token = jnp.cumsum(counts) - counts
        order = jnp.argsort(expert, stable=True)
        by_expert = expert[order]
        place = size * first_block[by_expert] + jnp.arange(expert.size, dtype=jnp.int32) - first_token[by_expert]
        n_block = min(expert.size, expert.size // size + n)  # the most that can be needed
        owner = jnp.searchsorted(jnp.cumsum(blocks), jnp.arange(n_block, dtype=jnp.int32), side="right")
        owner = jnp.minimum(owner, n - 1)  # of blocks that stay empty: any
        source = jnp.full(n_block * size, expert.size, jnp.int32).at[place].set(order.astype(jnp.int32))
        inputs = jnp.take(x, source // k, axis=0, mode="fill", fill_value=0).reshape(n_block, size, -1)
        hidden = inputs @ self.up[owner].astype(x.dtype)
        act = ACTIVATIONS[self.config.activation]
        hidden = act(hidden) if self.gate is None else act(inputs @ self.gate[owner].astype(x.dtype)) * hidden
        y = (hidden @ self.down[owner].astype(x.dtype)).reshape(n_block * size, -1)
        where = jnp.zeros(expert.size, jnp.int32).at[order].set(place)
        return y[where].reshape(*expert_ids.shape, -1)

    def _aux_loss(self, router_probs: Float[Array, "... X"], expert_ids: Int[Array, "... k"], context: Context) -> Any:
        """`aux_loss_weight` times X sum_e (share of choices that fell on e) (mean p_e) over valid tokens: 1 when all
        are equally busy, up to X when one does everything."""
        if not self.config.aux_loss_weight:
            return None
        n = self.config.n_expert
        used = jnp.mean(jax.nn.one_hot(expert_ids, n, dtype=router_probs.dtype), axis=-2)
        valid = context.tokens.valid
        weight = (
            jnp.ones(router_probs.shape[:-1], router_probs.dtype) if valid is None else valid.astype(router_probs.dtype)
        )
        total = jnp.maximum(jnp.sum(weight), 1)
        busy, wanted = (jnp.einsum("...,...e->e", weight, part) / total for part in (used, router_probs))
        return self.config.aux_loss_weight * n * jnp.vdot(busy, wanted)
