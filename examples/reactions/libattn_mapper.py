"""rxnmapper with the attention of its model computed by libattn.

The model is an ALBERT of 12 layers with 8 heads of width 32; the mapping of a reaction's atoms is
what head 5 of layer 10 (both counted from 0) attends to (Schwaller et al. 2021). rxnmapper keeps
the weights of all heads of all layers, in order to read these. Here the weights of one head come
out of the fused pass as a view, and no others ever exist.

Everything else is rxnmapper's own: tokens, model parameters, the scoring of atoms, the answer.
"""

import sys
import warnings
from functools import reduce
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import libattn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # rxnmapper finds its model by a function that is deprecated
    from rxnmapper import RXNMapper


class Attention(torch.nn.Module):
    """Takes the place of an AlbertAttention, whose parameters it uses. All layers share it, as
    ALBERT's layers share their parameters: it is called once for each layer, in order."""

    def __init__(self, theirs, context, layers, heads):
        super().__init__()
        self.theirs, self.context = theirs, context
        self.layers, self.heads = layers, heads

    def begin(self, lengths):
        """Before each pass through the model: how many tokens of each sequence are real."""
        self.mask, self.layer, self.weights = libattn.mask(lengths=lengths), 0, {}

    def by_head(self, rows):
        """[batch, length, heads * width] as [batch, heads, length, width], where it lies."""
        return rows.unflatten(-1, (self.theirs.num_attention_heads, -1)).transpose(1, 2).numpy()

    def forward(self, hidden, *_mask_and_options):
        rows = [project(hidden) for project in self.projections()]
        output = torch.empty_like(rows[0])
        problem = libattn.problem(
            *map(self.by_head, (*rows, output)),
            mask=self.mask,
            views=self.views(*hidden.shape[:2]) if self.layer in self.layers else None,
        )
        self.context.forward(problem)
        self.layer += 1
        return (self.theirs.LayerNorm(hidden + self.theirs.dense(output)),)

    def projections(self):
        return self.theirs.query, self.theirs.key, self.theirs.value

    def views(self, batch, length):
        """A place for the weights of the chosen heads in the layer that is now computed."""
        weights = torch.empty(batch, len(self.heads), length, length)
        self.weights[self.layer] = weights
        return libattn.views(self.heads, weights=weights.numpy())


class Mapper(RXNMapper):
    """RXNMapper; threads 0: as many as OpenMP would use."""

    def __init__(self, library=libattn.LIBRARY, threads=0):
        super().__init__()
        self.model.config.output_attentions = False
        layer = self.model.encoder.albert_layer_groups[0].albert_layers[0]
        context = libattn.Library(library).context(threads)
        self.attention = Attention(layer.attention, context, self.layers, [self.head])
        layer.attention = self.attention

    def convert_batch_to_attns(self, rxn_smiles_list, force_layer=None, force_head=None):
        """For each reaction the weights [tokens, tokens], the mean over the layers asked for."""
        tokens = self.tokenizer.batch_encode_plus(
            rxn_smiles_list, padding=True, return_tensors="pt"
        )
        longest, limit = tokens.input_ids.shape[1], self.model.config.max_position_embeddings
        if longest > limit:
            raise ValueError(f"Reaction SMILES has {longest} tokens, should be at most {limit}.")

        attention = self.attention
        attention.layers = self.layers if force_layer is None else [force_layer]
        attention.heads = [self.head if force_head is None else force_head]
        lengths = tokens.attention_mask.sum(1).tolist()
        attention.begin(lengths)
        with torch.no_grad():
            self.model(**tokens)
        total = reduce(torch.Tensor.add_, attention.weights.values())
        mean = total.div_(len(attention.weights))[:, 0]
        return [weights[:n, :n] for weights, n in zip(mean, lengths)]
