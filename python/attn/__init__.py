"""attn: exact attention for CPUs, never a black box.

    output, weights = attn.attention(query, key, value, views="weights")
    output, views = attn.attention(query, key, value, causal=True, views=["received_sum", "entropy"])

attn.torch, attn.transformers and attn.onnx are modules of their own, imported by name.
"""

from attn._attention import Context, attention, reference_attention
from attn._core import isa_reason
from attn._core import version as __version__
from attn._explain import alignment_path, flow, rollout
from attn._options import Local, Location, Options, Pairs, Relative
from attn._show import show
from attn._views import Views

__all__ = [
    "Context",
    "Local",
    "Location",
    "Options",
    "Pairs",
    "Relative",
    "Views",
    "__version__",
    "alignment_path",
    "attention",
    "flow",
    "isa_reason",
    "reference_attention",
    "rollout",
    "show",
]
