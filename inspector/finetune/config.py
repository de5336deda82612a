"""What a run of fine-tuning is to do: one file, each key documented, unknown keys refused."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from inspector.errors import BadOption
from inspector.fairness.files import read_bytes, text_of
from inspector.fairness.items import BadStimuli
from inspector.fairness.lined_yaml import Node, parse_yaml
from inspector.results import show_plain

Task = Literal[
    "sequence-classification",
    "multi-label-classification",
    "regression",
    "token-classification",
    "causal-lm",
    "masked-lm",
]
Share = Annotated[float, Field(gt=0, lt=1)]
Part = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
NOTHING = ("", "null", "~", "none")


class Section(pydantic.BaseModel):
    """A part of the configuration; the text below a key is its documentation."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Data(Section):
    """Where the rows come from and which of their columns mean what."""

    train: str
    """Rows to learn from: a .csv, .tsv, .jsonl, .parquet or .txt file, a folder that `datasets`
    saved, hub:ID, or demo:planted and demo:balanced, sentences of the demo models' corpora."""
    validation: str | None = None
    """Rows to steer by, never learned from; none: `held_out` of the training rows."""
    test: str | None = None
    """Rows that are asked once, at the end."""
    held_out: Share = 0.1
    """Share of the training rows kept for validation where there is no file of them."""
    text: str = "text"
    """Column of the text; for token classification a list of words, or words parted by spaces."""
    label: str = "label"
    """Column of the answer; several labels of one row are parted by |."""
    group: str | None = None
    """Column of the group a row speaks of, for measures of fairness and group-aware objectives."""
    together: str | None = None
    """Column whose equal values are kept on one side of every split, such as a text's origin."""
    max_tokens: Annotated[int, Field(ge=4)] = 128
    """Longest row in tokens."""
    over_long: Literal["error", "truncate", "drop"] = "error"
    """What is done with longer rows; either way they are counted."""
    rows: Count | None = None
    """About so many training rows, of each label alike, drawn by the seed; none: all."""


class Strategy(Section):
    """Which of the model's own tensors move, and at which rate."""

    name: str = "full"
    """An entry of STRATEGIES."""
    last: Count = 2
    """last-layers: so many from the top."""
    layers: tuple[str, ...] = ()
    """chosen-layers: whole names of tensors, or regular expressions that match them wholly."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """inspection-guided and random-layers: share of the layers that move, never none nor all."""
    measure: Literal["signal-to-noise", "stable-rank", "drift"] = "signal-to-noise"
    """inspection-guided: what layers are ranked by."""
    compared_with: str | None = None
    """inspection-guided by drift: another checkpoint of the same model, such as the one before an
    earlier fine-tuning; layers that lie furthest from it move."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """layerwise-decay: factor of the rate from each layer to the one below."""
    every: Count = 1
    """gradual-unfreezing: epochs until the next layer joins; lisa: steps until the next draw."""
    at_once: Count = 2
    """lisa: layers that move at a time."""
    head_learning_rate: Rate | None = None
    """Rate of the parts that are new; none: that of the rest."""
    untie: bool = False
    """Give tied tensors storage of their own where only one of them is to move."""


class Optimiser(Section):
    """How gradients become steps."""

    name: str = "adamw"
    """sgd, adam, adamw, rmsprop, or a name that the Trainer knows, which takes of the keys below
    what it has itself."""
    learning_rate: Rate = 5e-5
    """Rate at the top of the schedule."""
    momentum: Part = 0.0
    """Of sgd and rmsprop."""
    nesterov: bool = False
    """Of sgd with momentum."""
    beta1: Part = 0.9
    """Of adam and adamw: how long the mean of gradients remembers."""
    beta2: Part = 0.999
    """Of adam and adamw: how long the mean of squared gradients remembers."""
    alpha: Part = 0.99
    """Of rmsprop: how long the mean of squared gradients remembers."""
    epsilon: Rate = 1e-8
    """Added to the root of the squared gradients."""
    weight_decay: Weight = 0.0
    """Pull of matrices towards zero: in the step for adamw, in the gradient for the others."""
    clip: Weight = 1.0
    """Largest norm of all gradients together; 0: not clipped."""


class Schedule(Section):
    """How the rate changes over the run."""

    name: Literal[
        "constant", "linear", "cosine", "triangular", "triangular2", "one-cycle", "plateau"
    ] = "linear"
    """The shape, after warm-up."""
    warmup: Weight = 0.0
    """Steps of rising rate at the start, the first of which has rate 0; below 1 a share of all
    steps. Of one-cycle the share that rises, 0: 0.3; triangular and plateau have none."""
    lowest: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Where the rate ends or turns, as a share of the top; one-cycle begins there too (0: at a
    25th, and ends at a 250,000th)."""
    half_cycle: Count = 100
    """triangular: steps from the lowest rate to the top."""
    patience: Count = 2
    """plateau: evaluations without gain before the rate falls to a tenth."""


