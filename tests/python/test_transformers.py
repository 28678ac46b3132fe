"""attn.transformers beside transformers' own "eager": models, masks, selections, caches, training.

The bounds of whole models are measured for each one, see families.py. ATTN_TEST_FULL=1 runs every
family of the installed transformers, which takes half an hour.
"""

import os

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.24")

import attn.transformers  # noqa: E402
import families  # noqa: E402
from attn._transformers_masks import RuleMask, attention_mask  # noqa: E402
from attn.torch import scaled_dot_product_attention  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from transformers import masking_utils as hf  # noqa: E402

transformers.logging.set_verbosity_error()
EPS = torch.finfo(torch.float32).eps

# Family -> whether it must generate. Encoders, decoders, both, vision; grouped queries, windows,
# soft caps, sinks, position biases, latent attention, scales of their own.
torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

FEW = {
    "bert": True,
    "distilbert": False,
    "gpt2": True,
    "opt": True,
    "llama": True,
    "mistral": True,
    "qwen2": True,
    "gemma2": True,
    "gemma3": True,
    "gpt_oss": True,
    "deepseek_v3": True,
    "t5": True,
    "bart": True,
    "whisper": True,
    "vit": False,
    "clip": False,
    "modernbert": False,
}


def config_of(model_type, **fields):
    sizes = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "vocab_size": 99,
    }
    config = transformers.CONFIG_MAPPING[model_type](hidden_size=32, **{**sizes, **fields})
    return config


def llama(implementation="attn", **fields):
    torch.manual_seed(0)
    config = config_of("llama", num_key_value_heads=2, **fields)
    return transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=implementation
    ).eval()


def bert(implementation="attn", **fields):
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(
        config_of("bert", **fields), attn_implementation=implementation
    ).eval()


def tokens(batch=2, length=12):
    return torch.randint(3, 99, (batch, length), generator=torch.Generator().manual_seed(1))


# --- Families
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FEW)
def test_family(family):
    report = families.check(family)
    assert report.passed, report
    assert report.attentions > 0
    assert bool(report.generated) == FEW[family], report


@pytest.mark.parametrize("family", ["llama", "bert", "bart"])
def test_harness_holds_sdpa_to_eager(family):
    assert families.check(family, "sdpa").passed


def test_harness_sees_a_wrong_mask(monkeypatch):
    """The bound is narrow: a window that is one key too wide does not pass."""
    read = attn._transformers_masks._Reading.narrow
    monkeypatch.setattr(
        attn._transformers_masks._Reading,
        "narrow",
        lambda self, left, right=None: read(self, left + 1, right),
    )
    report = families.check("mistral")
    assert any("is off by" in problem for problem in report.problems), report


@pytest.mark.skipif(
    not os.environ.get("ATTN_TEST_FULL"), reason="ATTN_TEST_FULL=1 runs all families"
)
@pytest.mark.parametrize("family", families.family_names())
def test_every_family(family):
    report = families.check_apart(family)
    assert not report.problems, report
    if not report.passed:
        pytest.skip("; ".join(report.not_run)[:200])


# --- Masks
# ----------------------------------------------------------------------------------------------


def padding(*rows):
    return torch.tensor([[c == "1" for c in row] for row in rows])


_CHUNKS = hf.chunked_causal_mask_function(3, torch.tensor([0, 2]))
_IDS = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2], [0, 0, 0, 0, 0, 1, 1, 1]])
_POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 2, 3, 4, 0, 1, 2]])
_PACKED = hf.and_masks(
    hf.remap_positions_for_packed_sequence(hf.sliding_window_causal_mask_function(3), _POSITIONS),
    hf.packed_sequence_mask_function(_IDS),
)
RULES = {
    "causal": (8, 8, 0, 0, hf.causal_mask_function, None),
    "causal, right padding": (8, 8, 0, 0, hf.causal_mask_function, padding("11111111", "11111000")),
    "causal, left padding": (8, 8, 0, 0, hf.causal_mask_function, padding("11111111", "00011111")),
    "causal, holes": (8, 8, 0, 0, hf.causal_mask_function, padding("10111011", "11011111")),
    "both ways": (8, 6, 0, 0, hf.bidirectional_mask_function, padding("111111", "111100")),
    "window": (8, 8, 0, 0, hf.sliding_window_causal_mask_function(3), None),
    "window both ways": (
        8,
        8,
        0,
        0,
        hf.sliding_window_bidirectional_mask_function(2),
        padding("11111111", "11110000"),
    ),
    "after a cache": (3, 8, 5, 0, hf.causal_mask_function, padding("11111111", "00111111")),
    "one token": (1, 8, 7, 0, hf.causal_mask_function, None),
    "static cache": (3, 16, 2, 0, hf.causal_mask_function, padding("11111", "01111")),
    "sliding cache": (
        2,
        5,
        9,
        6,
        hf.sliding_window_causal_mask_function(4),
        padding("1" * 11, "0" * 8 + "1" * 3),
    ),
    "chunks": (8, 8, 0, 0, _CHUNKS, padding("11111111", "00111111")),
    "chunks after a cache": (2, 8, 6, 0, _CHUNKS, padding("11111111", "00111111")),
    "packed": (8, 8, 0, 0, _PACKED, None),
}


