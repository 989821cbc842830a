"""Qwen3 as plain torch, written for fast training on CPU cores.

The weights keep the names and shapes of `Qwen3ForCausalLM`, so that exporting is a copy. Matrix
products run in bfloat16 (twice the speed of float32 here). Attention is two products and a softmax,
and norms, rotation and gate have hand-written backward passes, because `scaled_dot_product_attention`
and chains of small operations spend most of the time of a tiny model in memory traffic.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model; enough to write its `config.json`."""

    vocab_size: int
    hidden_size: int = 256
    num_layers: int = 5
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    mlp_size: int = 640
    rope_theta: float = 10000.0
    max_positions: int = 2048

    def as_dict(self) -> dict[str, int | float]:
        return asdict(self)


class _Norm(torch.autograd.Function):
    """Root-mean-square norm over the last dimension, in the dtype of the products that follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)
        normed = (wide * scale).to(dtype)
        weight = weight.to(dtype)
        ctx.save_for_backward(normed, scale.to(dtype), weight)
        ctx.input_dtype = x.dtype
        return normed * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        product = grad * normed
        grad_weight = product.flatten(0, -2).sum(0, dtype=torch.float32)
        inner = (product @ weight).unsqueeze(-1) / weight.numel()
        grad_input = (grad * weight).sub_(normed * inner).mul_(scale)
        return grad_input.to(ctx.input_dtype), grad_weight, None


class _Rotate(torch.autograd.Function):
    """Rotary position embedding; its gradient is the rotation backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, -sin), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class _Gate(torch.autograd.Function):
    """silu(gate) * up on the two halves of one matrix."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, dim=-1)
        sigmoid = torch.sigmoid(gate)
        ctx.save_for_backward(both, sigmoid)
        return (gate * sigmoid).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        both, sigmoid = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        silu = gate * sigmoid
        slope = (1 - sigmoid).mul_(silu).add_(sigmoid)
        return torch.cat((slope.mul_(grad).mul_(up), silu.mul_(grad)), dim=-1)


class _WeightedLoss(torch.autograd.Function):
    """Sum of weighted cross entropies; makes the gradient of the logits in the forward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        log_probs = F.log_softmax(logits.float(), dim=-1)
        rows = torch.arange(targets.numel())
        loss = -(log_probs[rows, targets] * weights).sum()
        grad = log_probs.exp_()
        grad[rows, targets] -= 1
        ctx.save_for_backward(grad.mul_(weights.unsqueeze(-1)).to(logits.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * scale.to(grad.dtype), None, None


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inner, outer = shape.head_dim * shape.num_heads, shape.head_dim * shape.num_kv_heads
        self.q_proj = nn.Linear(shape.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, outer, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, outer, bias=False)
        self.o_proj = nn.Linear(inner, shape.hidden_size, bias=False)
        self.q_norm = nn.RMSNorm(shape.head_dim, EPSILON)
        self.k_norm = nn.RMSNorm(shape.head_dim, EPSILON)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        heads, kv_heads, size = self.shape.num_heads, self.shape.num_kv_heads, self.shape.head_dim
        weight = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        mixed = F.linear(x, weight.to(x.dtype)).view(batch, length, -1, size).transpose(1, 2)
        q, k, v = mixed.split((heads, kv_heads, kv_heads), dim=1)
        q = _Rotate.apply(_Norm.apply(q, self.q_norm.weight, q.dtype), cos, sin)
        k = _Rotate.apply(_Norm.apply(k, self.k_norm.weight, k.dtype), cos, sin)
        q = (q * size**-0.5).reshape(batch, kv_heads, -1, size)
        scores = torch.matmul(q, k.transpose(-1, -2)).view(batch, heads, length, length)
        attention = torch.softmax(scores + mask, dim=-1).view(batch, kv_heads, -1, length)
        out = torch.matmul(attention, v).view(batch, heads, length, size).transpose(1, 2)
        return F.linear(out.reshape(batch, length, -1), self.o_proj.weight.to(x.dtype))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.mlp_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.mlp_size, bias=False)
        self.down_proj = nn.Linear(shape.mlp_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat((self.gate_proj.weight, self.up_proj.weight)).to(x.dtype)
        gated = _Gate.apply(F.linear(x, weight))
        return F.linear(gated, self.down_proj.weight.to(x.dtype))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, EPSILON)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, EPSILON)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """The sums stay in float32: next to later layers, embeddings are too small for bfloat16."""
        dtype = mask.dtype
        normed = _Norm.apply(x, self.input_layernorm.weight, dtype)
        x = x + self.self_attn(normed, cos, sin, mask)
        normed = _Norm.apply(x, self.post_attention_layernorm.weight, dtype)
        return x + self.mlp(normed)


class ChatModel(nn.Module):
    """The whole network; embedding and output share one matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_layers))
        self.norm = nn.RMSNorm(shape.hidden_size, EPSILON)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        for layer in self.layers:
            for linear in (m for m in layer.modules() if isinstance(m, nn.Linear)):
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    def hidden(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Final hidden states of right-padded `tokens` [batch, length]."""
        length = tokens.shape[1]
        half = self.shape.head_dim // 2
        steps = self.shape.rope_theta ** -(torch.arange(half) / half)
        angles = torch.arange(length).unsqueeze(-1) * steps
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        mask = torch.full((length, length), float("-inf"), dtype=dtype).triu(1)
        x = F.embedding(tokens, self.embed_tokens.weight.to(dtype)).float()
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return _Norm.apply(x, self.norm.weight, dtype)

    def logits(self, tokens: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return F.linear(self.hidden(tokens, dtype), self.embed_tokens.weight.to(dtype))

    def loss(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum of next-token losses; `weights[b, t]` belongs to `tokens[b, t]`."""
        wanted = weights[:, 1:].flatten()
        (kept,) = wanted.nonzero(as_tuple=True)
        hidden = self.hidden(tokens, torch.bfloat16)[:, :-1].flatten(0, 1).index_select(0, kept)
        logits = F.linear(hidden, self.embed_tokens.weight.to(hidden.dtype))
        targets = tokens[:, 1:].flatten()[kept]
        return _WeightedLoss.apply(logits, targets, wanted[kept])