class Objective(Section):
    """What is made small beside the error on the labels."""

    label_smoothing: Part = 0.0
    """Share of the certainty that is spread over all labels."""
    l1: Weight = 0.0
    """Pull of matrices to exact zeros, by a proximal step after each update."""
    l2_sp: Weight = 0.0
    """Pull of what moves towards the weights before fine-tuning: half the weight times the squared
    distance."""
    l2_new: Weight = 0.0
    """The same pull to zero of parts that are new, beside l2_sp."""
    r_drop: Weight = 0.0
    """Weight of the divergence between two passes with different dropout."""
    mixout: Part = 0.0
    """Chance of a weight to be replaced by what it was before fine-tuning, in each pass."""
    counterfactuals: bool = False
    """Add to each training row that names a group its counterfactual, with the same label; made
    after the rows are parted, so that none of them comes from a held-out row."""
    logit_pairing: Weight = 0.0
    """Weight of the distance between answers to a row and to its counterfactual."""
    demographic_parity: Weight = 0.0
    """Weight of the gap of mean probabilities between groups, within one large batch."""
    equalised_odds: Weight = 0.0
    """Weight of the same gap among rows of equal label."""
    reweighing: bool = False
    """Weigh rows so that group and label are independent."""
    pairs: str | None = None
    """File of word pairs that make counterfactuals, in columns `more` and `less`; none: English
    pronouns and kinship terms."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each label weighs the same however rare it is."""


class Training(Section):
    """How long, how much at once, in which precision, and what is kept."""

    epochs: Rate = 3.0
    """Passes over the training rows."""
    max_steps: Count | None = None
    """Stop after so many updates whatever the epochs."""
    batch: Count = 16
    """Rows of a forward pass."""
    accumulate: Count = 1
    """Forward passes of an update."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of activations; weights and optimiser stay float32."""
    activation_checkpointing: bool = False
    """Compute activations twice rather than keep them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches."""
    evaluate_every: Weight = 0.0
    """Steps between evaluations; 0: at each end of an epoch."""
    save_every: Weight = 0.0
    """Steps between checkpoints; 0: at each end of an epoch."""
    keep: Count = 2
    """Checkpoints that are kept beside the best."""
    early_stopping: Annotated[int, Field(ge=0)] = 0
    """Evaluations without gain before the run ends; 0: never."""
    best: bool = True
    """End with the checkpoint that was best on the validation rows, not with the last."""
    initialisation: Literal["normal", "zeros", "xavier", "he"] = "normal"
    """Of matrices that the checkpoint lacks, such as a new head; normal: as its family has it."""
    reinitialise: Annotated[int, Field(ge=0)] = 0
    """So many of the top layers begin anew, drawn as their family does."""
    masked_share: Share = 0.15
    """masked-lm: share of the tokens that are to be guessed."""


class Diagnostics(Section):
    """What is watched while it trains."""

    every: Count = 25
    """Steps between records of gradients and updates by layer."""
    probe_rows: Count = 32
    """Validation rows on which dead and saturated units are counted."""
    track: tuple[str, ...] = ()
    """Trackers by name: tensorboard, mlflow, wandb, trackio."""


class GateProbe(Section):
    """One probe that is asked before and after."""

    probe: str
    """An entry of PROBES."""
    data: str | None = None
    """Its material; none: what comes with the package."""
    margin: Rate
    """How much worse its number may get, in its own unit."""


class Gate(Section):
    """What a run must hold to be promoted."""

    probes: tuple[GateProbe, ...] = ()
    """Bias probes, asked of the model before and after on the same items."""
    utility_loss: Weight = 0.01
    """How much the metric of the task may fall below that of the model before, where it has one."""


