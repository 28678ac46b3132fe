"""The models of examples/models with inputs, by several implementations in float32 and by the
textbook in float64, for test_real_models.py."""

import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "models"))

import minilm  # first: they tell transformers to look at files only
import packaged
import pytest
import reaction_mapper
import smollm2
import torch
from exact import allowed, in_float64

import attn.transformers

TEXT = (ROOT / "docs" / "MATHS.md").read_text(encoding="utf-8")  # some thousand tokens of English

SENTENCES = [  # lengths differ, so that most rows have padding
    "The old doctor was tired, so she bought a big car in Paris.",
    "In France, the sleepy elderly physician purchased a large vehicle, and then drove all the way "
    "home through the rain without once looking back at the city.",
    "Stocks fell.",
]
REACTIONS = [
    "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F",
    "CC[O-]~[Na+].BrCC.[Na+]~[H-]>>CCOCC",
]


class Real:
    """A model and inputs to it. `run` computes by any implementation, `exact` in float64 (once)."""

    def __init__(self, model, tokenizer, inputs):
        self.model, self.tokenizer, self.inputs = model, tokenizer, inputs
        self.exact_model = in_float64(model)
        self.exact = self._forward(self.exact_model)

    @torch.no_grad()
    def _forward(self, model, attentions=True):
        return model(**self.inputs, output_hidden_states=True, output_attentions=attentions)

    def run(self, implementation):
        """Hidden states, and attentions where the implementation has them."""
        self.model.set_attn_implementation(implementation)
        return self._forward(self.model, attentions=implementation != "sdpa")

    def views(self, names):
        """Views by "attn" of each layer, without attentions."""
        self.model.set_attn_implementation("attn")
        with attn.transformers.select(self.model, views=names) as seen:
            self._forward(self.model, attentions=False)
        return [views for layer in seen for views in seen.history(layer)]

    def real(self):
        """[batch, length]: True where there is a token, not padding."""
        return self.inputs["attention_mask"].bool()

    def terms(self):
        """The longest sum that implementations of attention make: over a head's width or over
        keys."""
        config, length = self.model.config, self.inputs["input_ids"].shape[1]
        return max(config.hidden_size // config.num_attention_heads, length)


@cache
def load(name):
    """The Real of that name; skips the test if its package is not installed."""
    module = {"minilm": minilm, "reactions": reaction_mapper, "smollm2": smollm2}[name]
    try:
        model, tokenizer = module.load("eager")
    except packaged.PackageMissing as missing:
        pytest.skip(str(missing))
    if name == "smollm2":
        ids = smollm2.tokens(tokenizer, TEXT, 160)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = dict(module.tokens(tokenizer, {"minilm": SENTENCES, "reactions": REACTIONS}[name]))
    return Real(model, tokenizer, inputs)


def assert_as_exact(what, ours, peer, exact, terms):
    """ours, peer ("eager") in float32 against exact in float64: see `allowed`."""
    assert ours.dtype == peer.dtype == torch.float32 and exact.dtype == torch.float64, what
    assert ours.isfinite().all(), what
    error, limit = (ours - exact).abs().max().item(), allowed(peer, exact, terms)
    assert error <= limit, f"{what}: {error:.3g} from exact, allowed {limit:.3g}"
