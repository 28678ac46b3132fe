"""A model whose attention weights are the product: RXNMapper, an ALBERT of 12 layers with 8 heads
of 32.

It learned to fill in masked tokens of chemical reactions; head 5 of layer 10 (both counted from 0)
turned out to look from each atom to where it came from (Schwaller et al. 2021, Science Advances 7,
eabe4166; MIT). The package wants transformers below 5, for its tokenizer alone: here the tokenizer
is made of its vocabulary, and its model loaded by any transformers that has an AlbertModel."""

import re
import warnings

import packaged
import torch
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

MODEL = packaged.Packaged(
    distribution="rxnmapper",
    version="0.4.3",
    folder="rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
    file="pytorch_model.bin",
    sha256="8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2",
    licence="MIT",
)
MAX_TOKENS = 512
LAYER, HEAD = 10, 5
# A token of a SMILES string: an atom, a bond, a branch, a ring closure. As in the package.
SMILES_TOKEN = (
    r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$"
    r"|\%[0-9]{2}|[0-9]"
)


def make_tokenizer(vocabulary):
    """vocabulary: its lines, a token each, in the order of their ids."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    smiles = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    # What does not match (nothing, in valid SMILES) is dropped, as re.findall drops it.
    smiles.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES_TOKEN), "removed", invert=True)
    ends = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    smiles.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    names = {name: f"[{name[:-6].upper()}]" for name in
             ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")}  # fmt: skip
    return transformers.PreTrainedTokenizerFast(tokenizer_object=smiles, **names)


def load(implementation, dtype=torch.float32):
    """(model, tokenizer); implementation: transformers' attn_implementation."""
    packaged.quiet()
    vocabulary = (MODEL.path() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    model = transformers.AlbertModel.from_pretrained(
        MODEL.path(), attn_implementation=implementation, dtype=dtype
    )
    return model.eval(), make_tokenizer(vocabulary)


def tokens(tokenizer, reactions):
    """Inputs of the model, [reactions, longest], with the mask of the padding. ValueError: too
    long."""
    inputs = tokenizer(reactions, padding=True, return_tensors="pt", return_token_type_ids=False)
    if inputs.input_ids.shape[1] > MAX_TOKENS:
        raise ValueError(f"a reaction has {inputs.input_ids.shape[1]} tokens, at most {MAX_TOKENS}")
    return inputs


@torch.no_grad()
def all_weights(model, inputs, layer, head):
    """One head's weights [reactions, tokens, tokens], out of those of all heads of all layers."""
    return model(**inputs, output_attentions=True).attentions[layer][:, head]


def mapper(implementation, weights=all_weights):
    """rxnmapper's own RXNMapper on this model, from reaction to numbered atoms.

    weights(model, inputs, layer, head) -> [reactions, tokens, tokens]: how the one head's weights
    are had. Needs rdkit and rxn-chem-utils beside the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it finds its model by a function that is deprecated
        from rxnmapper import RXNMapper

    class Mapper(RXNMapper):
        def _load_model_and_tokenizer(self):
            return load(implementation)

        def tokenize_for_model(self, rxn):  # the text of each, also of those that are [UNK]
            return ["[CLS]", *re.findall(SMILES_TOKEN, rxn), "[SEP]"]

        def convert_batch_to_attns(self, rxn_smiles_list, force_layer=None, force_head=None):
            inputs = tokens(self.tokenizer, rxn_smiles_list)
            layer = self.layers[0] if force_layer is None else force_layer
            head = self.head if force_head is None else force_head
            lengths = inputs.attention_mask.sum(1).tolist()
            of_batch = weights(self.model, inputs, layer, head)
            return [of_one[:n, :n] for of_one, n in zip(of_batch, lengths)]

    return Mapper()