class Config(Section):
    """One run of fine-tuning."""

    model: str
    """A directory on this machine, or demo:NAME."""
    task: Task
    """What is learned."""
    run: str
    """Folder of the run: checkpoints, records, and the model that is promoted."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of everything that is drawn: new parts, order of rows, dropout, masks."""
    data: Data
    """Rows and columns."""
    strategy: Strategy = Strategy()
    """What moves."""
    optimiser: Optimiser = Optimiser()
    """Steps."""
    schedule: Schedule = Schedule()
    """Rates."""
    objective: Objective = Objective()
    """Beside the error."""
    training: Training = Training()
    """Length and size."""
    diagnostics: Diagnostics = Diagnostics()
    """Health."""
    gate: Gate | None = None
    """Bias and utility; none: nothing is asked, and the run says so."""


def load_config(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """The configuration in a YAML file, with `key.key=value` settings put over it.

    Raises BadOption that lists every wrong key with its row, what it holds and what may stand
    there.
    """
    path = Path(path)
    try:
        data, _ = read_bytes(path)
        text, _ = text_of(data, path.name)
        root = parse_yaml(text, path.name)
    except BadStimuli as error:
        raise BadOption(str(error)) from None
    if not isinstance(root.value, dict):
        raise BadOption(f"{show_plain(path.name)}: row 1: a configuration is keys with values.")
    for setting in settings:
        _put(root, setting)
    return _checked(root, show_plain(path.name))


def _put(root: Node, setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key.strip():
        raise BadOption(f"--set {show_plain(setting)}: write key=value, such as data.rows=100.")
    try:
        node = parse_yaml(value, f"--set {key}") if value.strip() else Node(line=0, value="")
    except BadStimuli as error:
        raise BadOption(str(error)) from None
    at = root
    *sections, last = key.strip().split(".")
    for section in sections:
        assert isinstance(at.value, dict)
        at = at.value.setdefault(section, Node(line=0, value={}))
        if not isinstance(at.value, dict):
            raise BadOption(f"--set {show_plain(setting)}: {show_plain(section)} has no keys.")
    assert isinstance(at.value, dict)
    at.value[last] = _from_command(node)


def _from_command(node: Node) -> Node:
    """The same without lines, as it stands in no file."""
    value = node.value
    if isinstance(value, list):
        return Node(line=0, value=[_from_command(one) for one in value])
    if isinstance(value, dict):
        return Node(line=0, value={key: _from_command(one) for key, one in value.items()})
    return Node(line=0, value=value)


def _checked(root: Node, name: str) -> Config:
    try:
        return Config.model_validate(_plain(root))
    except pydantic.ValidationError as error:
        told = [_told(one, root) for one in error.errors(include_url=False)]
        raise BadOption(f"{name}: {'; '.join(told)}.") from None


def _plain(node: Node) -> Any:
    if isinstance(node.value, list):
        return [_plain(one) for one in node.value]
    if isinstance(node.value, dict):
        return {key: _plain(one) for key, one in node.value.items()}
    return None if node.value in NOTHING else node.value


def _told(error: Mapping[str, Any], root: Node) -> str:
    places = [str(place) for place in error["loc"]]
    line, section = root.line, root
    for place in places:
        value = section.value
        found = value.get(place) if isinstance(value, dict) else None
        if isinstance(value, list) and place.isdigit() and int(place) < len(value):
            found = value[int(place)]
        if found is None:
            break
        section = found
        line = found.line
    key = show_plain(".".join(places))
    row = f"row {line}: " if line else ""
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(places[-1], _keys(places[:-1]), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"{row}{key} is no key of the configuration{meant}"
    if error["type"] == "missing":
        return f"{row}{key} is missing"
    got = section.value if isinstance(section.value, str) else "several values"
    told = str(error["msg"]).removeprefix("Input ").replace("Value error, ", "")
    return f"{row}{key} {told}, not {show_plain(got, 60)!r}"


def _keys(places: Sequence[str]) -> list[str]:
    """The known keys of a section."""
    at: type[pydantic.BaseModel] = Config
    for place in places:
        field = at.model_fields.get(place)
        made = field.default if field is not None else None
        if isinstance(made, Section):
            at = type(made)
        elif place == "data":
            at = Data
        elif place == "gate":
            at = Gate
        else:
            return []
    return list(at.model_fields)