def make_mask(case, **kwargs):
    n_query, n_key, query_offset, key_offset, function, real = case
    return attention_mask(
        batch_size=2,
        q_length=n_query,
        kv_length=n_key,
        q_offset=query_offset,
        kv_offset=key_offset,
        mask_function=function,
        attention_mask=real,
        **kwargs,
    )


@pytest.mark.parametrize("name", RULES)
def test_rules_say_what_the_booleans_say(name):
    """The weights are the same bits: what is hidden reaches nothing, however it is said."""
    case = RULES[name]
    mask = make_mask(case)
    assert isinstance(mask, RuleMask)
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, case[0], 8), torch.randn(2, 2, case[1], 8)
    _, by_rules = scaled_dot_product_attention(
        query, key, key, return_weights=True, **mask.rules.options()
    )
    allowed = mask.allowed()
    assert mask._dense is None and allowed.dtype == torch.bool
    _, by_booleans = scaled_dot_product_attention(
        query, key, key, attn_mask=allowed, return_weights=True
    )
    assert torch.equal(by_rules > 0, allowed.expand_as(by_rules))
    assert torch.equal(by_rules, by_booleans)


def test_unreadable_mask_functions_stay_booleans():
    either = hf.or_masks(hf.causal_mask_function, hf.blockwise_overlay(_IDS))
    other = hf.and_masks(hf.causal_mask_function, lambda b, h, q, k: k != 3)
    unpacked = hf.remap_positions_for_packed_sequence(hf.causal_mask_function, _POSITIONS)
    for function in (either, other, unpacked):
        mask = make_mask((8, 8, 0, 0, function, None))
        assert mask.rules is None
        expected = hf.sdpa_mask(2, 8, 8, mask_function=function, allow_is_causal_skip=False)
        assert torch.equal(mask.options["attn_mask"], expected)


def test_no_mask_where_nothing_is_hidden():
    """As eager's: only where the caller allows it, and never for the causal rule."""
    whole, skip = padding("11111111", "11111111"), {"allow_is_bidirectional_skip": True}
    for real in (None, whole):
        both = (8, 8, 0, 0, hf.bidirectional_mask_function, real)
        assert make_mask(both, **skip) is None
        assert make_mask(both).rules.hide_nothing()
    for name in ("both ways", "window both ways", "causal", "packed"):
        assert isinstance(make_mask(RULES[name], **skip), RuleMask)


def test_a_rule_mask_is_eagers_mask_to_everyone_else():
    n_query, n_key, query_offset, key_offset, function, real = RULES["causal, left padding"]
    dense = hf.eager_mask(2, n_query, n_key, mask_function=function, attention_mask=real)
    mask, scores = make_mask(RULES["causal, left padding"]), torch.randn(2, 4, 8, 8)
    assert mask.shape == dense.shape and mask.dtype == dense.dtype == torch.float32
    for function in (
        lambda m: m[:, :, -2:, :3],
        lambda m: scores + m,
        lambda m: torch.where(m == 0, 0.0, -1.0),
        lambda m: torch.cat([m, torch.zeros(2, 1, 8, 2)], -1),
        lambda m: m.to(torch.float64),
    ):
        assert torch.equal(function(mask), function(dense))


def test_rules_do_not_outlive_a_write():
    kept, sliced, written = (make_mask(RULES["causal"]) for _ in range(3))
    _ = kept + 1
    assert kept.untouched and "is_causal" in kept.options
    sliced[..., 0] = 7.0
    assert not sliced.untouched and (sliced.options["attn_mask"][..., 0] == 7.0).all()
    written.zero_()
    assert not written.untouched and not written.options["attn_mask"].any()


