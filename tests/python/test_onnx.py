"""attn.onnx: ONNX's own test cases of its Attention operator, all of each opset that the installed
onnx has, and what a model around the operator may look like.

Bounds against what the cases expect: onnx_cases.py, with u of the inputs' type. For half types that
is wide, since what is expected was rounded at every step. So each case is also held to onnx's own
evaluation of it in float64: float32's bound, plus one rounding to the type.
"""

import collections
import warnings

import attn
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import attn.onnx  # noqa: E402
from ml_dtypes import finfo  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx.reference.op_run import OpRun  # noqa: E402
from onnx_cases import Case, cases, collected  # noqa: E402

OPSETS = (23, 24, 25)
NEWEST = onnx.defs.onnx_opset_version()


def opset_of(model):
    return next(entry.version for entry in model.opset_import if entry.domain == "")


def own_opset(name):
    return opset_of(cases()[name].model)


def run(session, arrays):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return session.run(None, dict(zip(session.input_names, arrays, strict=True)))


def copied(model):
    return onnx.ModelProto.FromString(model.SerializeToString())


def as_doubles(arrays):
    return [x if x.dtype in (bool, np.int64) else x.astype(np.float64) for x in arrays]


def in_doubles(case):
    """onnx's own outputs, of the same numbers in float64.

    Its softmax is then not to be rounded, and its root of the scale, which it takes in the
    attribute's float32, has to be of 1: the queries are scaled instead.
    """
    model, arrays = copied(case.model), as_doubles(case.inputs)
    attributes = model.graph.node[0].attribute
    for attribute in [a for a in attributes if a.name == "softmax_precision"]:
        attributes.remove(attribute)
    for attribute in [a for a in attributes if a.name == "scale"]:
        arrays[0] = arrays[0] * attribute.f
        attribute.f = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that see nothing
        session = ReferenceEvaluator(model)
        return session.run(None, dict(zip(session.input_names, arrays, strict=True)))


def assert_near(case, results, expected, *, dtype, rounded_to=None):
    """results: by position; the second and third are copies of inputs."""
    scores = {"Y": case.largest_value()}
    names = [output.name for output in case.model.graph.output]
    for name, result, wanted in zip(names, results, expected, strict=True):
        assert result.shape == wanted.shape
        result, wanted = result.astype(np.float64), wanted.astype(np.float64)
        if name.startswith("present"):
            np.testing.assert_array_equal(result, wanted)
            continue
        np.testing.assert_array_equal(np.isneginf(result), np.isneginf(wanted))
        seen = np.isfinite(wanted)
        assert np.isfinite(result[seen]).all()
        bound = case.bound(dtype) * scores.get(name, 1)
        if rounded_to is not None:
            info = finfo(rounded_to)
            bound = bound + np.abs(wanted[seen]) * float(info.eps) / 2 + float(info.tiny)
        assert (np.abs(result[seen] - wanted[seen]) <= bound).all()


# --- The cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases())
def test_case_gives_what_it_expects(name):
    case = Case(name)
    results = run(attn.onnx.evaluator(case.model), case.inputs)
    for result, expected in zip(results, case.outputs, strict=True):
        assert result.dtype == expected.dtype
    assert_near(case, results, case.outputs, dtype=case.dtype)


@pytest.mark.parametrize("name", cases())
def test_case_is_near_what_float64_gives(name):
    case = Case(name)
    results = run(attn.onnx.evaluator(case.model), case.inputs)
    half = case.dtype if case.dtype.itemsize == 2 else None
    assert_near(case, results, in_doubles(case), dtype=np.float32, rounded_to=half)


def later_opsets():
    return [(name, opset) for name in cases() for opset in sorted({*OPSETS, NEWEST})
            if opset > own_opset(name)]  # fmt: skip


@pytest.mark.parametrize("name,opset", later_opsets())
def test_case_is_the_same_in_later_opsets(name, opset):
    case = Case(name)
    model = copied(case.model)
    model.opset_import[0].version = opset
    results = run(attn.onnx.evaluator(model), case.inputs)
    for later, own in zip(results, run(attn.onnx.evaluator(case.model), case.inputs), strict=True):
        np.testing.assert_array_equal(later.view(np.uint8), own.view(np.uint8))


