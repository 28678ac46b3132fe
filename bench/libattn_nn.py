"""libattn_nn through ctypes: those structs and calls of nn.h and transformer.h that tests and
benchmarks need.

    python bench/libattn_nn.py

compares them with the headers, as bench/libattn.py does with its own.
"""

import contextlib
import ctypes as c
import os
import sys
from pathlib import Path

import libattn
import numpy as np

P, N, D, INT, YES = c.c_void_p, c.c_int64, c.c_double, c.c_int, c.c_bool

ACTIVATIONS = ("relu", "gelu", "silu")
NORMS = ("layer", "rms")
CELLS = ("lstm", "gru")
LOOKS = ("none", "dot", "general", "concat", "additive", "location", "multi_head")
POSITIONS = ("sinusoidal", "learned", "rotary", "relative", "no")
FAMILIES = ("transformer", "recurrent")
SCHEDULES = ("constant", "inverse_root", "linear", "cosine")


def fields(kind, names):
    return [(name, kind) for name in names.split()]


class Parameter(c.Structure):
    _fields_ = [
        ("name", c.c_char * 96),
        *fields(N, "rows columns offset"),
        ("start", INT),
        ("scale", D),
    ]


class Layout(c.Structure):
    _fields_ = [
        ("parameters", c.POINTER(Parameter)),
        *fields(N, "count capacity size"),
        ("failed", YES),
    ]


class Pass(c.Structure):
    _fields_ = [
        *fields(P, "values packed gradients arena context"),
        ("training", YES),
        *fields(c.c_uint64, "seed draws"),
        ("status", INT),
        *fields(P, "interrupted user"),
    ]


class Sentences(c.Structure):
    _fields_ = [("count", N), *fields(P, "starts tokens")]


class Linear(c.Structure):
    _fields_ = fields(N, "in out weight bias")


class Embedding(c.Structure):
    _fields_ = [*fields(N, "vocabulary width weight"), ("scale", D)]


class Norm(c.Structure):
    _fields_ = [("kind", INT), *fields(N, "width weight bias")]


class Loss(c.Structure):
    _fields_ = [*fields(D, "sum likelihood"), ("rows", N)]


class Attention(c.Structure):
    _fields_ = [
        *fields(N, "width heads"),
        *fields(Linear, "in out"),
        ("dropout", D),
        ("causal", YES),
        ("rotary_base", D),
        *fields(N, "relative relative_bias"),
    ]


class AttentionSaved(c.Structure):
    _fields_ = [
        *fields(P, "query key value"),
        *fields(N, "query_stride key_stride"),
        *fields(P, "mixed lse"),
        ("seed", c.c_uint64),
        ("weights", P),
        ("longest", N),
        ("angles", P),
    ]


class BlockOptions(c.Structure):
    _fields_ = [
        *fields(N, "width heads feed_forward"),
        ("norm", INT),
        ("post_norm", YES),
        ("activation", INT),
        *fields(YES, "causal cross"),
        ("rotary_base", D),
        ("relative", N),
        *fields(D, "dropout attention_dropout activation_dropout"),
    ]


class Block(c.Structure):
    _fields_ = [
        ("options", BlockOptions),
        *fields(Norm, "norm_self norm_cross norm_feed"),
        *fields(Attention, "self cross"),
        *fields(Linear, "up down"),
    ]


class SublayerSaved(c.Structure):
    _fields_ = [*fields(P, "x inner sum"), ("draw", c.c_uint64)]


class BlockSaved(c.Structure):
    _fields_ = [
        *fields(SublayerSaved, "self cross feed"),
        *fields(AttentionSaved, "self_heads cross_heads"),
        *fields(P, "up active"),
        ("active_draw", c.c_uint64),
    ]


class Recurrent(c.Structure):
    _fields_ = [("cell", INT), *fields(N, "in hidden"), ("reversed", YES),
                *fields(Linear, "input state")]  # fmt: skip


class RecurrentSaved(c.Structure):
    _fields_ = fields(P, "steps gates cells h h0 c0")


