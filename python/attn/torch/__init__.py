"""attn for PyTorch: functions and modules that return their weights, from the fused path."""

from attn.torch._attention import attention, scaled_dot_product_attention
from attn.torch._modules import AdditiveAttention, MultiheadAttention

__all__ = ["AdditiveAttention", "MultiheadAttention", "attention", "scaled_dot_product_attention"]