@pytest.mark.parametrize("name", cases())
def test_case_in_float64(name):
    case = Case(name)
    session = ReferenceEvaluator(case.model, new_ops=[attn.onnx.Attention])
    results = run(session, as_doubles(case.inputs))
    assert all(result.dtype == np.float64 for result in results)
    assert_near(case, results, in_doubles(case), dtype=np.float64)


@pytest.mark.parametrize("name", [name for name in collected() if name not in cases()])
def test_expanded_cases_are_refused(name):
    model = collected()[name].model
    assert {"Softmax", "MatMul"} <= {node.op_type for node in model.graph.node}
    with pytest.raises(ValueError, match=r"^model has no Attention of the domain ai.onnx"):
        attn.onnx.evaluator(model)


def test_all_cases_are_counted():
    count = collections.Counter(map(own_opset, cases()))
    types = collections.Counter(Case(name).dtype.name for name in cases())
    modes = {Case(name).mode for name in cases()}
    assert set(count) == set(OPSETS)
    assert sum(count.values()) == sum(types.values()) >= 93
    assert types["float16"] >= 6 and types["bfloat16"] >= 5
    assert modes == {0, 1, 2, 3}
    assert len(collected()) == 2 * len(cases())  # each with its expansion


# --- Models around the operator -----------------------------------------------------------------

SHAPES = {"Q": (2, 4, 5, 8), "K": (2, 2, 7, 8), "V": (2, 2, 7, 6)}


def normal(*shape, dtype=np.float32):
    return np.random.default_rng([*shape, 1]).standard_normal(shape).astype(dtype)


def inputs(**others):
    return {name: normal(*shape) for name, shape in SHAPES.items()} | others


def node(names, outputs=("Y",), **attributes):
    return helper.make_node("Attention", list(names), list(outputs), **attributes)


def untyped(names, element=TensorProto.FLOAT):
    return [helper.make_tensor_value_info(name, element, None) for name in names]


def model_of(nodes, names, outputs=("Y",), opset=25, functions=(), domains=()):
    graph = helper.make_graph(nodes, "g", untyped(names), untyped(outputs))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=functions)


def evaluate(arrays, opset=25, outputs=("Y",), order=None, **attributes):
    order = order or list(arrays)
    model = model_of([node(order, outputs, **attributes)], arrays, filter(None, outputs), opset)
    return attn.onnx.evaluator(model).run(None, arrays)


def test_window_without_causal_is_placed_at_the_end_of_a_cache():
    arrays = inputs(lengths=np.array([5, 7]))
    order = ["Q", "K", "V", "", "", "", "lengths"]
    attributes = {"left_window_size": 2, "right_window_size": 1}
    output, weights = evaluate(arrays, order=order, outputs=("Y", "", "", "W"),
                               qk_matmul_output_mode=3, **attributes)  # fmt: skip
    places = np.arange(5) + arrays["lengths"][:, None] - 5
    distance = np.arange(7) - places[..., None]
    visible = (distance >= -2) & (distance <= 1) & (np.arange(7) < arrays["lengths"][:, None, None])
    np.testing.assert_array_equal(weights > 0, np.broadcast_to(visible[:, None], weights.shape))
    values = np.repeat(arrays["V"], 2, axis=1).astype(np.float64)
    # A sum of 7 products, whose weights add to 1: 8 roundings, each of u max|v|.
    assert np.abs(output - weights @ values).max() <= 8 * 2.0**-24 * np.abs(values).max()


@pytest.mark.parametrize("mode", [0, 1])
def test_scores_before_the_mask_are_those_of_all_pairs(mode):
    arrays = inputs(mask=np.zeros((5, 7), bool))
    scores = evaluate(arrays, outputs=("Y", "", "", "S"), is_causal=1, softcap=1.5,
                      qk_matmul_output_mode=mode)[1]  # fmt: skip
    keys = np.repeat(arrays["K"], 2, axis=1).astype(np.float64)
    expected = arrays["Q"] @ keys.swapaxes(2, 3) / np.sqrt(8)
    # A dot product and a scale, (d + 2) u sum|q k|; the cap's slope is at most 1, its own error
    # 4 u 1.5.
    bound = 10 * 2.0**-24 * (np.abs(arrays["Q"]) @ np.abs(keys.swapaxes(2, 3)) / np.sqrt(8) + 1.5)
    if mode == 1:
        expected = 1.5 * np.tanh(expected / 1.5)
    assert (np.abs(scores - expected) <= bound).all()


