"""The models of examples/models in three computations, for test_real_models.py: by transformers' "eager"
and by others in float32, and by the textbook in float64, which says what is exact."""

import copy
import math
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
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import attn.transformers

UNIT = 2.0**-24  # of float32
TEXT = (ROOT / "docs" / "MATHS.md").read_text(encoding="utf-8")  # some thousand tokens of English

SENTENCES = [  # lengths differ, so that most rows have padding
    "The old doctor was tired, so she bought a big car in Paris.",
    "In France, the sleepy elderly physician purchased a large vehicle, and then drove all the way home "
    "through the rain without once looking back at the city.",
    "Stocks fell.",
]
REACTIONS = [
    "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F",
    "CC[O-]~[Na+].BrCC.[Na+]~[H-]>>CCOCC",
]


def textbook_attention(module, query, key, value, attention_mask, scaling, **_):
    """softmax(scaling query key^T + mask) value in the type of its inputs. ("eager" of some models goes
    through float32 in between, also in a model of float64.)"""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = scaling * query @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    return (weights @ value).transpose(1, 2), weights


AttentionInterface.register("textbook", textbook_attention)
AttentionMaskInterface.register("textbook", eager_mask)


def in_float64(model):
    """A copy that computes in float64 throughout. Rotary angles stay as float32 has them: the same for all."""
    exact = copy.deepcopy(model).double()
    exact.set_attn_implementation("textbook")
    for module in list(exact.modules()):
        for name, child in module.named_children():
            if isinstance(child, LlamaRMSNorm):  # casts to float32
                norm = torch.nn.RMSNorm(
                    child.weight.shape, child.variance_epsilon, dtype=torch.float64
                )
                norm.weight = child.weight
                setattr(module, name, norm)
    return exact


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
        """The longest sum that implementations of attention make: over a head's width or over keys."""
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


def allowed(peer, exact, terms):
    """How far a float32 computation may be from the exact one, as an absolute number for all elements.

    Two implementations of attention run the same function by the same kinds of operation; they differ in the
    order of sums, and in exp by a few units in the last place. A sum of n numbers has in any order an error
    of at most gamma(n) times the sum of their sizes (Higham 2002, section 4.2) and, since roundings are as
    good as independent, of rarely more than sqrt(n) u times it (Higham and Mary 2019); the best order still
    rounds once: u. So the errors of two orders are within a factor of sqrt(terms), and what they cause is
    passed on by the rest of the model, which is the same code, alike in both. "eager"'s own error in float32
    (peer) stands for that, measured; where it was lucky, u times the largest element stands for it."""
    largest = exact.abs().max().item()
    return math.sqrt(terms) * ((peer - exact).abs().max().item() + UNIT * largest)


def assert_as_exact(what, ours, peer, exact, terms):
    """ours, peer ("eager") in float32 against exact in float64: see `allowed`."""
    assert ours.dtype == peer.dtype == torch.float32 and exact.dtype == torch.float64, what
    assert ours.isfinite().all(), what
    error, limit = (ours - exact).abs().max().item(), allowed(peer, exact, terms)
    assert error <= limit, f"{what}: {error:.3g} from exact, allowed {limit:.3g}"
