"""attn.attention over NumPy arrays: what goes in and comes out, beside the formula and beside the
textbook function. That the numbers of every score, mask and view are right is tested in C; here, that
each option reaches the library and each result comes back."""

import itertools
import multiprocessing
import threading

import attn
import bounds
import numpy as np
import pytest

RANKS = {2: (), 3: (3,), 4: (2, 3)}


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def problem(rank=4, n=7, m=9, d=8, d_value=5, dtype=np.float32):
    lead = RANKS[rank]
    return (normal(*lead, n, d, dtype=dtype, seed=1), normal(*lead, m, d, dtype=dtype, seed=2),
            normal(*lead, m, d_value, dtype=dtype, seed=3))  # fmt: skip


# --- The formula --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("n,m,d", [(1, 1, 1), (7, 9, 8), (65, 130, 64), (3, 300, 33)])
def test_output_and_weights_are_the_formulas(rank, n, m, d, dtype):
    q, k, v = problem(rank, n, m, d, dtype=dtype)
    output, weights = attn.attention(q, k, v, views="weights")
    scores, w, o, sizes = bounds.exact(q, k, v)
    of_weights, of_output = bounds.errors(q, v, scores, w, sizes, dtype)
    assert output.dtype == weights.dtype == dtype
    assert (np.abs(weights - w) <= of_weights).all()
    assert (np.abs(output - o) <= of_output).all()


def test_grouped_heads_share_keys():
    q, k, v = normal(2, 6, 4, 8), normal(2, 2, 5, 8, seed=1), normal(2, 2, 5, 8, seed=2)
    repeated = attn.attention(q, k.repeat(3, 1), v.repeat(3, 1))
    np.testing.assert_array_equal(attn.attention(q, k, v), repeated)
    # Fewer dimensions: one head for all.
    one = attn.attention(q, k[:, :1], v[:, :1])
    np.testing.assert_array_equal(attn.attention(q[0], k[0, 0], v[0, 0]), one[0])


# --- Every option reaches the library -----------------------------------------------------------

