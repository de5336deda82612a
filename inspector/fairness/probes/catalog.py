"""The probes as records: what each measures, on which data, and what was said against it."""

import dataclasses

from inspector.fairness.probes.table import PROBES, ProbeKind
from inspector.fairness.scorer_table import SCORERS
from inspector.fairness.stimuli import SETS
from inspector.results import NOTHING_READ, Records
from inspector.weights.checkpoint import no_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeInfo:
    """One probe; `data` says what --data must lead to, `scorers` which it can be asked with."""

    probe: str
    measures: str
    ideal: str
    asks: str
    data: str
    scorers: tuple[str, ...]
    source: str
    criticism: tuple[str, ...]


def probes() -> Records[ProbeInfo]:
    """Every probe of PROBES."""
    records = tuple(
        ProbeInfo(
            probe=name,
            measures=kind.measures,
            ideal=kind.ideal,
            asks=kind.asks,
            data=data_of(kind),
            scorers=scorers_of(kind),
            source=kind.source,
            criticism=kind.known_criticism,
        )
        for name, kind in PROBES.items()
    )
    return Records(
        command="probes",
        record_type=ProbeInfo,
        source=no_model(),
        coverage=NOTHING_READ,
        summary={},
        records=records,
    )


def scorers_of(kind: ProbeKind) -> tuple[str, ...]:
    """The scorers that a probe can be asked with; none where it scores no sentences."""
    if kind.asks != "sentences":
        return ()
    return tuple(name for name, one in SCORERS.items() if one.needs in kind.takes)


def data_of(kind: ProbeKind) -> str:
    """What a probe reads, in words."""
    given = None if kind.given is None else SETS[kind.given].wanted
    if kind.shipped is None:
        return given or "none"
    return f"comes with the package{f'; or {given}' if given else ''}"
