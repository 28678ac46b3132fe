"""Attention as a PyTorch program, its gradients by autograd in float64, and how far others may be off.

A program of scores is written once, over the operations of `Exact` or of `Sizes`. With `Exact` autograd
finds the gradients. With `Sizes`, on the absolute values of the same inputs, it gives a majorant S: its
value is at least the sum of the sizes of all terms of a score, and its derivative J^ by an input at
least that of the score, by the sizes of its terms. So, with u the unit roundoff, gamma(n) the effect
of n roundings (bench/formula.py) and g = gamma(ROUNDINGS), to first order:

  scores     z[i][j] is off by at most D = g S[i][j]
  J          a derivative of a score by an input is off by at most g J^: it is made of the same factors.
             tanh' = 1 - tanh^2 is off by 2 |tanh| times what tanh is, which is (1 - tanh^2) g X + g for
             an argument whose terms have the sizes X: less than g times 2 (1 + X), which is the
             derivative of (1 + X)^2, and (1 + X)^2 itself is more than tanh and what that is off by.
  weights    dz[i][j] = a[i][j] (G[i][j] - mean(G)[i] + d_lse[i]),  mean(x) = sum_j a x / sum_j a
             with a = w for softmax (so with sum 1), w^(2 - alpha) for sparsemax and entmax; for sigmoid
             a = w (1 - w), and there is no mean. With D* the largest D of a row of visible scores,
             softmax    a = w is off by w (e^(2 D* + g) - 1): a factor e^D of each term, and of the sum
             sigmoid    w by w (e^(D + g) - 1), as the slope of its logarithm is below 1, and a by
                        that and g w more
             entmax     alpha = 3/2: r = max(z/2 - t, 0) moves by half of 2 D*, and g; a = r, w = r^2
             sparsemax  w moves by 2 D* and g; a = 1 on the support and 0 elsewhere: where a score is
                        nearer to the threshold than that, either may be
  G          the sum of the sizes of its terms, G^, times g; log w, in d_entropy's, is off by 2 D* + g
  mean       with da for how far a is off, and M = mean(G^):  mean(da/a G^) + M mean(da/a) + mean(dG)
  gradient   of an input x: J^ times how far dz is off, and J^ times the sizes of the terms of dz times
             2 g for the error of J and of the products, and gamma(terms): the sum that makes an element

Products of two errors are covered by ROUNDINGS, which is more than twice what any sum needs:
a score has two sums of at most d, G one of d_value, a row two of n_key (two blocked ones: another n_key
at most, as in bench/formula.py), functions at most 16 roundings each (docs/NUMERICS.md).
"""

from dataclasses import dataclass, field

import numpy as np
import torch

TINY = {np.float32: 2.0**-126, np.float64: 2.0**-1022}  # what is less may become zero
UNIT = {np.float32: 2.0**-24, np.float64: 2.0**-53}

BATCH, HEADS, KV_HEADS, N_QUERY, N_KEY, D, D_VALUE, HIDDEN = 2, 4, 2, 70, 200, 16, 24, 12
ROUNDINGS = 2 * (64 + 2 * D + D_VALUE + 4 * N_KEY)
PAIRS = BATCH * HEADS * N_QUERY * N_KEY