class Config(c.Structure):
    _fields_ = [
        ("family", INT),
        *fields(N, "vocabulary width encoder_layers decoder_layers heads"),
        ("untied", YES),
        ("dropout", D),
        ("feed_forward", N),
        *fields(D, "attention_dropout activation_dropout"),
        ("norm", INT),
        ("post_norm", YES),
        *fields(INT, "activation positions"),
        *fields(N, "max_length hidden"),
        *fields(INT, "cell look"),
        ("look_width", N),
        *fields(YES, "no_input_feeding coverage copy"),
        *fields(N, "align_layer align_heads"),
        ("align_after", YES),
    ]


class Batch(c.Structure):
    _fields_ = [*fields(Sentences, "source target"), *fields(P, "labels guide_starts guide_keys")]


class Objective(c.Structure):
    _fields_ = fields(D, "smoothing guide coverage scale")


class Corpus(c.Structure):
    _fields_ = [
        ("pairs", N),
        *fields(P, "source_starts target_starts source_tokens target_tokens"),
        *fields(P, "guide_starts guide_links"),
    ]


class BatchesOptions(c.Structure):
    _fields_ = [
        *fields(N, "tokens shards pool max_length"),
        ("seed", c.c_uint64),
        ("in_order", YES),
        *fields(c.c_int32, "begin end"),
    ]


class AdamOptions(c.Structure):
    _fields_ = fields(D, "mean_keep square_keep epsilon decay")


class Schedule(c.Structure):
    _fields_ = [("kind", INT), ("peak", D), *fields(N, "warm_up steps"), ("floor", D)]


class TrainerOptions(c.Structure):
    _fields_ = [
        ("threads", INT),
        ("shards", N),
        ("adam", AdamOptions),
        ("schedule", Schedule),
        *fields(D, "clip average_keep"),
        ("objective", Objective),
        ("seed", c.c_uint64),
    ]


class Training(c.Structure):
    _fields_ = [*fields(P, "values mean square average"), ("step", N)]


class StepReport(c.Structure):
    _fields_ = [("loss", Loss), *fields(D, "rate length"), ("left_out", YES)]


HEADERS = ("nn.h", "transformer.h")
STRUCTS = {
    "attn_nn_parameter": Parameter,
    "attn_nn_layout": Layout,
    "attn_nn_pass": Pass,
    "attn_nn_sentences": Sentences,
    "attn_nn_linear": Linear,
    "attn_nn_embedding": Embedding,
    "attn_nn_norm": Norm,
    "attn_nn_loss": Loss,
    "attn_nn_attention": Attention,
    "attn_nn_attention_saved": AttentionSaved,
    "attn_nn_block_options": BlockOptions,
    "attn_nn_block": Block,
    "attn_nn_sublayer_saved": SublayerSaved,
    "attn_nn_block_saved": BlockSaved,
    "attn_nn_recurrent": Recurrent,
    "attn_nn_recurrent_saved": RecurrentSaved,
    "attn_nn_config": Config,
    "attn_nn_batch": Batch,
    "attn_nn_objective": Objective,
    "attn_nn_corpus": Corpus,
    "attn_nn_batches_options": BatchesOptions,
    "attn_nn_adam_options": AdamOptions,
    "attn_nn_schedule": Schedule,
    "attn_nn_trainer_options": TrainerOptions,
    "attn_nn_training": Training,
    "attn_nn_step_report": StepReport,
}


def enumerators(prefix, names, suffix=""):
    return {f"ATTN_NN_{prefix}{name}{suffix}".upper(): i for i, name in enumerate(names)}


ENUMERATORS = {
    "ATTN_NN_NAME_MAX": 96,
    **enumerators("", FAMILIES),
    **enumerators("", ACTIVATIONS),
    **enumerators("", NORMS, "_norm"),
    **enumerators("", CELLS),
    **enumerators("look_", LOOKS),
    **enumerators("", POSITIONS[:-1]),
    "ATTN_NN_NO_POSITIONS": len(POSITIONS) - 1,
    **enumerators("", SCHEDULES),
}

WORDS = {"family": FAMILIES, "activation": ACTIVATIONS, "norm": NORMS, "cell": CELLS,
         "look": LOOKS, "positions": POSITIONS}  # fmt: skip

