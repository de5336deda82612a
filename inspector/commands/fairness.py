"""Commands that ask whether a model is biased, and whether the answer is to be believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.commands.base import AsJson, Format, Output, Quiet, analysis, app, emit
from inspector.commands.gates import GATES, located_bias
from inspector.commands.model_options import Device, Dtype, Override, Seed, load_model
from inspector.engine import Progress
from inspector.errors import BadOption
from inspector.results import Records, show_plain
from inspector.weights.checkpoint import Checkpoint, open_checkpoint

if TYPE_CHECKING:
    from inspector.fairness.localize_records import Localisation
    from inspector.fairness.probes.records import Probed
    from inspector.model.load import Model

ITEM_FORMS = ("csv", "json", "parquet")

Margin = Annotated[
    float | None,
    typer.Option(
        help="Within which a number counts as equivalent to no bias, in its own unit; none: the "
        "probe's own, 0.05 for gaps in nats, else nothing is called equivalent."
    ),
]
Items = Annotated[
    Path | None,
    typer.Option(help="Write every item, for audit, to this .csv, .json or .parquet file."),
]


@app.command()
def probes(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """The bias probes, with their source and criticism."""
    from inspector.fairness.probes.catalog import probes as listed
    from inspector.report.terminal import print_listing

    emit("probes", "probes", listed, print_listing, json, form, output, "never", quiet=False)


@analysis("print_answer", counts="done", gates=GATES)
def probe(
    model: Checkpoint,
    progress: Progress,
    *,
    probe: Annotated[str, typer.Option(help="One of those that `inspector probes` lists.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="A file or folder, hub:ID of a data set on the Hub, or demo:words for the demo "
            "models; none: the material that comes with the package, where the probe has some."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="A model from before: the change is told too, paired item by item."),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="How sentences are scored; several: all, and whether they agree. None: the "
            "probe's own."
        ),
    ] = None,
    margin: Margin = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            help="An option of this probe alone, as name=value, such as positive=yes or "
            "attributes=[sex, age]; may be given several times."
        ),
    ] = None,
    items: Items = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Keep scores in this .jsonl file as they are had; the same call again goes on "
            "where it stopped."
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "float32",
    override: Override = False,
) -> Records[Any]:
    """Whether a model is biased, on a set of items."""
    from inspector.fairness.probes.table import known_probe, stimuli_of
    from inspector.fairness.probes.table import probe as ask

    kind = known_probe(probe)
    _check_items(items)
    stimuli_of(probe, data)  # so that bad data is told before a model is loaded

    def ready(checkpoint: Checkpoint) -> "Model | Checkpoint":
        if kind.asks == "weights":
            return checkpoint
        return load_model(checkpoint, device, dtype, override)

    made = ask(
        ready(model),
        probe,
        data,
        scorer=tuple(scorer) if scorer else None,
        baseline=None if baseline is None else ready(open_checkpoint(baseline)),
        margin=margin,
        seed=seed,
        lines=scores,
        progress=progress,
        **_settings(set),
    )
    if items is not None:
        _write_items(made, items)
    return made


@analysis("print_answer", counts="forwards", gates={"bias": located_bias})
def localize(
    model: Checkpoint,
    progress: Progress,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            help="A file of templates, or demo:words for the demo models; none: those that come "
            "with the package."
        ),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="One category of the templates; none: all together.")
    ] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="layers, heads, blocks or matrices; may be given several times. None: all."
        ),
    ] = None,
    items: Items = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "float32",
    override: Override = False,
) -> Records[Any]:
    """Which layers, heads and matrices carry a bias."""
    from inspector.fairness.localize import localize as measure
    from inspector.fairness.localize_records import WHAT
    from inspector.fairness.stored import templates_of

    _check_items(items)
    stimuli = templates_of(data)
    opened = load_model(model, device, dtype, override)
    chosen = tuple(dict.fromkeys(what or WHAT))
    made = measure(opened, stimuli, category, chosen, seed, progress)
    if items is not None:
        _write_items(made, items)
    return made


@app.command()
def calibrate(
    seed: Annotated[int, typer.Option(help="Of the first model; each takes the next.")] = 1,
    models: Annotated[int, typer.Option(help="Of each strength and kind.", min=1)] = 1,
    kind: Annotated[
        list[str] | None, typer.Option(help="causal or masked; none: both, one after the other.")
    ] = None,
    strength: Annotated[
        list[float] | None,
        typer.Option(help="A planted log-odds in nats; may be given several times."),
    ] = None,
    json: AsJson = False,
    form: Format = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """How far probes err, on models of known bias that it trains."""
    from inspector.report.terminal import Bar, print_answer

    def work() -> Records[Any]:
        from inspector.fairness.calibration import CHEAP, STRENGTHS
        from inspector.fairness.calibration import calibrate as measure

        with Bar("calibrate", quiet, "models") as progress:
            kinds = tuple(dict.fromkeys(kind or CHEAP))
            strengths = tuple(dict.fromkeys(strength or STRENGTHS))
            return measure(seed, strengths, models, kinds, progress)

    emit("calibrate", "calibrate", work, print_answer, json, form, output, "never", quiet)


def _settings(given: list[str] | None) -> dict[str, Any]:
    """Options as name=value, values in YAML's short form."""
    import yaml

    made: dict[str, Any] = {}
    for one in given or []:
        name, equals, value = one.partition("=")
        if not (name and equals) or name in made:
            raise BadOption(f"--set {show_plain(one, 60)}: give name=value, each name once.")
        try:
            made[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BadOption(f"--set {show_plain(one, 60)}: the value cannot be read.") from None
    return made


def _check_items(path: Path | None) -> None:
    if path is not None and _suffix(path) not in ITEM_FORMS:
        forms = ", ".join(f".{form}" for form in ITEM_FORMS)
        raise BadOption(f"--items {show_plain(str(path))}: give a file that ends in {forms}.")


def _suffix(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _write_items(made: "Probed | Localisation", path: Path) -> None:
    """Every item as a table of its own, in the form its suffix says."""
    from inspector.report.document import render

    kind = type(made.items[0]) if made.items else None
    if kind is None:
        raise BadOption("There are no items to write.")
    document = Records(
        command=f"{made.command}-items",
        record_type=kind,
        source=made.source,
        coverage=made.coverage,
        summary={},
        records=made.items,
        findings=made.findings,
    )
    try:
        path.write_bytes(render(document, _suffix(path)))
    except OSError as error:
        raise BadOption(
            f"--items {show_plain(str(path))}: cannot be written: {error.strerror}."
        ) from None
