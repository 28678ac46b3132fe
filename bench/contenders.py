"""libattn and its peers behind one interface: set up with a task, run it any number of times.

Each contender gets its inputs in the layout it likes best (`layout` says which), has its output
allocated beforehand wherever it can write into one, and is told the same number of threads.
"""

import ctypes
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Both change which kernels OpenBLAS takes, or how it blocks: measure it as it comes. It looks at
# them while numpy is imported.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import libattn
import numpy as np
import onnx
import onnxruntime
import torch

BHND = "[batch, heads, length, width]"
BNHD = "[batch, length, heads * width]"


@dataclass(frozen=True)
class Task:
    """What to compute: self-attention of one shape, all heads with their own keys, float32."""

    batch: int
    heads: int
    n_query: int
    n_key: int
    d: int
    causal: bool = False  # only with n_query == n_key, where both alignments are the same
    window: tuple = None  # (left, right); libattn only
    weights: bool = False

    def visible(self, rows):
        """[rows, n_key]: which keys the given queries see."""
        position = np.asarray(rows)[:, None] + (self.n_key - self.n_query)
        distance = np.arange(self.n_key) - position
        seen = distance <= 0 if self.causal else np.full_like(distance, True, dtype=bool)
        if self.window:
            seen &= (distance >= -self.window[0]) & (distance <= self.window[1])
        return seen

    def __str__(self):
        lengths = f"{self.n_query}"
        if self.n_key != self.n_query:
            lengths += f" queries x {self.n_key} keys"
        return f"{self.batch} x {self.heads} heads x {lengths} x {self.d}"

    def flops(self):
        """A multiplication and an addition per visible pair and feature, to score and to sum."""
        if self.causal or self.window:
            pairs = sum(int(self.visible([i]).sum()) for i in range(self.n_query))
        else:
            pairs = self.n_query * self.n_key
        return 4 * self.d * pairs * self.batch * self.heads

    def inputs(self):
        """Query, key and value, normally distributed, [batch, heads, length, width]."""
        random = np.random.default_rng(0)
        lengths = (self.n_query, self.n_key, self.n_key)
        shapes = [(self.batch, self.heads, length, self.d) for length in lengths]
        return [random.standard_normal(shape, dtype=np.float32) for shape in shapes]

    def empty_results(self):
        """Output, and weights or None."""
        rows = (self.batch, self.heads, self.n_query)
        weights = np.zeros((*rows, self.n_key), np.float32) if self.weights else None
        return np.zeros((*rows, self.d), np.float32), weights


@dataclass(frozen=True)
class Setting:
    """What all contenders of a run share."""

    library: libattn.Library
    threads: int
    isa: str = "best"

    def apply(self):
        """Tells the process-wide thread pools; the others are told by each contender."""
        torch.set_num_threads(self.threads)  # MKL's too
        openblas("scipy_openblas_set_num_threads64_")(ctypes.c_int(self.threads))


class LibAttn:
    name, layout = "libattn", BHND

    def __init__(self, task, setting, inputs):
        self.inputs, (self.output, self.weights) = inputs, task.empty_results()
        self.context = setting.library.context(setting.threads, setting.isa)
        self.problem = libattn.problem(
            *inputs, self.output, self.weights, mask=libattn.mask(task.causal, task.window)
        )

    def run(self, repeats):
        for _ in range(repeats):
            self.context.forward(self.problem)


class LibAttnFromC(LibAttn):
    """Repeats the call in C, for a fair match with UnfusedFromC."""

    def run(self, repeats):
        library = self.context.library
        library.check(
            harness().repeat_attn_forward(
                library.c.attn_forward,
                self.context.handle,
                ctypes.byref(self.problem),
                ctypes.c_int64(repeats),
            )
        )


class Torch:
    """What the PyTorch contenders share: tensors that view the inputs."""

    layout = BHND

    def __init__(self, task, setting, inputs):
        self.task = task
        self.q, self.k, self.v = (torch.from_numpy(t) for t in inputs)
        self.output = self.weights = None

    def run(self, repeats):
        with torch.inference_mode():
            for _ in range(repeats):
                self.forward()


class TorchSdpa(Torch):
    name = "PyTorch SDPA"

    def forward(self):
        self.output = torch.nn.functional.scaled_dot_product_attention(
            self.q, self.k, self.v, is_causal=self.task.causal
        )


class TorchMath(Torch):
    """What SDPA falls back to, which also returns the weights."""

    name = "PyTorch SDPA, math"

    def forward(self):
        self.output, self.weights = torch.ops.aten._scaled_dot_product_attention_math(
            self.q, self.k, self.v, is_causal=self.task.causal
        )


class TorchUnfused(Torch):
    """softmax(q k^T) v by MKL, everything written to memory that was allocated beforehand."""

    name = "PyTorch matmul, softmax, matmul"

    def __init__(self, task, setting, inputs):
        super().__init__(task, setting, inputs)
        self.q3, self.v3 = self.q.flatten(0, 1), self.v.flatten(0, 1)
        self.k3_transposed = self.k.flatten(0, 1).mT
        rows = (task.batch * task.heads, task.n_query)
        self.scaled_q3 = torch.zeros(*rows, task.d)
        self.scores3 = torch.zeros(*rows, task.n_key)
        self.weights3 = torch.zeros(*rows, task.n_key)
        self.output3 = torch.zeros(*rows, task.d)
        self.output = self.output3.unflatten(0, (task.batch, task.heads))
        self.weights = self.weights3.unflatten(0, (task.batch, task.heads))
        if task.causal:
            self.future = torch.from_numpy(~task.visible(range(task.n_query)))

    def forward(self):
        torch.mul(self.q3, self.task.d**-0.5, out=self.scaled_q3)  # smaller than the scores
        torch.bmm(self.scaled_q3, self.k3_transposed, out=self.scores3)
        if self.task.causal:
            self.scores3.masked_fill_(self.future, -torch.inf)
        torch.softmax(self.scores3, -1, out=self.weights3)
        torch.bmm(self.weights3, self.v3, out=self.output3)


