"""Every family of models in the installed transformers that goes through its attention interface.

    python tests/python/families.py [family ...]        # prints a Markdown table; all families:
    half an hour

For each family tiny random models run with "eager" and with "attn" (or another implementation:
--with sdpa): all outputs, all attentions, and what they generate, are compared. `check` is what
test_transformers.py calls.

The bound of a comparison is measured, for each model: "eager" runs a second time with noise on what
each attention returns, of random sign and of 8 times the error that either implementation may make
in float32. What this changes an output by is the tolerance for it. The error: scores are sums of d
products, so off by at most (d + 2) eps S, where S = max |q| max |k| scale bounds them; a relative
error of weights of twice that, n + 3 roundings for their sum and quotient, and n for the sum over
values:
    b = (2 (d + 2) S + 2 n + 8) eps, times max |value| for the output.
Both implementations err, which is 2 of the 8; noise of random sign finds less than the worst, for
which the other 4.
"""

import argparse
import importlib
import inspect
import multiprocessing
import os
import resource
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tiny
import torch
import transformers
from tiny_inputs import variants
from tiny_overrides import OVERRIDES
from transformers import AttentionInterface, PreTrainedModel

EPS = torch.finfo(torch.float32).eps
NEW_TOKENS = 6
MEMORY = 8 << 30  # bytes of addresses for one family's process, of which torch maps about three
MODELS = Path(transformers.__file__).parent / "models"


class Mismatch(AssertionError):
    """The two implementations do not say the same."""


def family_names() -> dict[str, str]:
    """Name of a family -> its module, for all whose source asks for the attention interface."""
    names = {}
    for path in sorted(MODELS.glob("*/modeling_*.py")):
        if "ALL_ATTENTION_FUNCTIONS" in path.read_text():
            family = path.stem.removeprefix("modeling_")
            names[family] = f"transformers.models.{path.parent.name}.{path.stem}"
    return names


def _attends(cls) -> bool:
    forward = getattr(cls, "forward", None)
    return forward is not None and "ALL_ATTENTION_FUNCTIONS" in getattr(
        getattr(inspect.unwrap(forward), "__code__", None), "co_names", ()
    )


def _classes_of(module):
    for name, cls in vars(module).items():
        if (
            inspect.isclass(cls)
            and cls.__module__ == module.__name__
            and issubclass(cls, torch.nn.Module)
        ):
            yield name, cls


def attention_classes(module) -> set[str]:
    return {name for name, cls in _classes_of(module) if _attends(cls)}


def model_classes(module) -> list:
    """Models of a module: those that generate first (with an encoder before without), then bare
    ones."""
    models = [
        cls
        for name, cls in _classes_of(module)
        if issubclass(cls, PreTrainedModel)
        and cls.config_class is not None
        and not name.endswith("PreTrainedModel")
    ]

    def order(cls):
        name = cls.__name__
        return not cls.can_generate(), "Conditional" not in name, not name.endswith("Model"), name

    return sorted(models, key=order)


def configs(cls, family: str):
    """Tiny configs for a model: its own, and as a decoder beside an encoder where it can be one."""
    whole = cls.config_class().to_dict()
    yield cls.config_class.from_dict(tiny.shrink(whole, OVERRIDES.get(family)))
    if whole.get("add_cross_attention") is False:
        overrides = {**OVERRIDES.get(family, {}), "add_cross_attention": True, "is_decoder": True}
        yield cls.config_class.from_dict(tiny.shrink(whole, overrides))


