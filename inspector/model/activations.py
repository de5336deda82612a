"""What happens inside on real text: silent units, biases beside W x, size of the stream."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.model.ablation import biases
from inspector.model.asking import RANGE, Reading, forward, mean_of, source, whole
from inspector.model.hooks import watched
from inspector.model.load import Model
from inspector.model.places import Block
from inspector.model.questions import decoder_start, each_text, encode
from inspector.model.records import BiasSize, LayerActivations
from inspector.model.sums import Sizes, Units
from inspector.results import Records, show_plain
from inspector.weights.problems import Log

FEW = 300  # tokens below which a silent unit may well speak on one text in a hundred
ACTIVATION_NAMES = (
    *("act", "act_fn", "activation", "activation_fn", "intermediate_act_fn", "gelu_impl"),
)
UNITS = (
    "saturated: slope below 0.05; dead: never above 1e-3 of the loudest output of the middle unit; "
    "linear: slope 0.85 to 1.15"
)


def activations(
    model: Model, texts: Sequence[str], progress: Progress = no_progress
) -> Records[LayerActivations]:
    """Signal size through depth, dead and saturated units, and W x against b, on these texts.

    A unit that is silent on n tokens may still speak on up to 3/n of all (95 %, rule of three):
    `summary.silent_at_most`. The summary's `biases` holds a BiasSize for each bias that is added to
    something. A decoder that reads beside an encoder is given the same text. Progress counts texts.
    """
    if isinstance(texts, str) or not texts:
        raise BadOption("Give a list of at least one text.")
    log = Log()
    readings = list(each_text(texts, lambda text: _reading(model, text)))
    layers = [_Layer(block) for block in model.blocks]
    added = _biased(model)
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            layer.watch(stack)
        for bias in added:
            bias.watch(stack)
        for done, reading in enumerate(readings):
            progress(done, len(readings), show_plain(texts[done], 40))
            forward(model, [reading])
            for layer in layers:
                layer.end_text()
    progress(len(readings), len(readings), "done")
    tokens = sum(len(reading.ids) for reading in readings)
    if tokens < FEW:
        told = f"{tokens} tokens: a unit silent on all may still speak on up to {3 / tokens:.0%}"
        log.add("AC-FEW", "texts", told, tokens=tokens)
    return Records(
        command="activations",
        record_type=LayerActivations,
        source=source(model),
        coverage=whole(model),
        summary={
            "texts": len(texts),
            "tokens": tokens,
            "silent_at_most": min(1.0, 3 / tokens),
            "units": UNITS,
            "range": RANGE,
            "biases": [one.result() for one in added],
        },
        records=tuple(layer.result(log) for layer in layers),
        findings=(*model.findings, *log.findings),
    )


def _reading(model: Model, text: str) -> Reading:
    ids = encode(model, text)
    decoder = None
    if model.kind == "encoder-decoder":
        decoder = torch.cat([ids.new_tensor([decoder_start(model)]), ids[:-1]])
    return Reading(ids=ids, decoder=decoder, asks={})


class _Layer:
    """Sums over the tokens of one block."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.entering, self.leaving = Sizes(), Sizes()
        self.attention, self.mlp = Sizes(), Sizes()
        self.text = Sizes()
        self.of_texts: list[float] = []
        self.cosines = 0.0
        self.activation = activation_of(block)
        self.units = Units()

    def watch(self, stack: ExitStack) -> None:
        """Add up what passes while the stack is open."""
        block = self.block
        stack.enter_context(watched(block.module, self._stream))
        given = [block.attention_norm or block.output]
        given += [block.cross] if block.cross is not None else []
        for module in given:
            stack.enter_context(watched(module, lambda _x, y: self.attention.add(y)))
        mlp = block.mlp_norm or block.mlp
        stack.enter_context(watched(mlp, lambda _x, y: self.mlp.add(y)))
        if self.activation is not None:
            stack.enter_context(watched(self.activation, self._unit))

    def _stream(self, entering: Tensor, leaving: Tensor) -> None:
        self.entering.add(entering)
        self.leaving.add(leaving)
        self.text.add(leaving)
        cosine = torch.cosine_similarity(entering.float(), leaving.float(), dim=-1)
        self.cosines += float(cosine.sum())

    def _unit(self, before: Tensor, after: Tensor) -> None:
        assert self.activation is not None
        self.units.add(before, after, self.activation.forward)

    def end_text(self) -> None:
        """The next sums are of another text."""
        self.of_texts.append(self.text.rms)
        self.text = Sizes()

    def result(self, log: Log) -> LayerActivations:
        """The record of this block."""
        name = f"{self.block.stack} layer {self.block.layer}".strip()
        rows = self.leaving.rows
        told = self.activation is not None and self.units.sizes.rows == rows
        if not told:
            why = "its activation is no module of its own" if self.activation is None else ""
            why = why or "each token goes through some of its experts"
            log.add("AC-UNITS", name, f"units are not told apart: {why}")
        value, low, high = mean_of(np.array(self.of_texts))
        return LayerActivations(
            name=name,
            layer=self.block.layer,
            stack=self.block.stack,
            stream_rms=value,
            stream_rms_low=low,
            stream_rms_high=high,
            growth=_over(self.leaving.rms, self.entering.rms),
            cosine=self.cosines / rows,
            largest=_over(self.leaving.largest, self.leaving.rms),
            attention_rms=self.attention.rms,
            mlp_rms=self.mlp.rms,
            **self.units.counts() if told else dict.fromkeys(Units.FIELDS),
        )


class _Biased:
    """Sums over tokens of what one bias is added to."""

    def __init__(
        self, name: str, layer: int | None, role: str, module: nn.Module, bias: Tensor
    ) -> None:
        self.name, self.layer, self.role = name, layer, role
        self.module, self.bias = module, bias.detach().float()
        self.squares = torch.zeros_like(self.bias, dtype=torch.float64)
        self.rows = 0

    def watch(self, stack: ExitStack) -> None:
        """Add up what passes while the stack is open."""
        stack.enter_context(watched(self.module, self._add))

    def _add(self, _given: Tensor, out: Tensor) -> None:
        product = (out.float() - self.bias).flatten(0, -2)
        self.squares += product.double().square().sum(0)
        self.rows += len(product)

    def result(self) -> BiasSize:
        """The record of this bias."""
        unit = (self.squares / max(1, self.rows)).sqrt()
        product = float(unit.square().mean().sqrt())
        size = float(self.bias.double().square().mean().sqrt())
        return BiasSize(
            name=self.name,
            layer=self.layer,
            role=self.role,
            product_rms=product,
            bias_rms=size,
            ratio=_over(size, product),
            larger_units=float((self.bias.abs() > unit).double().mean()),
        )


def _biased(model: Model) -> list[_Biased]:
    """Every bias that a module of the usual kind adds to its output, with its place."""
    placed = {id(parameter): place for place, parameter in biases(model)}
    made = []
    for module in model.network.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter) and id(bias) in placed and bias.ndim == 1:
            place = placed[id(bias)]
            if getattr(module, "weight", None) is not None:
                made.append(_Biased(place.name, place.layer, place.role, module, bias))
    return made


def activation_of(block: Block) -> nn.Module | None:
    """The module that bends the units of a block's MLP; None where a family has none of its own."""
    found = [
        module
        for name, module in block.module.named_modules()
        if name.rpartition(".")[2] in ACTIVATION_NAMES and not any(module.parameters())
    ]
    return found[0] if len(found) == 1 else None


def _over(one: float, other: float) -> float | None:
    return one / other if other else None