class Onnx:
    """What the ONNX Runtime contenders share: a model of one node, inputs and results bound."""

    def bind(self, node, domain, opset, setting, inputs, results):
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [node],
            "attention",
            [info(name, onnx.TensorProto.FLOAT, t.shape) for name, t in inputs.items()],
            [info(name, onnx.TensorProto.FLOAT, t.shape) for name, t in results.items()],
        )
        opsets = {"": 23, domain: opset}
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(*pair) for pair in opsets.items()]
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        for name, t in inputs.items():
            self.binding.bind_ortvalue_input(name, value(t))
        self.results = {name: value(t) for name, t in results.items()}
        for name, t in self.results.items():
            self.binding.bind_ortvalue_output(name, t)

    def run(self, repeats):
        for _ in range(repeats):
            self.session.run_with_iobinding(self.binding)


class OnnxMultiHead(Onnx):
    """com.microsoft.MultiHeadAttention, which is flash attention where nothing is masked."""

    name, layout = "ONNX Runtime MultiHeadAttention", BNHD
    weights = None

    def __init__(self, task, setting, inputs):
        self.task = task
        rows = [np.ascontiguousarray(t.swapaxes(1, 2)) for t in inputs]
        rows = [t.reshape(*t.shape[:2], -1) for t in rows]
        node = onnx.helper.make_node(
            "MultiHeadAttention", list("qkv"), ["output"], domain="com.microsoft",
            num_heads=task.heads, unidirectional=int(task.causal),
        )  # fmt: skip
        results = {"output": np.zeros((task.batch, task.n_query, task.heads * task.d), np.float32)}
        self.bind(node, "com.microsoft", 1, setting, dict(zip("qkv", rows)), results)

    @property
    def output(self):
        rows = self.results["output"].numpy()
        return rows.reshape(*rows.shape[:2], self.task.heads, -1).swapaxes(1, 2)


class OnnxAttention(Onnx):
    """ai.onnx Attention (opset 23), whose fourth result in mode 3 is the weights."""

    name, layout = "ONNX Runtime Attention", BHND

    def __init__(self, task, setting, inputs):
        output, weights = task.empty_results()
        results = {"output": output} | ({"weights": weights} if task.weights else {})
        node = onnx.helper.make_node(
            "Attention", list("qkv"), ["output"] + ["", "", "weights"] * task.weights,
            is_causal=int(task.causal), qk_matmul_output_mode=3,
        )  # fmt: skip
        self.bind(node, "", 23, setting, dict(zip("qkv", inputs)), results)

    @property
    def output(self):
        return self.results["output"].numpy()

    @property
    def weights(self):
        return self.results["weights"].numpy() if "weights" in self.results else None


class UnfusedProblem(ctypes.Structure):
    """unfused_problem of unfused.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("sgemm", "sgemv")]
    _fields_ += [(name, ctypes.c_int64) for name in ("heads", "n_query", "n_key", "d")]
    _fields_ += [(name, ctypes.c_void_p) for name in ("query", "key", "value", "output", "weights")]


class UnfusedFromC:
    """bench/unfused.c over a BLAS; its weights hold one head at a time and are not returned."""

    layout = BHND
    weights = None

    def __init__(self, task, setting, inputs):
        self.inputs, (self.output, _) = inputs, task.empty_results()
        self.row_block = np.zeros((task.n_query, task.n_key), np.float32)
        functions = [ctypes.cast(f, ctypes.c_void_p) for f in self.functions()]
        sizes = [task.batch * task.heads, task.n_query, task.n_key, task.d]
        arrays = [t.ctypes.data for t in (*inputs, self.output, self.row_block)]
        self.problem = UnfusedProblem(*functions, *sizes, *arrays)

    def run(self, repeats):
        harness().unfused_forward(ctypes.byref(self.problem), ctypes.c_int64(repeats))


class UnfusedOpenBlas(UnfusedFromC):
    name = "unfused, OpenBLAS"

    def functions(self):
        return openblas("scipy_sgemm_64_"), openblas("scipy_sgemv_64_")


class UnfusedMkl(UnfusedFromC):
    name = "unfused, MKL"

    def functions(self):
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return library.sgemm_, library.sgemv_


@cache
def openblas_library():
    """The OpenBLAS that numpy's wheel brings, and has loaded."""
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    paths = list(folder.glob("libscipy_openblas64_*.so"))
    if len(paths) != 1:
        raise SystemExit(f"{folder}: expected one libscipy_openblas64_*.so, found {len(paths)}")
    return ctypes.CDLL(str(paths[0]))


def openblas(name):
    return getattr(openblas_library(), name)


@cache
def harness():
    """unfused.c, compiled for this machine."""
    source = Path(__file__).with_name("unfused.c")
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "unfused.so")
        command = ["cc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run([*command, str(source), "-o", str(binary), "-lm"], check=True)
        return ctypes.CDLL(str(binary))