def make_model(cls, config):
    """A tiny random model, whose every parameter says something (gates start at 0, scales at 1)."""
    config._attn_implementation = "eager"
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in cls(config).parameters())
    if count > 3e7:
        raise MemoryError(f"{count / 1e6:.0f} million parameters")
    torch.manual_seed(0)
    model = cls(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


# --- What runs inside the attention interface
# -----------------------------------------------------------


@dataclass
class Calls:
    """Which attention classes ran, how often."""

    classes: dict = field(default_factory=dict)

    def add(self, module):
        name = type(module).__name__
        self.classes[name] = self.classes.get(name, 0) + 1


def _noisy(query, key, value, output, weights, kwargs, generator):
    d, n = query.shape[-1], key.shape[-2]
    scale = kwargs.get("scaling") or d**-0.5
    largest = query.norm(dim=-1).max() * key.norm(dim=-1).max() * abs(scale)
    relative = 8 * (2 * (d + 2) * largest + 2 * n + 8) * EPS

    def sign(like):
        return torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1

    output = output + relative * value.abs().max() * sign(output)
    return output, None if weights is None else weights * (1 + relative * sign(weights))


@contextmanager
def watched(calls: Calls, noise: bool = False):
    """Counts calls of every attention function that models ask for; with noise on those of
    "eager"."""
    original, generator = AttentionInterface.get_interface, torch.Generator().manual_seed(2)

    def get_interface(self, implementation, default):
        function = original(self, implementation, default)

        def run(module, query, key, value, *args, **kwargs):
            calls.add(module)
            output, weights = function(module, query, key, value, *args, **kwargs)
            if noise:
                output, weights = _noisy(query, key, value, output, weights, kwargs, generator)
            return output, weights

        return run

    AttentionInterface.get_interface = get_interface
    try:
        yield calls
    finally:
        AttentionInterface.get_interface = original


# --- Comparisons
# ----------------------------------------------------------------------------------------


def _tensors(value, path="", found=None) -> dict:
    """All floating tensors of a model's output but those of its caches, by path."""
    found = {} if found is None else found
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            found[path] = value.detach()
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("past_key_values", "cache", "cache_params"):
                _tensors(inner, f"{path}.{name}" if path else name, found)
    elif isinstance(value, (tuple, list)):
        for i, inner in enumerate(value):
            _tensors(inner, f"{path}[{i}]", found)
    return found


def forward(model, inputs, calls, noise=False, **kwargs):
    torch.manual_seed(3)
    with torch.no_grad(), watched(calls, noise):
        return _tensors(model(**inputs, **kwargs))


def _largest(tensor):
    return tensor.abs().nan_to_num(0, 0, 0).max().item() if tensor.numel() else 0.0


def compare(name, expected, got, noisy, real=None):
    """Raises Mismatch if an output is off by more than noise makes it; `real` [batch, n] marks rows
    to look at."""
    if expected.shape != got.shape:
        raise Mismatch(f"{name} is {tuple(got.shape)}, not {tuple(expected.shape)}")
    if real is not None:
        if expected.shape[: real.dim()] != real.shape:
            return
        expected, got, noisy = expected[real], got[real], noisy[real]
    # Outputs may carry masks (-infinity, or nearly), and NaN where eager attends to nothing.
    finite = expected.isfinite() & (expected > torch.finfo(expected.dtype).min / 2)
    if not torch.equal(
        expected.isnan() | finite, expected.isnan() | (got > torch.finfo(got.dtype).min / 2)
    ):
        raise Mismatch(f"{name}: other elements are finite")
    expected, got, noisy = (tensor.where(finite, 0).double() for tensor in (expected, got, noisy))
    # Rounding of the output itself, where noise does not reach an element.
    bound = _largest(noisy - expected) + 4 * EPS * _largest(expected)
    if (off := _largest(got - expected)) > bound:
        raise Mismatch(
            f"{name} is off by {off:.2g}, the bound is {bound:.2g}, "
            f"the largest {_largest(expected):.2g}"
        )


# Their eager attention returns weights before the sink has taken its share; libattn's, as they
# multiply the values.
WITHOUT_SINK = ("granite_swa", "granitemoe_swa")


def _full_rows(outputs):
    """Attentions divided by the sums of their rows."""
    return {
        name: tensor / tensor.sum(-1, keepdim=True) if "attentions" in name else tensor
        for name, tensor in outputs.items()
    }


def _but_attentions(outputs):
    return {name: tensor for name, tensor in outputs.items() if "attentions" not in name}


def compare_all(expected, got, noisy, real=None):
    if expected.keys() != got.keys():
        missing, new = expected.keys() - got.keys(), got.keys() - expected.keys()
        raise Mismatch(f"missing outputs: {sorted(missing)[:3]}; new: {sorted(new)[:3]}")
    for name in expected:
        compare(name, expected[name], got[name], noisy[name], real)


# --- One model
# ------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was compared of one family."""

    classes: set = field(default_factory=set)  # attention classes that ran and agreed
    all_classes: set = field(default_factory=set)
    models: list = field(default_factory=list)
    attentions: int = 0
    padded: int = 0
    generated: str = ""
    problems: list = field(default_factory=list)
    not_run: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def passed(self):
        return bool(self.classes) and not self.problems


def switch(model, implementation):
    """Sets the implementation of a model and all its parts, or raises Mismatch if a class does not
    allow it."""
    model.set_attn_implementation(implementation)
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if _attends(type(module)) and config._attn_implementation != implementation:
            raise Mismatch(f"{name} keeps {config._attn_implementation}")


def fitting_inputs(model, wanted):
    """(inputs, outputs, calls) of the first variant that reaches one of the wanted classes.

    If none does, of the first that reaches any.
    """
    reasons, other = [], None
    for inputs in variants(model):
        calls = Calls()
        try:
            outputs = forward(model, inputs, calls)
        except Exception as error:  # any model may refuse any input in any way
            reason = " ".join(str(error).split())[:100]
            reasons.append(f"{'+'.join(inputs)}: {type(error).__name__} {reason}")
            continue
        if calls.classes.keys() & wanted:
            return inputs, outputs, calls
        if calls.classes and other is None:
            other = inputs, outputs, calls
        reasons.append(f"{'+'.join(inputs)}: reaches {sorted(calls.classes) or 'no attention'}")
    if other is None:
        raise LookupError("; ".join(reasons[:3]) or "no inputs known")
    return other


def _forward_by_config(model, inputs):
    """For models which do not hand output_attentions on to their layers: asked in the config."""
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}.values()
    for config in configs:
        config.output_attentions = True
    try:
        return forward(model, inputs, Calls())
    finally:
        for config in configs:
            config.output_attentions = False


