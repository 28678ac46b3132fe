"""A model's exact results, by the textbook in float64, and how far float32 may be from them."""

import copy
import math

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import LlamaRMSNorm

UNIT = 2.0**-24  # of float32


def textbook_attention(module, query, key, value, attention_mask, scaling, **_):
    """softmax(scaling query key^T + mask) value in the type of its inputs. ("eager" of some models
    goes through float32 in between, also in a model of float64.)"""
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
    """A copy that computes in float64 throughout. Rotary angles stay as float32 has them: the same
    for all."""
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


def allowed(peer, exact, terms):
    """How far a float32 computation may be from the exact one, as an absolute number for all
    elements.

    Two implementations of attention run the same function by the same kinds of operation; they
    differ in the order of sums, and in exp by a few units in the last place. A sum of n numbers has
    in any order an error of at most gamma(n) times the sum of their sizes (Higham 2002, section
    4.2) and, since roundings are as good as independent, of rarely more than sqrt(n) u times it
    (Higham and Mary 2019); the best order still rounds once: u. So the errors of two orders are
    within a factor of sqrt(terms), and what they cause is passed on by the rest of the model, which
    is the same code, alike in both. "eager"'s own error in float32 (peer) stands for that,
    measured; where it was lucky, u times the largest element stands for it."""
    largest = exact.abs().max().item()
    return math.sqrt(terms) * ((peer - exact).abs().max().item() + UNIT * largest)