# How many pairs an element of a gradient sums over, at most; of parameters: PAIRS.
TERMS = {"query": N_KEY, "key": N_QUERY * HEADS // KV_HEADS, "value": N_QUERY * HEADS // KV_HEADS}


def gamma(roundings, unit):
    return roundings * unit / (1 - roundings * unit)


class Exact:
    """Operations as they are."""

    tanh = staticmethod(torch.tanh)

    @staticmethod
    def minus(a, b):
        return a - b

    @staticmethod
    def over(a, b):
        return a / b

    @staticmethod
    def unit(x):
        return x / x.norm(dim=-1, keepdim=True)


class Sizes:
    """Majorants of them, on sizes."""

    @staticmethod
    def tanh(x):
        return (1 + x) ** 2

    @staticmethod
    def minus(a, b):
        return a + b

    @staticmethod
    def over(a, b):
        """a/b, with derivatives 1/b and +a/b^2."""
        return a * b / b.detach() ** 2

    @staticmethod
    def unit(x):
        """x/|x|, with derivatives 1/|x| and +x y/|x|^3, twice that."""
        square = (x * x).sum(-1, keepdim=True)
        return x * square / square.detach() ** 1.5


def per_head(kv):
    """[batch, heads, n_key, .]: query head h uses key head h / (heads / kv_heads)."""
    return kv.repeat_interleave(HEADS // kv.shape[1], dim=1)


# --- Normalizers: weights, log-sum-exp --------------------------------------------------------------


def support(z, alpha):
    """Where sparsemax's and entmax's (alpha 3/2) weights are above 0, by sorting. Scores 1/(alpha - 1) or
    more below the greatest are not among them, so hidden ones may be put there."""
    with torch.no_grad():
        top = z.max(-1, keepdim=True).values
        x = (alpha - 1) * (z - top).clamp(min=-2 / (alpha - 1))
        falling = x.sort(-1, descending=True).values
        count = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)
        mean, square = falling.cumsum(-1) / count, (falling**2).cumsum(-1) / count
        if alpha == 2:
            threshold = mean - 1 / count
        else:
            room = 1 / count - (square - mean**2)
            threshold = torch.where(room >= 0, mean - room.clamp(min=0).sqrt(), torch.inf)
        size = (falling > threshold).sum(-1, keepdim=True)
        return x > threshold.gather(-1, size - 1)


def sparse(z, alpha):
    """The root r with w = r^(1/(alpha - 1)): positive where the weight is, else how far it is below."""
    inside = support(z, alpha)
    count = inside.sum(-1, keepdim=True).to(z.dtype)
    x = (alpha - 1) * z
    mean = x.where(inside, 0).sum(-1, keepdim=True) / count
    if alpha == 2:
        return x - (mean - 1 / count)
    variance = ((x.where(inside, mean) - mean) ** 2).sum(-1, keepdim=True)
    return x - (mean - ((1 - variance) / count).sqrt())


ALPHA = {"sparsemax": 2, "entmax": 1.5}


def weigh(kind, z):
    """Weights, before dropout."""
    if kind == "sigmoid":
        return torch.sigmoid(z)
    if kind in ALPHA:
        root = sparse(z, ALPHA[kind])
        return root.clamp(min=0) ** (1 / (ALPHA[kind] - 1))
    return torch.softmax(z, -1)


def weigh_bounds(kind, z, errors, unit):
    """Weights w and slopes a, and how far each may be off, given the errors of z."""
    g = gamma(ROUNDINGS, unit)
    most = errors.where(z > -torch.inf, 0).max(-1, keepdim=True).values
    w = weigh(kind, z)
    if kind == "softmax":
        off = w * torch.expm1(2 * most + g)
        return w, off, w, off
    if kind == "sigmoid":
        off = w * torch.expm1(errors.where(z > -torch.inf, 0) + g)
        return w, off, w * (1 - w), off + g * w
    root, alpha = sparse(z, ALPHA[kind]), ALPHA[kind]
    moves = (alpha - 1) * 2 * most + g
    near = root > -moves
    if alpha == 2:
        return w, moves * near, (root > 0).double(), (root.abs() <= moves).double()
    a = root.clamp(min=0)
    return w, (2 * a * moves + moves**2) * near, a, moves * near


# --- Problems ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """`score(operations, inputs)` makes z from tensors that have the names of attn_input_gradients."""

    name: str
    score: object
    kind: str = "dot"
    inputs: dict = field(default_factory=dict)  # name: shape, beyond query, key and value
    normalizer: str = "softmax"
    causal: bool = False
    keep: object = None  # keep(seed): what dropout leaves, [batch, heads, n_query, n_key]
    dropout: float = 0.0
    results: tuple = ("output",)
    entries: object = None  # [n_query, n_key]: entry of a relative table
    relative: dict = field(default_factory=dict)  # fields of attn_relative that are no tensors
    framework: object = None  # framework(inputs): the output by a function of PyTorch's own
    ranges: dict = field(default_factory=dict)  # name: (least, most); others are normal

    def shapes(self):
        kv = (BATCH, KV_HEADS, N_KEY)
        own = {"query": (BATCH, HEADS, N_QUERY, D), "key": (*kv, D), "value": (*kv, D_VALUE)}
        return own | self.inputs

    def draw(self, dtype):
        random = np.random.default_rng(7)
        return {name: self.draw_one(random, name, shape).astype(dtype)
                for name, shape in self.shapes().items()}  # fmt: skip

    def draw_one(self, random, name, shape):
        if name in self.ranges:
            return random.uniform(*self.ranges[name], shape)
        return random.standard_normal(shape)

    def flows_in(self, dtype):
        """dL/d(results)."""
        random, rows = np.random.default_rng(8), (BATCH, HEADS, N_QUERY)
        shapes = {"output": (*rows, D_VALUE), "lse": (*rows, 1), "weights": (*rows, N_KEY),
                  "received_sum": (BATCH, HEADS, 1, N_KEY), "entropy": (*rows, 1)}  # fmt: skip
        return {name: random.standard_normal(shapes[name]).astype(dtype) for name in self.results}

    def visible(self):
        """[n_query, n_key], and a column more for the sink."""
        seen = torch.ones(N_QUERY, N_KEY, dtype=torch.bool)
        return seen.tril() if self.causal else seen

    def kept(self):
        """What dropout multiplies weights with."""
        return torch.ones(()) if self.keep is None else self.keep.double() / (1 - self.dropout)

    def z(self, operations, t, hidden):
        """Scores, with `hidden` where nothing is visible, and the sink as the last key if there is one."""
        z = self.score(operations, t).where(self.visible(), hidden)
        if "sinks" not in t:
            return z
        return torch.cat([z, t["sinks"].expand(BATCH, HEADS, N_QUERY, 1)], -1)

    def values(self, w, t):
        """What weights w of the keys make of the values."""
        output = w @ per_head(t["value"])
        if "relative_values" in t:
            table = t["relative_values"][0][:, self.entries]
            output = output + (w.unsqueeze(-2) @ table).squeeze(-2)
        return output


def leaves(inputs, sizes=False):
    """Inputs as float64 tensors that gradients are asked for of."""
    tensors = {name: torch.from_numpy(x.astype(np.float64)) for name, x in inputs.items()}
    return {name: (x.abs() if sizes else x).requires_grad_() for name, x in tensors.items()}


def numbers(arrays):
    return {name: torch.from_numpy(x.astype(np.float64)) for name, x in arrays.items()}


def results(case, t):
    """The results that flow back, by name."""
    if case.framework is not None:
        return {"output": case.framework(t)}
    z = case.z(Exact, t, -torch.inf)
    w = weigh(case.normalizer, z)[..., :N_KEY] * case.kept().to(z.dtype)
    made = {"output": case.values(w, t), "weights": w, "received_sum": w.sum(-2, keepdim=True)}
    if case.normalizer == "softmax":
        made["lse"] = torch.logsumexp(z, -1, keepdim=True)
        made["entropy"] = -torch.xlogy(w, w.where(w > 0, 1)).sum(-1, keepdim=True)
    return {name: made[name] for name in case.results}


def gradients(case, inputs, flows, dtype=torch.float64):
    """By autograd, as arrays by name."""
    t = {name: x.detach().to(dtype).requires_grad_() for name, x in leaves(inputs).items()}
    made, d = results(case, t), numbers(flows)
    loss = sum((made[name] * d[name].to(dtype)).sum() for name in made)
    found = torch.autograd.grad(loss, list(t.values()), materialize_grads=True)
    return {name: x.double().numpy() for name, x in zip(t, found)}


def sizes_of_g(case, t, d, w):
    """G^ without what entropy adds, in the columns of keys; dropout's factor included."""
    g = torch.zeros(BATCH, HEADS, N_QUERY, N_KEY, dtype=torch.float64)
    if "output" in d:
        probe = torch.zeros_like(g, requires_grad=True)
        made = (case.values(probe, {n: x.detach() for n, x in t.items()}) * d["output"]).sum()
        g = g + torch.autograd.grad(made, probe)[0]
    for name in ("weights", "received_sum"):
        g = g + d.get(name, 0)
    return g * case.kept()


def slopes_off(case, t, d, z, errors, unit):
    """The sizes of the terms of dz, how far dz may be off, weights and how far those may be."""
    g = gamma(ROUNDINGS, unit)
    w, w_off, a, a_off = weigh_bounds(case.normalizer, z, errors, unit)
    sizes, off = sizes_of_g(case, t, d, w), 0
    if "entropy" in d:
        logarithm = w[..., :N_KEY].where(w[..., :N_KEY] > 0, 1).log().abs() + 1
        most = errors.where(z > -torch.inf, 0).max(-1, keepdim=True).values
        sizes = sizes + d["entropy"] * logarithm
        off = d["entropy"] * (2 * most + g)
    if z.shape[-1] > N_KEY:  # the sink has no value
        sizes = torch.nn.functional.pad(sizes, (0, 1))
    off = off + g * sizes
    whole, whole_off = sizes + d.get("lse", 0), off
    if case.normalizer != "sigmoid":
        total = a.sum(-1, keepdim=True)
        mean = (a * sizes).sum(-1, keepdim=True) / total
        mean_off = (a_off * sizes + a * off).sum(-1, keepdim=True) / total
        mean_off = mean_off + mean * a_off.sum(-1, keepdim=True) / total
        whole, whole_off = whole + mean, off + mean_off
    return a * whole, a_off * whole + a * whole_off, w, w_off


def bounds(case, inputs, flows, dtype):
    """How far gradients computed in dtype may be off, as arrays by name."""
    unit = UNIT[dtype]
    g = gamma(ROUNDINGS, unit)
    t = leaves(inputs, sizes=True)
    d = {name: x.abs() for name, x in numbers(flows).items()}
    exact = case.z(Exact, leaves(inputs), -torch.inf).detach()
    z_sizes = case.z(Sizes, t, 0.0)
    terms, off, w, w_off = slopes_off(case, t, d, exact, g * z_sizes.detach(), unit)

    summed = [flow(t, z_sizes, terms)]
    moved = [flow(t, z_sizes, off + 2 * g * terms)]
    if "output" in d:
        w, w_off = (x[..., :N_KEY] * case.kept() for x in (w, w_off))
        summed.append(flow(t, case.values(w, t), d["output"]))
        moved.append(flow(t, case.values(w_off + 2 * g * w + TINY[dtype], t), d["output"]))
    return {
        name: (sum(m) + gamma(TERMS.get(name, PAIRS), unit) * sum(s) + TINY[dtype]).numpy()
        for name, m, s in zip(t, zip(*moved), zip(*summed))
    }


def flow(t, result, d_result):
    """What flows from a result to each input."""
    return torch.autograd.grad(
        result, list(t.values()), d_result, materialize_grads=True, retain_graph=True
    )