def test_numbers_of_a_mask_may_be_integers():
    numbers = np.arange(7) % 3
    integers = evaluate(inputs(mask=numbers.astype(np.int32)))[0]
    np.testing.assert_array_equal(integers, evaluate(inputs(mask=numbers.astype(np.float32)))[0])
    assert not np.array_equal(integers, evaluate(inputs())[0])


@pytest.mark.parametrize("attend,dtype", [(0.0, np.float32), (True, bool)])
def test_keys_beyond_a_shorter_mask_are_hidden(attend, dtype):
    arrays = inputs(mask=np.full((5, 4), attend, dtype))
    output = evaluate(arrays)[0]
    for name in ("K", "V"):
        arrays[name][:, :, 4:] = np.nan
    np.testing.assert_array_equal(output, evaluate(arrays)[0])
    assert np.isfinite(output).all()


def test_softmax_in_float64_is_computed_in_float64():
    arrays = inputs()
    doubles = evaluate({name: x.astype(np.float64) for name, x in arrays.items()})[0]
    output = evaluate(arrays, softmax_precision=TensorProto.DOUBLE)[0]
    np.testing.assert_array_equal(output, doubles.astype(np.float32))


def branches():
    """An If whose branches are attention, and a copy of the values."""
    shape = [helper.make_node("Identity", ["V"], ["other"])]
    then = helper.make_graph([node("QKV", ["seen"], name="inner")], "then", [], untyped(["seen"]))
    other = helper.make_graph(shape, "else", [], untyped(["other"]))
    return helper.make_node("If", ["which"], ["Y"], then_branch=then, else_branch=other)


def called():
    """A local function, whose scale is an attribute of its own."""
    body = node("QKV", ["Y"], name="inner")
    body.attribute.append(onnx.AttributeProto(name="scale", ref_attr_name="factor",
                                              type=onnx.AttributeProto.FLOAT))  # fmt: skip
    function = helper.make_function("local", "Look", list("QKV"), ["Y"], [body],
                                    [helper.make_opsetid("", 25)], ["factor"])  # fmt: skip
    return function, helper.make_node("Look", list("QKV"), ["Y"], domain="local", factor=0.25)


def test_attention_in_a_subgraph():
    model = model_of([branches()], ["Q", "K", "V", "which"])
    session = attn.onnx.evaluator(model, views="lse")
    for which, names in ((True, ["inner"]), (False, [])):
        output = session.run(None, inputs(which=np.array(which)))[0]
        assert [name for name, _ in session.views] == names
    np.testing.assert_array_equal(output, inputs()["V"])


def test_attention_in_a_local_function():
    function, call = called()
    model = model_of([call], "QKV", functions=[function], domains=["local"])
    session = attn.onnx.evaluator(model, views={"weights": True, "top": 2}, heads=[1, 3])
    output = session.run(None, inputs())[0]
    np.testing.assert_array_equal(output, evaluate(inputs(), scale=0.25)[0])
    ((name, views),) = session.views
    assert name == "inner"
    expected = attn.attention(*inputs().values(), scale=0.25, heads=[1, 3],
                              views={"weights": True, "top": 2})[1]  # fmt: skip
    assert list(views) == list(expected) == ["weights", "top_weights", "top_keys"]
    for view in views:
        np.testing.assert_array_equal(views[view], expected[view])


def test_views_are_those_of_the_last_run():
    model = model_of([node("QKV", ["first"]), node(["Q", "K", "V"], ["Y"], is_causal=1)], "QKV")
    session = attn.onnx.evaluator(model, views="argmax")
    for _ in range(2):
        session.run(None, inputs())
        assert [name for name, _ in session.views] == ["first", "Y"]
    first, causal = (views.argmax for _, views in session.views)
    assert (causal <= np.arange(5)).all() and (first > np.arange(5)).any()


def test_models_come_as_files_and_bytes(tmp_path):
    values = onnx.numpy_helper.from_array(inputs()["V"], "V")
    model = model_of([node("QKV")], "QK")
    model.graph.initializer.append(values)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").stat().st_size >= values.ByteSize() - 100
    arrays = {name: inputs()[name] for name in "QK"}
    expected = evaluate(inputs())[0]
    for source in (path, str(path), onnx.load(path).SerializeToString()):
        np.testing.assert_array_equal(attn.onnx.evaluator(source).run(None, arrays)[0], expected)