Q, K, V = problem()
HEADS = Q.shape[1]
PACKED = problem(n=10, m=10)
OPTIONS = {
    "scale": {"scale": 0.3},
    "scale 0": {"scale": 0.0},
    "softcap": {"softcap": 1.5},
    "bias": {"bias": normal(7, 9)},
    "bias of a list": {"bias": [[0.1 * j * j for j in range(9)]]},
    "bias in float64": {"bias": normal(2, 1, 7, 9, dtype=np.float64)},
    "slopes": {"alibi_slopes": normal(HEADS)},
    "slopes of each sequence": {"alibi_slopes": normal(2, HEADS)},
    "sinks": {"sinks": normal(HEADS)},
    "scales": {"scales": normal(HEADS)},
    "general": {"score": "general", "weight": normal(8, 8)},
    "general, a head each": {"score": "general", "weight": normal(HEADS, 8, 8)},
    "additive": {"score": "additive", "weight": normal(8), "offset": normal(8, seed=4)},
    "additive, a head each": {"score": "additive", "weight": normal(HEADS, 8)},
    "additive, normalised": {"score": "additive", "weight": normal(8), "normalize_weight": True},
    "concat": {"score": "concat", "weight": normal(6), "projection": normal(6, 16)},
    "cosine": {"score": "cosine", "scale": 5.0},
    "gaussian": {"score": "gaussian"},
    "location": {"score": "location", "weight": normal(9, 8)},
    "custom": {"score": "custom", "bias": normal(7, 9)},
    "relative keys": {"relative": attn.Relative(keys=normal(5, 8), values=normal(5, 5))},
    "relative bias": {"relative": attn.Relative(bias=normal(HEADS, 8), buckets="t5")},
    "relative, far": {
        "relative": attn.Relative(bias=normal(8), buckets="t5-causal", max_distance=20)
    },
    "relative origin": {"relative": attn.Relative(bias=normal(8), origin=7)},
    "transformer-xl": {
        "relative": attn.Relative(
            keys=normal(17, 8), content_bias=normal(HEADS, 8), position_bias=normal(8)
        )
    },
    "location-aware": {
        "score": "additive",
        "weight": normal(8),
        "location": attn.Location(np.abs(normal(2, HEADS, 1, 9)), normal(2, 3), normal(8, 2)),
    },
    "causal": {"causal": True},
    "bottom right": {"causal": True, "alignment": "bottom-right"},
    "offset": {"causal": True, "query_offset": 2},
    "window": {"window": 2},
    "window to the left": {"window": (2, None)},
    "mask": {"mask": normal(2, 1, 7, 9) > -1},
    "lengths": {"query_lengths": [3, 7], "key_lengths": np.array([9, 4], np.int32)},
    "prefix": {"causal": True, "prefix_lengths": [4, 0]},
    "documents": {
        "query_documents": [[0] * 4 + [1] * 3] * 2,
        "key_documents": [[0] * 3 + [1] * 6] * 2,
    },
    **{name: {"normalizer": name} for name in ("softmax-one", "sigmoid", "sparsemax", "entmax",
                                               "relu", "relu2", "linear", "hardmax")},
    "entmax 1.3": {"normalizer": "entmax", "alpha": 1.3},
    "sigmoid's bias": {"normalizer": "sigmoid", "sigmoid_bias": -1.5},
    "temperature": {"temperature": 0.5},
    "gumbel": {"gumbel": True, "seed": 3},
    "dropout": {"dropout": 0.5, "seed": 2**64 - 1},
    "local": {"local": attn.Local(2.0)},
    "local, wide": {"local": attn.Local(3.0, sigma=float("inf"))},
    "local-p": {"local": attn.Local(2.0, centers=np.abs(normal(2, HEADS, 7)))},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_options_reach_the_library(name):
    """Each option changes the result, and the fast path and the textbook agree on how: to 2^-12 of
    the values' size, where an option that was lost or misread would be off by some tenths. (The
    bounds themselves are tested in C, option by option.)"""
    options = OPTIONS[name]
    output, views = attn.attention(Q, K, V, views=["weights"], **options)
    expected, seen = attn.reference_attention(Q, K, V, views=["weights"], **options)
    size = max(np.abs(expected).max(), np.abs(V).max())
    assert np.abs(output - expected).max() <= size * 2**-12
    assert np.abs(views.weights - seen.weights).max() <= np.abs(seen.weights).max() * 2**-12
    if name not in ("custom", "scale 0"):
        plain = attn.attention(Q, K, V)
        assert np.abs(output - plain).max() > size * 2**-7


I, J = np.arange(7)[:, None], np.arange(9)[None, :]
FIRST, SECOND = [4, 3], [3, 6]  # lengths of documents in queries and keys
MASKS = {
    "causal": ({"causal": True}, J <= I),
    "bottom right": ({"causal": True, "alignment": "bottom-right"}, J <= I + 2),
    "offset": ({"causal": True, "query_offset": 3}, J <= I + 3),
    "window": ({"window": 2}, abs(J - I) <= 2),
    "window of two sides": ({"window": (3, 1)}, (J >= I - 3) & (J <= I + 1)),
    "window to the left": ({"window": (1, None)}, J >= I - 1),
    "window to the right": ({"window": (None, 0)}, J <= I),
    "lengths of keys": ({"key_lengths": [4, 4]}, J < 4),
    "lengths of both": ({"query_lengths": [5, 5], "key_lengths": [9, 9]}, (I < 5) & (J < 9)),
    "prefix": ({"causal": True, "prefix_lengths": [4, 4]}, (J <= I) | (J < 4)),
    "documents": (
        {
            "query_documents": [np.repeat([0, 1], FIRST)] * 2,
            "key_documents": [np.repeat([0, 1], SECOND)] * 2,
        },
        np.repeat([0, 1], FIRST)[:, None] == np.repeat([0, 1], SECOND),
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_hide_what_they_say(name):
    """Each rule gives the bits that its pairs give as a boolean mask: hidden keys add nothing."""
    options, seen = MASKS[name]
    np.testing.assert_array_equal(
        attn.attention(Q, K, V, **options), attn.attention(Q, K, V, mask=seen)
    )


def test_lengths_are_of_queries_and_keys():
    q, k, v = problem(n=9, m=9)
    np.testing.assert_array_equal(
        attn.attention(q, k, v, lengths=[5, 9]),
        attn.attention(q, k, v, query_lengths=[5, 9], key_lengths=[5, 9]),
    )


def test_local_and_relative_are_the_formulas():
    """Numbers that could be taken for one another: each against its formula."""
    scores = 8**-0.5 * (Q @ K.swapaxes(-1, -2)).astype(np.float64)
    distance = (J - I).astype(np.float64)
    u = 2**-14  # above what rounding does to weights of such scores, far below a mistaken number

    near = np.where(abs(distance) <= 3, scores, -np.inf)
    weights = np.exp(near) / np.exp(near).sum(-1, keepdims=True)
    _, found = attn.attention(Q, K, V, local=attn.Local(3.0, sigma=1.25), views="weights")
    assert np.abs(found - weights * np.exp(-(distance**2) / (2 * 1.25**2))).max() <= u

    table = normal(9)
    entries = np.clip(J - I + 2, 0, 8)
    weights = np.exp(scores + table[entries])
    weights /= weights.sum(-1, keepdims=True)
    relative = attn.Relative(bias=table, origin=2)
    _, found = attn.attention(Q, K, V, relative=relative, views="weights")
    assert np.abs(found - weights).max() <= u


def test_none_is_the_default():
    nothing = dict.fromkeys(attn.Options.__annotations__)
    np.testing.assert_array_equal(attn.attention(Q, K, V, **nothing), attn.attention(Q, K, V))


def test_a_scale_of_zero_weighs_all_alike():
    _, weights = attn.attention(Q, K, V, scale=0.0, views="weights")
    assert (np.abs(weights - 1 / 9) <= 2 * bounds.unit(np.float32)).all()


def test_packed_batches():
    starts = np.array([0, 4, 10])
    q, k, v = (a[:1] for a in PACKED)
    output, views = attn.attention(
        q, k, v, query_starts=starts, key_starts=starts, causal=True,
        views={"weights": True, "received_sum": True, "path": True, "block_sums": (4, 4)},
    )  # fmt: skip
    assert views.weights.shape == (1, 3, 10, 6)
    assert views.received_sum.shape == (2, 3, 6)
    assert views.path.shape == (2, 6, 2)
    assert views.block_sums.shape == (2, 3, 2, 2)
    for a, b in itertools.pairwise(starts):
        alone = attn.attention(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b], causal=True)
        np.testing.assert_array_equal(output[:, :, a:b], alone)


# --- Views --------------------------------------------------------------------------------------

VIEWS = {
    "weights": True, "lse": True, "received_sum": True, "received_mean": True,
    "received_max": True, "window_sum": 3, "top": 4, "argmax": True, "entropy": True,
    "span": True, "distance": True, "max_logit": True, "block_sums": (4, 2), "head_mean": True,
    "path": True, "head_statistics": True, "raw_scores": True, "capped_scores": True,
    "scores": True,
}  # fmt: skip


@pytest.mark.parametrize("rank", RANKS)
def test_views_are_those_of_the_weights(rank):
    q, k, v = problem(rank)
    output, views = attn.attention(q, k, v, views=VIEWS)
    w, u = views.weights.astype(np.float64), bounds.unit(np.float32)
    assert (np.abs(w.sum(-1) - 1) <= 20 * u).all()  # 9 weights, each within some 2 u of its share
    expected = {
        "received_sum": w.sum(-2), "received_mean": w.mean(-2), "received_max": w.max(-2),
        "window_sum": w[..., -3:, :].sum(-2), "argmax": w.argmax(-1),
        "entropy": -(w * np.log(w)).sum(-1), "span": np.exp(-(w * np.log(w)).sum(-1)),
        "distance": (w * np.abs(np.arange(7)[:, None] - np.arange(9))).sum(-1),
        "head_mean": w if rank == 2 else w.mean(-3),
        "max_logit": views.scores.max(-1),
        "block_sums": np.add.reduceat(np.add.reduceat(w, [0, 4], -2), [0, 2, 4, 6, 8], -1),
        "lse": np.log(np.exp(views.scores.astype(np.float64)).sum(-1)),
        "top_weights": -np.sort(-w, -1)[..., :4], "top_keys": np.argsort(-w, -1)[..., :4],
    }  # fmt: skip
    for name, wanted in expected.items():
        assert views[name].shape == wanted.shape, name
        # Sums of at most 63 terms, each term rounded a few times (entropy's: a logarithm within 4 u
        # of a value below 8): below 256 u of the sum's size, which the largest entry bounds.
        assert np.abs(views[name] - wanted).max() <= 256 * u * max(1, np.abs(wanted).max()), name
    assert views.path.shape == (*RANKS[rank][:-1], 7, 2)
    statistics = views.head_statistics
    assert np.abs(statistics[..., 0] - w.max(-1).mean(-1)).max() <= 256 * u
    assert np.abs(statistics[..., 3] - w[..., 0].mean(-1)).max() <= 256 * u
    np.testing.assert_array_equal(output, attn.attention(q, k, v))


def test_forms_of_views():
    output, weights = attn.attention(Q, K, V, views="weights")
    assert isinstance(weights, np.ndarray)
    _, views = attn.attention(Q, K, V, views=["entropy", ("top", 2), "weights"])
    assert list(views) == ["entropy", "top_weights", "top_keys", "weights"]
    np.testing.assert_array_equal(views.weights, weights)
    _, views = attn.attention(Q, K, V, views={"weights": "uint8", "entropy": False})
    assert list(views) == ["weights"] and views.weights.dtype == np.uint8
    assert np.abs(views.weights / 255.0 - weights).max() <= 0.5 / 255 + 2**-20
    _, views = attn.attention(Q, K, V, views={"weights": np.float16})
    assert views.weights.dtype == np.float16
    with pytest.raises(AttributeError, match="no view 'lse' was asked for"):
        views.lse


def test_heads_and_rows():
    _, weights = attn.attention(Q, K, V, views="weights")
    _, some = attn.attention(Q, K, V, views="weights", heads=[0, 2])
    np.testing.assert_array_equal(some, weights[:, [0, 2]])
    _, some = attn.attention(Q, K, V, views="weights", rows=[1, 5])
    np.testing.assert_array_equal(some, weights[:, :, [1, 5]])
    _, some = attn.attention(Q, K, V, views="weights", rows=-2, heads=np.array([1]))
    np.testing.assert_array_equal(some, weights[:, [1], -2:])


# --- Arrays -------------------------------------------------------------------------------------


def test_strides_are_used_in_place():
    q, k, v = problem(n=9, m=9, d_value=8)
    expected = attn.attention(q, k, v, bias=normal(9, 9))
    layouts = {
        "heads after the length": [np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2) for a in (q, k, v)],
        "reversed": [np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :] for a in (q, k, v)],
        "every other": [np.repeat(a, 2, -1)[..., ::2] for a in (q, k, v)],
        "one buffer": list(np.concatenate([q, k, v], -1).reshape(*q.shape[:-1], 3, 8).transpose(3, 0, 1, 2, 4)),
    }  # fmt: skip
    for name, (a, b, c) in layouts.items():
        np.testing.assert_array_equal(attn.attention(a, b, c, bias=normal(9, 9)), expected, name)
    bias = np.broadcast_to(normal(9), (2, 3, 9, 9))
    np.testing.assert_array_equal(
        attn.attention(q, k, v, bias=bias), attn.attention(q, k, v, bias=normal(9))
    )