NAME = c.c_char_p
PROTOTYPES = {
    "error_message": (NAME, []),
    "use_one_blas_thread": (None, []),
    "layout_start": (None, [P, c.c_uint64, P]),
    "layout_free": (None, [P]),
    "arena_create": (P, []),
    "arena_destroy": (None, [P]),
    "arena_bytes": (c.c_size_t, [P]),
    "take_zeros": (P, [P, N]),
    "mark": (c.c_size_t, [P]),
    "release": (None, [P, c.c_size_t]),
    "pack": (P, [P, P, P]),
    "packed_free": (None, [P]),
    "linear_make": (Linear, [P, NAME, N, N, YES]),
    "linear_forward": (P, [P, P, P, N]),
    "linear_backward": (None, [P, P, P, P, N, P]),
    "embedding_make": (Embedding, [P, NAME, N, N, D]),
    "embedding_forward": (P, [P, P, P, N]),
    "embedding_backward": (None, [P, P, P, N, P]),
    "norm_make": (Norm, [P, NAME, INT, N]),
    "norm_forward": (P, [P, P, P, N]),
    "norm_backward": (None, [P, P, P, P, N, P]),
    "activation_forward": (P, [P, INT, P, N]),
    "activation_backward": (None, [P, INT, P, P, N]),
    "cross_entropy": (None, [P, P, N, P, N, D, D, P]),
    "attention_make": (Attention, [P, NAME, N, N, N]),
    "attention_forward": (P, [P, P, P, P, P, P, YES, P]),
    "attention_backward": (None, [P, P, P, P, P, P, P, P, P, P, P]),
    "block_make": (INT, [P, NAME, P, P]),
    "block_forward": (P, [P, P, P, P, P, P, YES, P]),
    "block_backward": (None, [P] * 9),
    "recurrent_make": (Recurrent, [P, NAME, INT, N, N, YES]),
    "recurrent_forward": (P, [P, P, P, P, P, P, P, P, P]),
    "recurrent_backward": (None, [P] * 11),
    "recurrent_step": (None, [P, P, P, N, P, P]),
    "model_create": (INT, [P, P]),
    "model_destroy": (None, [P]),
    "model_config": (c.POINTER(Config), [P]),
    "model_layout": (c.POINTER(Layout), [P]),
    "model_loss": (None, [P, P, P, P, P]),
    "batches_open": (INT, [P, P, P]),
    "batches_close": (None, [P]),
    "batches_count": (N, [P, N]),
    "batches_get": (INT, [P, N, N, N, P, P]),
    "trainer_create": (INT, [P, P, P]),
    "trainer_destroy": (None, [P]),
    "trainer_state": (c.POINTER(Training), [P]),
    "trainer_bytes": (c.c_size_t, [P]),
    "trainer_step": (INT, [P, P, N, N, P]),
    "trainer_loss": (INT, [P, P, P, P]),
}


def view(address, shape, kind=c.c_float):
    """What lies at an address, as an array; it stays the library's."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((kind * count).from_address(address)).reshape(shape)


def address(array):
    return None if array is None else array.ctypes.data


def forget_blas_settings():
    """OpenBLAS, which reads them as it is loaded, is used as it comes; by commands that are run, too."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)


class Library:
    """A loaded libattn_nn.so, and the libattn.so beside it; calls lack their prefix attn_nn_."""

    def __init__(self, path):
        path = Path(path)
        if not path.is_file():
            libattn.refuse(f"{path} is not a file: build libattn_nn first, or say where it is")
        self.core = libattn.Library(path.with_name("libattn.so"))
        forget_blas_settings()
        loaded = c.CDLL(str(path))
        for name, (result, arguments) in PROTOTYPES.items():
            call = loaded[f"attn_nn_{name}"]
            call.restype, call.argtypes = result, arguments
            setattr(self, name, call)
        self.use_one_blas_thread()

    def check(self, status):
        if status != 0:
            raise RuntimeError("libattn_nn: " + self.error_message().decode())


def named(layout, array):
    """Views of an array [layout.size] under the names of the layout's parameters; vectors have one
    dimension."""
    views = {}
    for i in range(layout.count):
        p = layout.parameters[i]
        part = array[p.offset : p.offset + p.rows * p.columns]
        views[p.name.decode()] = part.reshape(p.rows, p.columns) if p.rows > 1 else part
    return views


