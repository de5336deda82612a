"""Every judgement of one checkpoint's weights, by the name of its command."""

import dataclasses
from collections.abc import Callable
from typing import Any

from inspector.results import Records
from inspector.weights.health import HealthCheck, health
from inspector.weights.initialization import initialization
from inspector.weights.neuron_records import Neurons
from inspector.weights.neurons import neurons
from inspector.weights.pruning import PrunedMatrix, prune
from inspector.weights.quantization import QuantizedMatrix, quantize
from inspector.weights.spectrum import MatrixSpectrum, spectrum
from inspector.weights.verdicts import Initialization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """`measure(checkpoint, where=, progress=)` gives the records."""

    measure: Callable[..., Records[Any]]
    record: type


JUDGEMENTS: dict[str, Judgement] = {
    "health": Judgement(measure=health, record=HealthCheck),
    "spectrum": Judgement(measure=spectrum, record=MatrixSpectrum),
    "init": Judgement(measure=initialization, record=Initialization),
    "neurons": Judgement(measure=neurons, record=Neurons),
    "prune": Judgement(measure=prune, record=PrunedMatrix),
    "quantize": Judgement(measure=quantize, record=QuantizedMatrix),
}