class NoSquares(TorchDispatchMode):
    """Fails at a tensor of n * n elements or more."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and not isinstance(tensor, RuleMask):
                held = tensor.untyped_storage().nbytes() // tensor.element_size()
                assert held < self.n * self.n, f"{func} makes {tuple(tensor.shape)}"
        return result


@pytest.mark.parametrize("kind", ["llama", "mistral", "bert"])
def test_no_square_is_made(kind):
    """Causal rule, window and padding, with views: nothing of n * n elements (n is 8 widths of the
    model)."""
    n, kinds = (
        512,
        {"llama": {}, "bert": {}, "mistral": {"num_key_value_heads": 2, "sliding_window": 100}},
    )
    config = config_of(kind, max_position_embeddings=n, **kinds[kind])
    model = transformers.AutoModel.from_config(config, attn_implementation="attn").eval()
    ids, mask = tokens(1, n), torch.ones(1, n, dtype=torch.long)
    mask[0, -9:] = 0
    with attn.transformers.select(model, views=["received_mean", "entropy", ("top", 3)]) as seen:
        with torch.no_grad(), NoSquares(n):
            model(ids, attention_mask=mask)
    assert len(seen) == 2
    with pytest.raises(AssertionError, match="makes"), torch.no_grad(), NoSquares(n):
        model(ids, attention_mask=mask, output_attentions=True)


def test_packed_sequences_are_apart():
    """By position ids, as transformers finds them; bound: as of the two sequences' own differences
    to eager."""
    model = llama()
    ids = tokens(1, 12)
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]])
    packed = model(ids, position_ids=positions, use_cache=False).logits[0]
    apart = torch.cat([model(ids[:, :5]).logits[0], model(ids[:, 5:]).logits[0]])
    # Other lengths are summed in another order: scores of width 8, two layers, logits of at most 1.
    assert (packed - apart).abs().max() < 100 * EPS


# --- The attention function
# -----------------------------------------------------------------------------


class Module(torch.nn.Module):
    is_causal = False


def call(module=None, batch=2, **kwargs):
    torch.manual_seed(0)
    query, key = torch.randn(batch, 4, 6, 8), torch.randn(batch, 2, 6, 8)
    mask = kwargs.pop("mask", None)
    return attn.transformers.attention_forward(
        module or Module().eval(), query, key, key, mask, **kwargs
    )


@pytest.mark.parametrize("name", ["head_mask", "rel_pos", "block_indices", "cu_seqlens"])
def test_what_it_does_not_know_is_refused(name):
    with pytest.raises(ValueError, match=f"Module passes {name}="):
        call(**{name: torch.ones(1)})
    call(**{name: None})


def test_causal_without_a_mask():
    """Only if the call says so, and never for one query; as eager, not what the module says."""
    causal, both = call(is_causal=True)[0], call(is_causal=False)[0]
    assert not torch.equal(causal, both)
    module = Module().eval()
    module.is_causal = True
    assert torch.equal(call(module)[0], both)
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 6, 8)
    one, _ = attn.transformers.attention_forward(module, query, key, key, None, is_causal=True)
    assert torch.equal(one, scaled_dot_product_attention(query, key, key).transpose(1, 2))


def test_bias_and_float_mask_add_up():
    bias, mask = torch.randn(1, 4, 6, 6), torch.randn(2, 1, 6, 6)
    assert torch.equal(call(position_bias=bias, mask=mask)[0], call(position_bias=bias + mask)[0])


def test_sink_per_query_is_a_sink():
    sinks = torch.randn(4)
    output, weights = call(s_aux=sinks, output_attentions=True)
    output_q, weights_q = call(
        sinks=sinks[None, :, None, None].expand(2, 4, 6, 1), output_attentions=True
    )
    assert weights_q.shape == weights.shape == (2, 4, 6, 6)
    # The same sum in another order: n + 1 terms, each off by an eps, weights of at most 1, values
    # of at most 4.
    assert (weights - weights_q).abs().max() < 16 * EPS
    assert (output - output_q).abs().max() < 64 * EPS
    assert (weights.sum(-1) < 1).all()


def test_indices_are_the_only_keys():
    indices = torch.tensor([0, 3, -1]).expand(2, 6, 3)
    _, weights = call(indices=indices, output_attentions=True)
    assert torch.equal(weights > 0, torch.tensor([1, 0, 0, 1, 0, 0]).bool().expand_as(weights))


def test_packing_by_starts():
    starts = torch.tensor([0, 2, 6], dtype=torch.int32)
    _, weights = call(batch=1, cu_seq_lens_q=starts, cu_seq_lens_k=starts, output_attentions=True)
    ids = torch.tensor([0, 0, 1, 1, 1, 1])
    assert torch.equal(weights > 0, (ids[:, None] == ids).expand_as(weights))


# --- output_attentions
# ----------------------------------------------------------------------------------


def test_output_attentions_in_the_config(tmp_path):
    config = config_of("bert", attn_implementation="attn", output_attentions=True)
    model = transformers.AutoModel.from_config(config, attn_implementation="attn").eval()
    assert len(model(tokens()).attentions) == 2
    model.save_pretrained(tmp_path)
    again = transformers.AutoModel.from_pretrained(
        tmp_path, attn_implementation="attn", output_attentions=True
    )
    assert len(again.eval()(tokens()).attentions) == 2
    again.config.output_attentions = False
    assert again(tokens()).get("attentions") is None
    again.config.output_attentions = True
    with pytest.raises(ValueError, match="not supported"):
        model.set_attn_implementation("sdpa")
        model.config.output_attentions = True


def test_weights_only_where_asked(monkeypatch):
    model, asked = bert(), []
    inner = attn.transformers.scaled_dot_product_attention
    monkeypatch.setattr(
        attn.transformers,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: (
            asked.append(kwargs.get("return_weights", False)) or inner(*args, **kwargs)
        ),
    )
    model(tokens())
    model(tokens(), output_attentions=True)
    assert asked == [False, False, True, True]


# --- Selections
# -----------------------------------------------------------------------------------------


def attentions_of(model, ids, **kwargs):
    return model(ids, output_attentions=True, **kwargs).attentions


def test_selection_is_views_of_the_attentions():
    model, ids = llama(), tokens()
    expected = attentions_of(model, ids)
    with attn.transformers.select(
        model, layers=[-1], heads=[1, 3], views=["received_sum", "weights"], rows=-2
    ) as seen:
        output = model(ids).logits
    assert list(seen) == ["model.layers.1.self_attn"] and len(seen[1].weights[0]) == 2
    assert torch.equal(seen[-1].weights, expected[1][:, [1, 3], -2:])
    # A sum of 12 weights of at most 1, in another order.
    assert (seen[-1].received_sum - expected[1][:, [1, 3]].sum(-2)).abs().max() < 12 * 12 * EPS
    assert torch.equal(output, model(ids).logits)
    assert len(seen.history(-1)) == 1  # closed: later calls are not collected


def test_selection_by_names_and_heads_of_each_layer():
    torch.manual_seed(0)
    config = transformers.BartConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        vocab_size=99,
    )
    model = transformers.BartModel._from_config(config, attn_implementation="attn").eval()
    names = list(attn.transformers.attention_layers(model))
    assert names[0] == "encoder.layers.0.self_attn" and len(names) == 6
    ids = tokens()
    seen = attn.transformers.select(
        model, heads={"decoder.*.encoder_attn": [2], 0: [0, 1]}, views="weights"
    )
    outputs = model(ids, decoder_input_ids=ids[:, :7], output_attentions=True)
    seen.close()
    assert set(seen) == {names[0], "decoder.layers.0.encoder_attn", "decoder.layers.1.encoder_attn"}
    assert torch.equal(
        seen["decoder.layers.1.encoder_attn"].weights, outputs.cross_attentions[1][:, [2]]
    )
    assert torch.equal(seen[0].weights, outputs.encoder_attentions[0][:, :2])
    with pytest.raises(KeyError):
        seen["decoder.layers.0.self_attn"]


def test_selection_leaves_out_right_padding():
    """Queries of padding receive nothing and give nothing to means; outputs stay as they were."""
    model, ids = bert(), tokens()
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    before = model(ids, attention_mask=mask)[0]
    with attn.transformers.select(model, layers=0, views=["received_mean"]) as seen:
        assert torch.equal(model(ids, attention_mask=mask)[0], before)
    alone = attentions_of(model, ids[1:, :7])[0].mean(-2)
    assert (seen[0].received_mean[1, :, :7] - alone[0]).abs().max() < 100 * EPS
    assert not seen[0].received_mean[1, :, 7:].any()


def test_selection_of_a_generation():
    model, ids = llama(), tokens(1)
    with attn.transformers.select(model, layers=[0], views=["argmax"], keep=3) as seen:
        model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert [views.argmax.shape[-1] for views in seen.history(0)] == [1, 1, 1]
    seen.clear()
    assert len(seen) == 0


def test_selection_refuses():
    model = llama()
    with pytest.raises(ValueError, match="no attention layer 2"):
        attn.transformers.select(model, layers=[2], views=["lse"])
    with pytest.raises(ValueError, match="no attention layer 'decoder"):
        attn.transformers.select(model, layers="decoder.*", views=["lse"])
    with pytest.raises(ValueError, match="says the layers already"):
        attn.transformers.select(model, layers=[0], heads={0: [1]}, views=["lse"])
    with pytest.raises(ValueError, match="another attention"):
        attn.transformers.select(llama("sdpa"), views=["lse"])
    with attn.transformers.select(model, layers=[0], views=["lse"]):
        with pytest.raises(ValueError, match="has a selection already"):
            attn.transformers.select(model, views=["lse"])
    attn.transformers.select(model, views=["lse"]).close()


# --- Caches, training, types
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "mistral"])
def test_caches_generate_the_same_tokens(kind, cache):
    """Prompts of which one is padded on the left, past the window."""
    window = {} if kind == "llama" else {"sliding_window": 4}
    config = config_of(kind, num_key_value_heads=2, head_dim=8, **window)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager"
    ).eval()
    ids, mask = tokens(), torch.ones(2, 12, dtype=torch.long)
    mask[1, :3] = 0
    made = []
    for implementation in ("eager", "attn"):
        model.set_attn_implementation(implementation)
        made.append(
            model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=12,
                min_new_tokens=12,
                do_sample=False,
                cache_implementation=cache,
            )
        )
    assert torch.equal(*made) and made[0].shape == (2, 24)


def loss_and_gradients(model, ids, checkpointing=False):
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.zero_grad()
    loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return loss.item(), gradients


def test_gradients_are_eagers():
    """In float64, where eager keeps float32 in its softmax alone: relative errors of a few hundred
    float32 eps."""
    model, ids = llama("eager").double(), tokens()
    loss, expected = loss_and_gradients(model, ids)
    model.set_attn_implementation("attn")
    for checkpointing in (False, True):
        again, got = loss_and_gradients(model, ids, checkpointing)
        assert abs(again - loss) < 100 * EPS * abs(loss)
        assert (got - expected).norm() < 100 * EPS * expected.norm()
    model.set_attn_implementation("sdpa")  # as near as another implementation is, or nearer
    _, sdpa = loss_and_gradients(model, ids)
    assert (got - sdpa).norm() <= 2 * (expected - sdpa).norm()


def test_dropout_follows_torchs_seed():
    model, ids = llama(attention_dropout=0.5).train(), tokens()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(ids, labels=ids).loss.item())
    assert losses[0] == losses[1] != losses[2]
    torch.manual_seed(1)
    plain = loss_and_gradients(model, ids)
    torch.manual_seed(1)
    assert torch.equal(loss_and_gradients(model, ids, checkpointing=True)[1], plain[1])
    weights = attentions_of(model, ids)[0]
    hidden = (weights == 0) & torch.ones(12, 12).tril().bool()
    # Of 2 * 4 * 78 weights half are dropped: 312, standard deviation sqrt(624) / 2 = 12.5; six of
    # them.
    assert abs(hidden.sum().item() - 312) < 75
    assert torch.equal(model.eval()(ids).logits, model(ids).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types(dtype):
    """As near to float32 as eager in the same type is: attention is computed in float32 here, in
    halves there."""
    ids = tokens()
    exact = llama("eager")(ids).logits
    eager, got = (llama(name).to(dtype)(ids).logits for name in ("eager", "attn"))
    assert got.dtype == dtype
    # Most of the error is the other layers', the same in both; twice covers how roundings fall.
    assert (got - exact).abs().max() <= 2 * (eager - exact).abs().max()
    weights = attentions_of(llama().to(dtype), ids)[0]
    assert weights.dtype == dtype


def test_parts_of_a_model_may_differ():
    config = transformers.CLIPConfig(
        text_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "vocab_size": 99,
        },
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
    )
    model = transformers.CLIPModel._from_config(
        config, attn_implementation={"text_config": "attn", "vision_config": "sdpa"}
    )
    implementations = {
        name: module.config._attn_implementation
        for name, module in attn.transformers.attention_layers(model).items()
    }
    assert set(implementations.values()) == {"attn", "sdpa"}
    with pytest.raises(ValueError, match="vision_model"):
        attn.transformers.select(model, views=["lse"])
    attn.transformers.select(model, layers="text_model.*", views=["lse"]).close()


@pytest.mark.parametrize("make", [llama, bert])
def test_compiles_whole(make):
    """One graph, no break: the mask is then eager's tensor, attention the same."""
    model, ids = make(), tokens()
    with torch.no_grad():
        plain = model(ids)[0]
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(ids)[0]
    # Decomposed operations of the other layers round otherwise; attention itself is the same call.
    assert (compiled - plain).abs().max() < 100 * EPS * plain.abs().max()


def test_refuses_paged_caches():
    """Continuous batching hands on what attn does not know."""
    with pytest.raises(ValueError, match="block_table"):
        call(block_table=torch.zeros(1, dtype=torch.int32))
