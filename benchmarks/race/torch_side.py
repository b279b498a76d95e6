"""The peers, on PyTorch: nanoGPT's model written plainly, and the models of transformers and mamba.py.

Look first at: `build`.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.race.worker import Unit, serve
from benchmarks.race.works import Work

POSITIONS = 1024


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width, bias=False), Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        up, down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.mlp = nn.Sequential(up, nn.GELU(), down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """nanoGPT's design: pre-norm blocks, learned positions, no biases, the head tied to the embedding."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(work.vocab_size, work.width), nn.Embedding(work.length, work.width)
        self.blocks = nn.Sequential(*(Block(work.width, work.heads) for _ in range(work.n_layer)))
        self.norm = nn.LayerNorm(work.width, bias=False)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        logits = F.linear(self.norm(self.blocks(x)), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class ParallelScan(nn.Module):
    """mamba.py's Mamba with its parallel scan, between an embedding and a head tied to it."""

    def __init__(self, work: Work) -> None:
        from mambapy.mamba import Mamba, MambaConfig, RMSNorm

        super().__init__()
        self.embedding = nn.Embedding(work.vocab_size, work.width)
        self.layers = Mamba(MambaConfig(d_model=work.width, n_layers=work.n_layer, pscan=True))
        self.norm = RMSNorm(work.width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.linear(self.norm(self.layers(self.embedding(ids))), self.embedding.weight)


def pretrained_kind(work: Work) -> nn.Module:
    """The same shape of model in transformers."""
    import transformers as hf

    hf.logging.set_verbosity_error()
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    sizes = {"vocab_size": work.vocab_size, **ends}
    if work.architecture == "gpt":
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        shape = {"n_layer": work.n_layer, "n_embd": work.width, "n_head": work.heads, "n_positions": POSITIONS}
        return hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, **shape, **off))
    shape = {"hidden_size": work.width, "num_hidden_layers": work.n_layer}
    if work.architecture == "mamba":
        return hf.MambaForCausalLM(hf.MambaConfig(**sizes, **shape, tie_word_embeddings=True))
    heads = {"num_heads": 2 * work.width // 64, "head_dim": 64, "n_groups": 1, "state_size": 64, "chunk_size": 64}
    return hf.Mamba2ForCausalLM(hf.Mamba2Config(**sizes, **shape, **heads, tie_word_embeddings=True))


def loss_function(work: Work, side: str) -> tuple[nn.Module, Any]:
    """The model, and (ids, targets) -> loss."""
    if side.startswith("nanoGPT"):
        model = GPT(work)
        return model, torch.compile(model) if side.endswith("compiled") else model
    model = ParallelScan(work) if side == "mamba.py" else pretrained_kind(work)

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = model(ids) if side == "mamba.py" else model(ids, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return model, loss


def build(work: Work, side: str) -> Unit:
    torch.manual_seed(0)
    if work.kind == "training":
        model, loss = loss_function(work, side)
        fused = side != "mamba.py"  # its parameters are not all contiguous
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=fused)
        ids = torch.randint(work.vocab_size, (work.batch, work.length + 1))
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

        def step() -> int:
            optimizer.zero_grad(set_to_none=True)
            value = loss(inputs, targets)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            assert math.isfinite(value.item())
            return inputs.numel()

        return step
    model = pretrained_kind(work).eval()
    prompt = torch.ones((work.batch, 1), dtype=torch.long)
    how = {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.95, "use_cache": True, "pad_token_id": 0}
    how |= {"max_new_tokens": work.length, "min_new_tokens": work.length}

    def write() -> int:
        with torch.inference_mode():
            out = model.generate(prompt, attention_mask=torch.ones_like(prompt), **how)
        assert out.shape[1] == 1 + work.length
        return work.batch * work.length

    return write


if __name__ == "__main__":
    serve(build)
