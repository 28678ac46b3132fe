"""Real models with attn_implementation="attn" beside "eager", "sdpa" and float64: MiniLM, SmolLM2,
RXNMapper.

Their weights come out of installed packages (examples/models); a test whose package is missing is
skipped. SmolLM2 takes a minute to load: its tests are slow."""

import json
from importlib.util import find_spec

import bounds
import numpy as np
import pytest

for needed in ("torch", "transformers"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

import real_models  # before torch and transformers, which it tells to look at files only
import reaction_mapper
import smollm2
import torch
from exact import UNIT, allowed
from real_models import ROOT, assert_as_exact
from transformers import AttentionInterface, AttentionMaskInterface

import attn.transformers

slow = pytest.mark.slow
SAMPLES = json.loads((ROOT / "examples" / "reactions" / "reactions.json").read_text())


@pytest.fixture(scope="module", params=["minilm", "reactions", pytest.param("smollm2", marks=slow)])
def real(request):
    return real_models.load(request.param)


@pytest.fixture(scope="module")
def language_model():
    return real_models.load("smollm2")


@pytest.fixture(scope="module")
def eager(real):
    return real.run("eager")


@pytest.mark.parametrize("implementation", ["sdpa", "attn"])
def test_hidden_states(real, eager, implementation):
    """Of every layer, for every token that is not padding. sdpa too: the bound must fit it."""
    result, at = real.run(implementation), real.real()
    for layer, states in enumerate(
        zip(result.hidden_states, eager.hidden_states, real.exact.hidden_states, strict=True)
    ):
        assert_as_exact(f"hidden states {layer}", *(s[at] for s in states), real.terms())


def test_attentions(real, eager):
    """Of every layer and head; what may not be seen has weight 0, and rows of real tokens sum to
    1."""
    result, at = real.run("attn"), real.real()
    layers = list(zip(result.attentions, eager.attentions, real.exact.attentions, strict=True))
    assert len(layers) == real.model.config.num_hidden_layers
    for layer, weights in enumerate(layers):
        rows = [w.transpose(1, 2)[at] for w in weights]  # [tokens, heads, keys]
        assert_as_exact(f"attentions {layer}", *rows, real.terms())
        assert (rows[0][rows[2] == 0] == 0).all(), f"attentions {layer}: a masked key has weight"
        # A sum of n weights that are each off by a relative e is off by e and its own n u; a row of
        # weights was divided by its own sum, whose error is n u too, and each by a rounding or two.
        n = rows[0].shape[-1]
        off = (rows[0].double().sum(-1) - 1).abs().max().item()
        assert off <= (2 * n + 2) * UNIT, f"attentions {layer}: sums are {off:.3g} off 1"


@slow
def test_logits(language_model):
    ours, peer = (language_model.run(name).logits for name in ("attn", "eager"))
    assert_as_exact("logits", ours, peer, language_model.exact.logits, language_model.terms())


class Recorder:
    """An implementation of attention that is "attn", and keeps what it was given and what it
    made."""

    NAME = "attn, recorded"

    def __init__(self):
        self.calls = []
        AttentionInterface.register(self.NAME, self)
        AttentionMaskInterface.register(self.NAME, attn.transformers.attention_mask)

    def __call__(self, module, query, key, value, attention_mask, **options):
        output, weights = attn.transformers.attention_forward(
            module, query, key, value, attention_mask, **options
        )
        self.calls.append((query, key, value, options["scaling"], output.transpose(1, 2), weights))
        return output, weights


def test_each_layer_alone(real):
    """What attn made of each layer's own queries, keys and values, element by element, within the
    bound that bounds.py derives for these very numbers."""
    recorder = Recorder()
    real.run(recorder.NAME)
    assert len(recorder.calls) == real.model.config.num_hidden_layers
    at = real.real()
    visible = at[:, None, None, :].numpy()
    if real.model.config.model_type == "llama":
        length = at.shape[1]
        visible = visible & np.tri(length, dtype=bool)
    for layer, call in enumerate(recorder.calls):
        scale, (query, key, value, output, weights) = (
            call[3],
            (x.numpy() for x in call[:3] + call[4:]),
        )
        groups = query.shape[1] // key.shape[1]
        key, value = (np.repeat(x, groups, axis=1) for x in (key, value))
        scores, *expected, sizes = bounds.exact(query, key, value, scale, visible=visible)
        limits = bounds.errors(query, value, scores, expected[0], sizes, np.float32)
        for name, got, want, limit in zip(
            ("weights", "output"), (weights, output), expected, limits
        ):
            rows = at.numpy()  # of padding nobody reads
            wrong = np.abs(got - want).swapaxes(1, 2)[rows] > limit.swapaxes(1, 2)[rows]
            assert not wrong.any(), f"layer {layer}: {wrong.sum()} {name} beyond their bound"


def test_views(real, eager):
    """Views are what the weights say: entropy -sum w log w, and what each key received."""
    rows, calls = real.real(), real.views(["received_sum", "entropy"])
    assert len(calls) == real.model.config.num_hidden_layers
    for layer, views in enumerate(calls):
        received, entropy = [], []
        for weights in (eager.attentions[layer], real.exact.attentions[layer]):
            weights = weights * rows[:, None, :, None]  # queries of padding do not count
            received.append(weights.sum(2))
            entropy.append(torch.special.entr(weights).sum(-1))
        assert_as_exact(f"received {layer}", views.received_sum, *received, real.terms())
        assert_as_exact(f"entropy {layer}", views.entropy, *entropy, real.terms())


PROMPTS = ["The three most important inventions in history are", "Water boils at"]


@slow
def test_generation(language_model):
    """Token for token with the cache. Where the exact model's two best tokens are further apart
    than both computations may be off, they must choose the same: that it is so everywhere is part
    of the test."""
    model, ids = (
        language_model.model,
        language_model.tokenizer(PROMPTS[0], return_tensors="pt").input_ids,
    )
    made = {}
    for implementation in ("eager", "attn"):
        model.set_attn_implementation(implementation)
        made[implementation] = smollm2.continue_text(model, ids, 48)
    assert made["attn"].tolist() == made["eager"].tolist()

    whole = torch.cat([ids[0], made["eager"]])[None, :-1]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        exact, peer = (
            m(input_ids=whole).logits[0, ids.shape[1] - 1 :]
            for m in (language_model.exact_model, model)
        )
    best = exact.topk(2).values
    gap = (best[:, 0] - best[:, 1]).min().item()
    limit = allowed(peer, exact, max(64, whole.shape[1]))
    assert gap > 2 * limit, f"the text has a choice within rounding: {gap:.3g} against {limit:.3g}"


@slow
def test_generation_of_a_padded_batch(language_model):
    """Prompts of unequal lengths side by side, the shorter padded on the left, as generation wants
    it."""
    tokenizer, model = language_model.tokenizer, language_model.model
    inputs = tokenizer(PROMPTS, padding=True, padding_side="left", return_tensors="pt")
    assert not inputs.attention_mask.all()
    made = []
    for implementation in ("eager", "attn"):
        model.set_attn_implementation(implementation)
        made.append(
            model.generate(**inputs, do_sample=False, min_new_tokens=24, max_new_tokens=24).tolist()
        )
    assert made[0] == made[1]


def one_head(model, inputs, layer, head):
    """The head's weights as a view. ALBERT's layers share one module: its calls are the layers."""
    with attn.transformers.select(model, views=["weights"], heads=[head]) as seen, torch.no_grad():
        model(**inputs)
    return seen.history(0)[layer].weights[:, 0]


@pytest.fixture(scope="module")
def mapper():
    for package in ("rdkit", "rxn.chemutils"):
        pytest.importorskip(package)
    try:
        return reaction_mapper.mapper("attn", one_head)
    except real_models.packaged.PackageMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("sample", SAMPLES["tests"], ids=lambda sample: sample["reaction"][:24])
def test_atom_mapping(mapper, sample):
    """rxnmapper's own tests, with its own tolerance (np.isclose as it is) for confidences."""
    answer = mapper.get_attention_guided_atom_maps(
        [sample["reaction"]], canonicalize_rxns=sample["canonicalize"]
    )[0]
    assert answer["mapped_rxn"] == sample["mapped"]
    assert np.isclose(answer["confidence"], sample.get("confidence", answer["confidence"]))


def test_atom_mapping_of_a_batch(mapper):
    """Reactions of unequal lengths in one padded batch: as each alone, and as "eager" maps them."""
    reactions = SAMPLES["textbook"][:8]
    together = mapper.get_attention_guided_atom_maps(reactions)
    alone = [mapper.get_attention_guided_atom_maps([reaction])[0] for reaction in reactions]
    theirs = reaction_mapper.mapper("eager").get_attention_guided_atom_maps(reactions)
    for answers in (alone, theirs):
        assert [a["mapped_rxn"] for a in answers] == [a["mapped_rxn"] for a in together]
