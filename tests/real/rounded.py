"""Numbers with what rounding may do to them.

A Rounded has a value, in float64, and an error: a computation in float32 of the same formula, from the
same inputs and with sums in any order, ends within `error` of the value. u = 2^-24 is half a unit in the
last place, which a rounding is off by, relatively.
"""

import numpy as np

U = 2.0**-24


class Rounded:
    def __init__(self, value, error=None):
        self.value = np.asarray(value, np.float64)
        self.error = np.zeros_like(self.value) if error is None else error

    @property
    def size(self):
        return np.abs(self.value) + self.error

    @property
    def T(self):
        return Rounded(self.value.T, self.error.T)

    def __getitem__(self, at):
        return Rounded(self.value[at], self.error[at])

    def rounded(self):
        """After one more rounding."""
        return Rounded(self.value, self.error + U * self.size)

    def __add__(self, other):
        return Rounded(self.value + other.value, self.error + other.error).rounded()

    def __sub__(self, other):
        return Rounded(self.value - other.value, self.error + other.error).rounded()

    def __mul__(self, other):
        error = self.error * other.size + np.abs(self.value) * other.error
        return Rounded(self.value * other.value, error).rounded()

    def __matmul__(self, other):
        """A sum of n products is off by n u times the sum of their sizes (and u^2, for which the 1)."""
        error = self.error @ other.size + np.abs(self.value) @ other.error
        sizes = self.size @ other.size
        return Rounded(self.value @ other.value, error + (self.value.shape[-1] + 1) * U * sizes)

    def sum(self, axis):
        sizes = self.size.sum(axis) * (self.value.shape[axis] + 1)
        return Rounded(self.value.sum(axis), self.error.sum(axis) + U * sizes)


ONE = Rounded(1.0)


def sigmoid(x):
    """Of slope s (1 - s) <= 1/4. exp2 is within 2 units in the last place (4 u), and so is its argument,
    a product with a rounded constant, within 2 u: of e = exp(-|x|) that makes 4 u + 2 u |x|. A sum and a
    division round s once each, and once more what e leaves of it."""
    s = 1 / (1 + np.exp(-x.value))
    own = s * (1 - s) * (4 + 2 * np.abs(x.value)) * U + 3 * U * s
    return Rounded(s, x.error / 4 + own)


def tanh(x):
    """Of slope <= 1; within 2 units in the last place."""
    t = np.tanh(x.value)
    return Rounded(t, x.error + 4 * U * np.abs(t))


def rows(parts):
    return Rounded(np.stack([p.value for p in parts]), np.stack([p.error for p in parts]))


def beside(parts):
    return Rounded(
        np.concatenate([p.value for p in parts], -1), np.concatenate([p.error for p in parts], -1)
    )
