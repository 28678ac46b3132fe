"""Layers and models of libattn_nn from Python, and how far float32 may be off: for test_layers.py."""

import ctypes as c
import math

import libattn_nn
import numpy as np
import torch

UNIT = 2.0**-24  # of float32
WORDS = libattn_nn.WORDS.keys()


class Layers:
    """Layers of one layout: make them, `open`, set parameters by name, go forward and back."""

    def __init__(self, library):
        self.library, self.layout, self.walk = library, libattn_nn.Layout(), None

    def __del__(self):
        self.library.layout_free(c.byref(self.layout))

    def make(self, kind, name, *arguments):
        make = getattr(self.library, f"{kind}_make")
        return make(c.byref(self.layout), name.encode(), *arguments)

    def block(self, name, **options):
        """attn_nn_block of these options; enums as words."""
        words = {k: libattn_nn.WORDS[k].index(options[k]) for k in options.keys() & WORDS}
        block = libattn_nn.Block()
        self.library.check(self.library.block_make(
            c.byref(self.layout), name.encode(),
            c.byref(libattn_nn.BlockOptions(**options | words)), c.byref(block)))  # fmt: skip
        return block

    def open(self, values):
        """`values`: arrays for all parameters, by name."""
        self.walk = libattn_nn.Walk(self.library, self.layout)
        own = libattn_nn.named(self.layout, self.walk.values)
        assert own.keys() == values.keys()
        for name, array in own.items():
            array[...] = np.asarray(values[name]).reshape(array.shape)

    def gradients(self):
        self.walk.check()
        return libattn_nn.named(self.layout, self.walk.gradients)

    def call(self, name, *arguments):
        """A layer's function: structs are passed by address, arrays as what they hold."""
        return getattr(self.library, name)(c.byref(self.walk.c), *map(self._pass, arguments))

    def _pass(self, argument):
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous and argument.dtype in (np.float32, np.int32)
            return argument.ctypes.data
        return c.byref(argument) if isinstance(argument, c.Structure) else argument

    def result(self, at, *shape):
        return self.walk.result(at, *shape)


def detached(x):
    return x.detach().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def shares(ours, in_float32, in_float64, terms):
    """How much of what float32 may be off by each of our results is off from PyTorch's float64: 1 or less.

    Both float32 runs compute the same function by the same kinds of operation: they differ in the order
    of sums, and in functions of one number, by a few units in the last place. A sum of n numbers has in any
    order an error of at most gamma(n) times the sum of their sizes (Higham 2002, section 4.2) and, since
    roundings are as good as independent, of rarely more than sqrt(n) u times it (Higham & Mary 2019); and
    the best order still rounds once: u. So, with `terms` the longest sum that anything is made by, the
    errors of two orders are within a factor of sqrt(terms), and what sums cause is passed on by the
    rest of the computation alike in both. PyTorch's own error stands for that, measured; where it was
    lucky (one rounding may be none), u times the largest element stands for it."""
    assert ours.keys() == in_float32.keys() == in_float64.keys()
    found = {}
    for name, exact in in_float64.items():
        exact, own, peer = detached(exact), np.asarray(ours[name]), detached(in_float32[name])
        own = own.reshape(exact.shape)
        assert exact.dtype == np.float64 and own.dtype == peer.dtype == np.float32
        assert np.all(np.isfinite(own)), name
        allowed = np.max(np.abs(peer - exact)) + UNIT * np.max(np.abs(exact))
        error = np.max(np.abs(own - exact))
        found[name] = error / (math.sqrt(terms) * allowed) if error else 0.0
    return found


def assert_as_exact(ours, in_float32, in_float64, terms):
    found = shares(ours, in_float32, in_float64, terms)
    assert all(share <= 1 for share in found.values()), found


def in_both(program):
    """program(dtype) in float32 and float64."""
    return program(torch.float32), program(torch.float64)


class Draw:
    """Numbers that are the same in every type: normal float32 ones, from one seed."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def normal(self, *shape, scale=1.0):
        return (scale * self.random.standard_normal(shape)).astype(np.float32)

    def parameters(self, module, scale=0.3):
        """For every parameter of a module, by name: also where PyTorch starts with 0 or 1."""
        return {name: self.normal(*p.shape, scale=scale) for name, p in module.named_parameters()}


def loaded(module, values, dtype):
    """The module in that type, with those values."""
    module.load_state_dict({name: torch.from_numpy(x) for name, x in values.items()}, strict=False)
    return module.to(dtype)


def leaf(array, dtype):
    return torch.from_numpy(array).to(dtype).requires_grad_()


def finish(y, d_y, inputs, module, extra=()):
    """Backward from d_y; results y, d_ of inputs and of the module's parameters by name."""
    outputs = [y, *(x for x, _ in extra)]
    flows = [torch.from_numpy(d).to(x.dtype) for x, d in ((y, d_y), *extra)]
    torch.autograd.backward(outputs, flows)
    results = {"y": y} | {f"d_{name}": x.grad for name, x in inputs.items()}
    return results | {name: p.grad for name, p in module.named_parameters()}


def packed(x, lengths):
    """[sum of lengths, ...] of padded [count, longest, ...]."""
    return torch.cat([row[:length] for row, length in zip(x, lengths)])


def padded(x, lengths):
    return torch.nn.utils.rnn.pad_sequence(x.split(list(lengths)), batch_first=True)