def check_forward(model, inputs, calls, report, implementation):
    """All outputs, and where the model can, all attentions."""
    wanted = {"output_attentions": True} if implementation != "sdpa" else {}
    for kwargs in ({}, wanted) if wanted else ({},):
        try:
            expected = forward(model, inputs, Calls(), **kwargs)
        except TypeError as error:
            if "output_attentions" in str(error):
                continue  # a model that has no such argument
            raise
        noisy = forward(model, inputs, Calls(), noise=True, **kwargs)
        switch(model, implementation)
        ran = Calls()
        got = forward(model, inputs, ran, **kwargs)
        if kwargs and expected.keys() - got.keys():
            got = _forward_by_config(model, inputs)
            report.notes.append("attentions by config.output_attentions alone")
        switch(model, "eager")
        if not kwargs and ran.classes != calls.classes:
            raise Mismatch(f"ran {ran.classes}, eager {calls.classes}")
        if model.config.model_type in WITHOUT_SINK:
            got = _full_rows(got)
        if not kwargs:  # some models hand on what eager returns, asked or not
            expected, got = _but_attentions(expected), _but_attentions(got)
        compare_all(expected, got, noisy)
        report.attentions += sum("attentions" in name for name in expected)


def check_padded(model, inputs, report, implementation):
    """The second row ends in padding: real tokens agree."""
    mask = inputs.get("attention_mask")
    if mask is None or "input_ids" not in inputs or mask.shape != inputs["input_ids"].shape:
        return
    mask = mask.clone()
    mask[1, -4:] = 0
    inputs = {**inputs, "attention_mask": mask}
    expected, noisy = forward(model, inputs, Calls()), forward(model, inputs, Calls(), noise=True)
    switch(model, implementation)
    got = forward(model, inputs, Calls())
    switch(model, "eager")
    real = mask.bool()
    compare_all(_but_attentions(expected), _but_attentions(got), noisy, real)
    report.padded += 1


def _generate(model, inputs):
    torch.manual_seed(4)
    config = getattr(model, "generation_config", None)
    if model.config.is_encoder_decoder and config.decoder_start_token_id is None:
        config.decoder_start_token_id = 0
    with torch.no_grad():
        return model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )


def check_generation(model, inputs, report, implementation):
    """The same tokens, greedily, from prompts of which one is padded on the left where there is a
    mask."""
    inputs = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
    if "attention_mask" in inputs and not model.config.is_encoder_decoder and "input_ids" in inputs:
        mask = inputs["attention_mask"].clone()
        mask[1, :3] = 0
        inputs["attention_mask"] = mask
    try:
        expected = _generate(model, inputs)
    except Exception as error:  # a model that generates from other inputs than it is called with
        report.not_run.append(
            f"generation: {type(error).__name__} {str(error).splitlines()[:1]}"[:120]
        )
        return
    switch(model, implementation)
    got = _generate(model, inputs)
    switch(model, "eager")
    if isinstance(expected, torch.Tensor):
        if expected.is_floating_point():
            report.not_run.append("generation: of sound, not tokens")
            return
        if not torch.equal(expected, got):
            raise Mismatch(f"generated {got.tolist()}, eager {expected.tolist()}")
        report.generated = type(model).__name__


def check_model(cls, config, report, implementation):
    model = make_model(cls, config)
    inputs, _, calls = fitting_inputs(model, report.all_classes - report.classes)
    new = set(calls.classes) & report.all_classes - report.classes
    generates = cls.can_generate() and not report.generated
    if not new and not generates:
        return
    check_forward(model, inputs, calls, report, implementation)
    check_padded(model, inputs, report, implementation)
    if generates:
        check_generation(model, inputs, report, implementation)
    report.classes |= set(calls.classes) & report.all_classes
    report.models.append(cls.__name__)


def check(family: str, implementation="attn") -> Report:
    """Runs a family's models until each of its attention classes has run."""
    module = importlib.import_module(family_names()[family])
    report = Report(all_classes=attention_classes(module))
    for cls in model_classes(module):
        if report.classes >= report.all_classes and (report.generated or not cls.can_generate()):
            break
        try:
            for config in configs(cls, family):
                check_model(cls, config, report, implementation)
        except Mismatch as error:
            report.problems.append(f"{cls.__name__}: {error}")
        except Exception as error:
            text = " ".join(traceback.format_exception_only(error)[-1].split())[:300]
            frames = traceback.extract_tb(error.__traceback__)
            ours = any("attn/" in frame.filename for frame in frames)
            (report.problems if ours else report.not_run).append(f"{cls.__name__}: {text}")
    return report


# --- All of them
# ----------------------------------------------------------------------------------------


def _worker(family, implementation, pipe):
    torch.set_num_threads(1)
    # A family whose sizes tiny.py does not know must not take the machine with it.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stderr = open(os.devnull, "w")
    try:
        pipe.send(check(family, implementation))
    except BaseException as error:
        pipe.send(Report(not_run=[f"{type(error).__name__}: {error}"]))


def check_apart(family, implementation="attn", seconds=240) -> Report:
    """`check` in a process of its own, which may take so long and may die."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_worker, args=(family, implementation, there)
    )
    process.start()
    there.close()
    try:
        report = (
            here.recv() if here.poll(seconds) else Report(not_run=[f"not done after {seconds} s"])
        )
    except EOFError:
        report = Report(not_run=["its process died"])
    if process.is_alive():
        process.join(1)
        process.kill()
    process.join()
    return report


def row(family, report) -> str:
    state = "passes" if report.passed else "differs" if report.problems else "not run"
    if report.passed and (missing := report.all_classes - report.classes):
        state = f"passes, but not run: {', '.join(sorted(missing))}"
    complete = report.passed and report.classes >= report.all_classes
    reasons = report.problems + report.notes + ([] if complete else report.not_run)
    cells = [
        family,
        state,
        str(len(report.classes)),
        str(report.attentions or ""),
        report.generated,
        "; ".join(reasons).replace("|", "\\|")[:300],
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "families", nargs="*", help="names as of transformers' modeling files; none: all"
    )
    parser.add_argument(
        "--with", dest="implementation", default="attn", help="what to compare with eager"
    )
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, {arguments.implementation} beside eager\n")
    print(
        "| family | | attention classes | attentions compared | generated token for token by "
        "| reasons |"
    )
    print("|---|---|---|---|---|---|")
    reports = {}
    for family in arguments.families or family_names():
        reports[family] = check_apart(family, arguments.implementation)
        print(row(family, reports[family]), flush=True)
    passed = sum(report.passed for report in reports.values())
    generate = sum(bool(report.generated) for report in reports.values())
    print(f"\n{passed} of {len(reports)} families pass; {generate} generate.")
    return 0 if all(not report.problems for report in reports.values()) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
    import attn.transformers  # noqa: F401  (registers "attn")

    sys.exit(main())