class Walk:
    """A pass over parameters, with a context and an arena of its own: values and gradients are arrays
    of the layout's size. `layout` must stay."""

    def __init__(self, library, layout, threads=1):
        self.library, self.layout = library, layout
        self.values = np.zeros(layout.size, np.float32)
        self.gradients = np.zeros(layout.size, np.float32)
        self.arena = library.arena_create()
        self.context = library.core.context(threads)
        self.c = Pass(self.values.ctypes.data, None, self.gradients.ctypes.data, self.arena,
                      self.context.handle)  # fmt: skip
        self.kept = []

    def __del__(self):
        self.library.arena_destroy(self.arena)

    def check(self):
        self.library.check(self.c.status)

    def result(self, at, *shape):
        """A copy of what a forward function returned."""
        self.check()
        return view(at, shape).copy()

    def sentences(self, lengths, tokens=None):
        """Packed sentences, of the walk's life."""
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.kept += [starts, tokens]
        return Sentences(len(lengths), starts.ctypes.data, address(tokens))

    @contextlib.contextmanager
    def mark(self):
        """What is taken within is given back."""
        at = self.library.mark(c.byref(self.c))
        yield
        self.library.release(c.byref(self.c), at)


class Model:
    """attn_nn_model of a configuration by field names; enums as words."""

    def __init__(self, library, **config):
        words = {name: WORDS[name].index(config[name]) for name in config.keys() & WORDS.keys()}
        self.library, self.handle = library, c.c_void_p()
        filled = Config(**config | words)
        library.check(library.model_create(c.byref(self.handle), c.byref(filled)))
        self.layout = library.model_layout(self.handle).contents
        self.config = Config.from_buffer_copy(library.model_config(self.handle).contents)

    def __del__(self):
        if self.handle:
            self.library.model_destroy(self.handle)

    def loss(self, walk, batch, objective):
        """Loss; gradients are added to the walk's."""
        loss = Loss()
        with walk.mark():
            self.library.model_loss(self.handle, c.byref(walk.c), c.byref(batch),
                                    c.byref(objective), c.byref(loss))  # fmt: skip
            walk.check()
        return loss


class Batches:
    """A corpus of pairs, (source tokens, target tokens) each, in batches."""

    def __init__(self, library, pairs, **options):
        self.library, self.handle = library, c.c_void_p()
        self.kept = []
        for side in zip(*pairs):
            starts = np.cumsum([0, *map(len, side)]).astype(np.int64)
            self.kept += [starts, np.concatenate(side).astype(np.int32)]
        source_starts, source, target_starts, target = map(address, self.kept)
        corpus = Corpus(len(pairs), source_starts, target_starts, source, target)
        filled = BatchesOptions(**options)
        library.check(library.batches_open(*map(c.byref, (corpus, filled, self.handle))))
        self.kept.append(corpus)

    def __del__(self):
        if self.handle:
            self.library.batches_close(self.handle)

    def count(self, epoch=0):
        return self.library.batches_count(self.handle, epoch)

    def shard(self, index=0, shard=0, epoch=0):
        """attn_nn_batch, which stays until the next call for that shard."""
        batch = Batch()
        self.library.check(self.library.batches_get(self.handle, epoch, index, shard,
                                                    c.byref(batch), None))  # fmt: skip
        return batch


def arrays_of(batch):
    """Source lengths and tokens, target lengths and tokens, labels: copies."""
    made = []
    for side in (batch.source, batch.target):
        starts = view(side.starts, (side.count + 1,), c.c_int64)
        made += [np.diff(starts), view(side.tokens, (starts[-1],), c.c_int32).copy()]
    return *made, view(batch.labels, made[3].shape, c.c_int32).copy()


class Trainer:
    def __init__(self, model, **options):
        self.library, self.model, self.handle = model.library, model, c.c_void_p()
        made = self.library.trainer_create(c.byref(self.handle), model.handle,
                                           c.byref(TrainerOptions(**options)))  # fmt: skip
        self.library.check(made)
        self.state = self.library.trainer_state(self.handle).contents
        self.values = view(self.state.values, (model.layout.size,))

    def __del__(self):
        if self.handle:
            self.library.trainer_destroy(self.handle)

    def step(self, batches, index, epoch=0):
        report = StepReport()
        self.library.check(self.library.trainer_step(self.handle, batches.handle, epoch, index,
                                                     c.byref(report)))  # fmt: skip
        return report

    def bytes(self):
        return self.library.trainer_bytes(self.handle)


def differences():
    return libattn.differences(HEADERS, STRUCTS, ENUMERATORS)


def main():
    wrong = differences()
    print("\n".join(wrong) or "all offsets and numbers agree with the headers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