def test_other_new_operators_may_be_given():
    class Double(OpRun):
        op_domain = "mine"

        def _run(self, x):
            return (2 * x,)

    twice = helper.make_node("Double", ["Y"], ["Z"], domain="mine")
    model = model_of([node("QKV"), twice], "QKV", ["Z"], domains=["mine"])
    output = attn.onnx.evaluator(model, new_ops=[Double]).run(None, inputs())[0]
    np.testing.assert_array_equal(output, 2 * evaluate(inputs())[0])


# --- Errors -------------------------------------------------------------------------------------

CACHE = {"past_key": normal(2, 2, 3, 8), "past_value": normal(2, 2, 3, 6)}
PAST_ORDER = ["Q", "K", "V", "", "past_key", "past_value"]
LENGTH_ORDER = ["Q", "K", "V", "", "", "", "lengths"]


def flat(**others):
    return {"Q": normal(2, 5, 32), "K": normal(2, 7, 16), "V": normal(2, 7, 12)} | others


REFUSED = [
    (inputs(), {"opset": 22}, "Attention came with opset 23: the model imports 22"),
    (inputs(lengths=np.array([5, 7])), {"opset": 23, "order": LENGTH_ORDER},
     "nonpad_kv_seqlen came with opset 24"),
    (inputs(), {"opset": 24, "left_window_size": 2}, "windows came with opset 25"),
    (inputs(), {"left_window_size": -2}, "left_window_size is -2: expected -1"),
    (inputs(), {"q_num_heads": 4}, "q_num_heads is 4: Q has 4 dimensions"),
    (inputs(), {"opset": 23, "kv_num_heads": 3}, "kv_num_heads is 3: K has 4 dimensions"),
    (flat(), {"q_num_heads": 4}, "kv_num_heads is None: expected a number of heads"),
    (flat(), {"q_num_heads": 5, "kv_num_heads": 2},
     "Q has a last dimension of 32: expected a multiple of 5"),
    (inputs(Q=normal(2, 5, 32)), {}, r"Q, K and V have \[3, 4\] dimensions"),
    (inputs(Q=normal(*SHAPES["Q"]).astype(np.int32)), {}, "Q has elements of the type int32"),
    (inputs(past_key=CACHE["past_key"]), {"order": PAST_ORDER[:5]}, "past_key is alone"),
    (inputs(**CACHE, lengths=np.array([5, 7])), {"order": [*PAST_ORDER, "lengths"]},
     "nonpad_kv_seqlen and past_key: expected at most one"),
    (inputs(**CACHE | {"past_key": normal(2, 3, 3, 8)}), {"order": PAST_ORDER},
     r"past_key has the shape \(2, 3, 3, 8\): expected \(2, 2, 'past_sequence_length', 8\)"),
    (inputs(lengths=np.array([5, 8])), {"order": LENGTH_ORDER},
     r"nonpad_kv_seqlen\[1\] is 8: expected 0 to 7"),
    (inputs(lengths=np.array([5])), {"order": LENGTH_ORDER},
     r"nonpad_kv_seqlen has the shape \(1,\): expected \(2,\)"),
    (inputs(mask=normal(5, 8)), {}, r"attn_mask has the shape \(5, 8\): .* at most 7 keys"),
    (inputs(), {"softcap": -1.0}, "softcap is -1.0: expected 0, for none, or above"),
    (inputs(), {"softmax_precision": 7}, "softmax_precision is 7: expected"),
    (inputs(), {"qk_matmul_output_mode": 4, "outputs": ("Y", "", "", "S")},
     "qk_matmul_output_mode is 4: expected 0 to 3"),
]  # fmt: skip


@pytest.mark.parametrize("arrays,given,sentence", REFUSED, ids=[row[2][:30] for row in REFUSED])
def test_what_is_wrong_is_named(arrays, given, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        evaluate(arrays, **given)


def test_models_without_the_operator_are_refused():
    other = helper.make_node("MultiHeadAttention", list("QKV"), ["Y"], domain="com.microsoft")
    with pytest.raises(
        ValueError, match="only com.microsoft.MultiHeadAttention: expected at least one"
    ):
        attn.onnx.evaluator(model_of([other], "QKV", domains=["com.microsoft"]))
    with pytest.raises(TypeError, match="^model is a NodeProto: expected a ModelProto"):
        attn.onnx.evaluator(other)
