"""The demo models as records."""

import dataclasses

from inspector.demo import MODELS, path
from inspector.results import NOTHING_READ, Records
from inspector.weights.checkpoint import DEMO, no_model, open_checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoModel:
    """One demo model; `card` is the path of its model card."""

    model: str
    about: str
    parameters: int
    bytes: int
    card: str


def demos() -> Records[DemoModel]:
    """All demo models, sized by their headers."""
    opened = {name: open_checkpoint(f"{DEMO}{name}") for name in MODELS}
    records = tuple(
        DemoModel(
            model=f"{DEMO}{name}",
            about=MODELS[name],
            parameters=sum(t.parameters for t in checkpoint.tensors),
            bytes=sum(t.bytes for t in checkpoint.tensors),
            card=str(path(name) / "README.md"),
        )
        for name, checkpoint in opened.items()
    )
    return Records(
        command="demo",
        record_type=DemoModel,
        source=no_model(),
        coverage=NOTHING_READ,
        summary={},
        records=records,
    )