def test_results_go_where_out_says():
    place = np.full((2, 3, 7, 10), 7.0, np.float32)[..., ::2]
    output = attn.attention(Q, K, V, out=place)
    assert output is place
    np.testing.assert_array_equal(place, attn.attention(Q, K, V))
    places = {"output": np.empty_like(place), "weights": np.empty((2, 3, 7, 9), np.float32)}
    output, weights = attn.attention(Q, K, V, views="weights", out=places)
    assert output is places["output"] and weights is places["weights"]


def test_other_types():
    half = attn.attention(*(a.astype(np.float16) for a in (Q, K, V)))
    assert half.dtype == np.float16
    whole = attn.attention(*(a.astype(np.float16).astype(np.float32) for a in (Q, K, V)))
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    nested = attn.attention(Q[0, 0].tolist(), K[0, 0].tolist(), V[0, 0].tolist())
    assert nested.dtype == np.float64

    class Foreign:
        """An array of a library that NumPy has never heard of."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **arguments):
            return self.array.__dlpack__(**arguments)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    output = attn.attention(*map(Foreign, (Q, K, V)))
    np.testing.assert_array_equal(output, attn.attention(Q, K, V))
    np.testing.assert_array_equal(np.from_dlpack(output), output)


def test_empty_arrays():
    assert attn.attention(Q[:, :, :0], K, V).shape == (2, 3, 0, 5)
    output, weights = attn.attention(Q, K[:, :, :0], V[:, :, :0], views="weights")
    assert weights.shape == (2, 3, 7, 0) and not output.any()


# --- Callbacks ----------------------------------------------------------------------------------


def test_score_callback():
    slopes = normal(HEADS) ** 2

    def alibi(scores, pairs):
        return scores - slopes[pairs.head] * np.abs(pairs.queries(scores) - pairs.keys(scores))

    output = attn.attention(Q, K, V, score_callback=alibi, query_offset=1)
    expected = attn.attention(Q, K, V, alibi_slopes=slopes, query_offset=1)
    # A difference in float64 that is rounded once, against one in float32: 2 u of scores below 64.
    assert np.abs(output - expected).max() <= 256 * bounds.unit(np.float32) * np.abs(V).max()

    def in_place(scores, pairs):
        scores[:] = alibi(scores, pairs)

    np.testing.assert_array_equal(
        attn.attention(Q, K, V, score_callback=in_place, query_offset=1), output
    )


def test_mask_callback():
    def earlier(scores, pairs):
        return np.where(pairs.keys(scores) <= pairs.queries(scores), scores, -np.inf)

    np.testing.assert_array_equal(
        attn.attention(Q, K, V, mask_callback=earlier), attn.attention(Q, K, V, causal=True)
    )


def test_exceptions_of_callbacks_come_out():
    def fail(scores, pairs):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        attn.attention(Q, K, V, score_callback=fail)
    with pytest.raises(ValueError, match=r"score_callback returned the shape \(1, 9\): expected"):
        attn.attention(Q[0, 0], K[0, 0], V[0, 0], score_callback=lambda s, p: s[:1])


# --- Threads ------------------------------------------------------------------------------------


def test_same_bits_for_any_threads():
    q, k, v = problem(n=200, m=300, d=32)
    one = attn.attention(q, k, v, context=attn.Context(1))
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(attn.attention(q, k, v, context=attn.Context(threads)), one)


def test_calls_at_the_same_time():
    q, k, v = problem(n=200, m=300, d=32)
    expected, wrong = attn.attention(q, k, v), []

    def work():
        for _ in range(20):
            if not np.array_equal(attn.attention(q, k, v), expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_the_interpreter_runs_meanwhile():
    """Another thread counts while a call of some tenths of a second runs: it holds no GIL."""
    q = normal(1, 4, 3000, 64)
    counts, done = [0], threading.Event()

    def count():
        while not done.is_set():
            counts[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counts[0]
    attn.attention(q, q, q, context=attn.Context(1))
    after = counts[0]
    done.set()
    thread.join()
    assert after - before > 100  # with the GIL held: none


def _forked(connection):
    connection.send(attn.attention(Q, K, V, context=attn.Context(4)))


def test_works_in_a_forked_process():
    big = normal(1, 8, 300, 64)
    attn.attention(big, big, big, context=attn.Context(4))  # the runtime has its threads now
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=_forked, args=(theirs,))
    process.start()
    assert ours.poll(60), "the forked process hangs"
    np.testing.assert_array_equal(ours.recv(), attn.attention(Q, K, V))
    process.join()


def test_context():
    context = attn.Context(threads=2, max_isa="generic")
    assert (context.threads, context.isa) == (2, "generic")
    attn.attention(Q, K, V, context=context)
    assert context.scratch_bytes > 0
    assert attn.isa_reason()
    with pytest.raises(ValueError, match="threads"):
        attn.Context(threads=-1)
    with pytest.raises(ValueError, match="sse9"):
        attn.Context(max_isa="sse9")


# --- Errors -------------------------------------------------------------------------------------

BAD = [
    ({"query": Q[..., :3]}, ValueError, r"key.shape\[-1\] is 8, but query.shape\[-1\] is 3"),
    ({"query": Q[0, 0, 0]}, ValueError, "query has 1 dimensions: expected"),
    ({"query": Q[None]}, ValueError, "query has 5 dimensions: expected"),
    ({"query": Q[0]}, ValueError, "key and value have more dimensions than query"),
    ({"query": "text"}, TypeError, "query has elements of the type <U4"),
    ({"query": np.ones((2, 3, 7, 8), int)}, TypeError, "query has elements of the type int64"),
    ({"key": K.astype(np.float64)}, TypeError, "key"),
    ({"bias": normal(3, 3)}, ValueError, r"bias.shape\[-2\] is 3, but must be 1 or 7"),
    ({"bias": normal(1, 2, 3, 7, 9)}, ValueError, "bias has 5 dimensions: expected at most 4"),
    ({"sinks": normal(2, 3, 3)}, ValueError, "sinks has 3 dimensions: expected at most 2, or 4"),
    ({"mask": normal(7, 9)}, TypeError, "mask has elements of the type float32: expected bool"),
    ({"mask": normal(7, 8) > 0}, ValueError, r"mask.shape\[-1\] is 8"),
    ({"score": "dots"}, ValueError, "score is 'dots': expected one of dot, general"),
    ({"score": "additive"}, ValueError, "weight"),
    ({"weight": normal(8)}, ValueError, "weight is given, but dot takes none"),
    ({"normalizer": 1}, ValueError, "normalizer is 1: expected one of softmax"),
    ({"alignment": "left"}, ValueError, "alignment is 'left': expected one of top-left"),
    ({"scale": "a"}, ValueError, "could not convert"),
    ({"softcap": -1.0}, ValueError, "softcap"),
    ({"softcap": "a"}, TypeError, "softcap: expected a number"),
    ({"query_offset": 0.5}, TypeError, "query_offset: expected an integer"),
    ({"seed": -1, "dropout": 0.5}, TypeError, "seed: expected an integer from 0"),
    ({"dropout": 1.0}, ValueError, "dropout"),
    ({"lengths": [1]}, ValueError, "lengths has 1 elements: expected 2"),
    ({"lengths": [1.5, 2]}, TypeError, "lengths has elements of the type float64"),
    ({"key_lengths": [1, 100]}, ValueError, "key_lengths"),
    ({"query_documents": [0], "key_documents": [0]}, ValueError, "query_documents has 1 elements"),
    ({"query_starts": [0, 1, 10**15], "key_starts": [0, 1, 9], "views": "weights"}, ValueError, "query"),
    ({"window": -1}, ValueError, "window is -1: expected no side below 0"),
    ({"window": (1, 2, 3)}, ValueError, r"window is \(1, 2, 3\): expected a number of keys"),
    ({"relative": 3}, TypeError, "relative is a int: expected an attn.Relative"),
    ({"relative": attn.Relative(bias=normal(5), keys=normal(4, 8))}, ValueError, "relative"),
    ({"local": 3}, TypeError, "local is a int: expected an attn.Local"),
    ({"location": 3}, TypeError, "location is a int: expected an attn.Location"),
    ({"score_callback": 3}, TypeError, "score_callback is 3: expected a function"),
    ({"views": "wieghts"}, ValueError, "views: there is no 'wieghts': expected weights"),
    ({"views": {"top": 0}}, ValueError, "views: top has the parameter 0"),
    ({"views": ["top"]}, ValueError, "views: top has the parameter True"),
    ({"views": {"entropy": 3}}, ValueError, "views: entropy has the parameter 3, and takes none"),
    ({"views": {"block_sums": 3}}, ValueError, "views: block_sums has the parameter 3"),
    ({"views": "entropy", "heads": [7]}, ValueError, r"heads\[0\] is 7, but must be 0 to 2"),
    ({"views": "weights", "rows": 2}, ValueError, "rows is 2: expected a list of queries"),
    ({"out": np.zeros(3)}, ValueError, r"out has the shape \(3,\): expected \(2, 3, 7, 5\)"),
    ({"out": V}, ValueError, "out has the shape"),
    ({"views": "weights", "out": {"weights": np.zeros(3)}}, ValueError, "out: weights has the shape"),
    ({"out": {"wieghts": V}, "views": "weights"}, ValueError, "out has a place for 'wieghts'"),
    ({"out": {"lse": V}}, ValueError, "out has a place for 'lse', which views does not ask for"),
    ({"context": 3}, TypeError, "context is a <class 'int'>: expected an attn.Context"),
    ({"windows": 3}, TypeError, "attention has no option 'windows'"),
]  # fmt: skip


@pytest.mark.parametrize("given,error,message", BAD, ids=[m for _, _, m in BAD])
def test_errors_name_the_argument(given, error, message):
    arguments = {"query": Q, "key": K, "value": V} | given
    with pytest.raises(error, match=message):
        attn.attention(**arguments)


def test_results_that_cannot_be_written():
    place = np.empty((2, 3, 7, 5), np.float32)
    place.flags.writeable = False
    with pytest.raises(ValueError, match="output: expected an array that may be written to"):
        attn.attention(Q, K, V, out=place)
    both = np.zeros((2, 3, 7, 8), np.float32)
    with pytest.raises(ValueError, match="output"):
        attn.attention(both, K, normal(2, 3, 9, 8), out=both)


def test_help_lists_every_option():
    import inspect

    names = inspect.signature(attn.attention).parameters
    assert set(attn.Options.__annotations__) <= set(names)
    for name in attn.Options.__annotations__:
        assert name in attn.Options.__doc__, name


# --- From weights to explanations ---------------------------------------------------------------


def test_alignment_path():
    path = attn.alignment_path(np.eye(4, dtype=np.float32))
    np.testing.assert_array_equal(path, [[0, 0], [1, 1], [2, 2], [3, 3]])
    _, views = attn.attention(Q, K, V, views=["head_mean", "path"])
    np.testing.assert_array_equal(attn.alignment_path(views.head_mean), views.path)


def test_rollout_and_flow():
    layers = [np.full((3, 3), 1 / 3), np.eye(3)]
    mixed = 0.5 * layers[0] + 0.5 * np.eye(3)
    np.testing.assert_allclose(attn.rollout(layers), mixed, rtol=0, atol=2**-50)
    # One layer: the flow from a token is its row of capacities.
    np.testing.assert_allclose(attn.flow(layers[:1], 1), mixed[1], rtol=0, atol=2**-50)
    with pytest.raises(ValueError, match="layers: expected at least one"):
        attn.rollout([])
    with pytest.raises(ValueError, match="token"):
        attn.flow(layers, 3)
