"""The words all layers speak: Estimate, Finding, Source, Coverage, and Records that carry them."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")  # least to most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with the range it may lie in; an exact one has low = value = high, confidence 1."""

    value: float
    low: float
    high: float
    confidence: float
    n: int
    unit: str
    method: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something a person should know: `id` is stable and documented, `remedy` says what to do."""

    id: str
    severity: Severity
    where: str
    statement: str
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remedy: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file that was read: its name, size and the sha256 of its header (None: not read)."""

    name: str
    bytes: int
    header_sha256: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where numbers come from: enough to say which bytes, which code and which settings."""

    model: str
    revision: str | None
    files: tuple[SourceFile, ...]
    versions: Mapping[str, str]
    seed: int | None = None
    device: str | None = None
    dtype: str | None = None
    when: str  # UTC, ISO 8601


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
    """One tensor that was not measured, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of the checkpoint the numbers rest on; whatever was left out is named."""

    tensors_total: int
    tensors_measured: int
    parameters_total: int
    parameters_measured: int
    bytes_total: int
    bytes_read: int
    skipped: tuple[Skipped, ...] = ()


NOTHING_READ = Coverage(
    tensors_total=0,
    tensors_measured=0,
    parameters_total=0,
    parameters_measured=0,
    bytes_total=0,
    bytes_read=0,
)


# Letters and marks that are drawn as nothing, though Python calls them printable (Unicode's
# Default_Ignorable_Code_Point less what `str.isprintable` refuses; and the blank of Braille).
INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        *((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800)),
        *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
    )
    for code in range(first, last + 1)
)


def show_plain(text: str, limit: int = 120) -> str:
    """Text from a file, a model or a user, made harmless for one line of plain output.

    Control, bidirectional, invisible and unassigned characters become visible escapes; beyond
    `limit` characters it is cut and the full length stated. Markdown is left as it is: show the
    result only where no Markdown is read.
    """
    start = text[:limit]
    if not start.isprintable() or not INVISIBLE.isdisjoint(start):
        start = "".join(c if c.isprintable() and c not in INVISIBLE else _escape(c) for c in start)
    return start if len(text) <= limit else f"{start}… ({len(text)} characters)"


def _escape(character: str) -> str:
    code = ord(character)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


R = TypeVar("R")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records(Sequence[R], Generic[R]):
    """A list of flat frozen records with their source, coverage, summary and findings.

    `command` names the JSON document (`inspector.<command>/1`). Indexing, iterating and `len`
    are those of `records`.
    """

    command: str
    record_type: type[R]
    source: Source
    coverage: Coverage
    summary: Mapping[str, Any]
    records: tuple[R, ...]
    findings: tuple[Finding, ...] = ()

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[R, ...]: ...
    def __getitem__(self, index: int | slice) -> R | tuple[R, ...]:
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def to_frame(self) -> "pd.DataFrame":
        """The records as a table, one column per field, also when there are no records."""
        import pandas as pd

        fields = dataclasses.fields(self.record_type)  # type: ignore[arg-type]
        columns = {f.name: [getattr(record, f.name) for record in self.records] for f in fields}
        whole = {int: "int64", int | None: "Int64"}  # a missing count must not become a float
        return pd.DataFrame(
            {f.name: pd.Series(columns[f.name], dtype=whole.get(f.type)) for f in fields}  # type: ignore[arg-type]
        )

    def to_dict(self) -> dict[str, Any]:
        """The document as plain JSON values; NaN and infinities are None with a Finding."""
        holes: list[str] = []
        body = {
            "source": _plain(self.source, "source", holes),
            "coverage": _plain(self.coverage, "coverage", holes),
            "summary": _plain(self.summary, "summary", holes),
            "records": _plain(self.records, "records", holes),
        }
        findings = [*self.findings, *([_not_a_number(holes)] if holes else [])]
        return {
            "schema": f"inspector.{self.command}/1",
            **body,
            "findings": _plain(tuple(findings), "findings", []),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The document as JSON text, valid under the strict grammar (no NaN, no Infinity)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=True, allow_nan=False)


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The highest severity among findings; None when there are none."""
    return max((f.severity for f in findings), key=SEVERITIES.index, default=None)


def _not_a_number(holes: Sequence[str]) -> Finding:
    return Finding(
        id="RT-NONFINITE",
        severity="warning",
        where=holes[0],
        statement=f"{len(holes)} values are not finite and stand as null",
        evidence={"fields": list(holes[:20])},
        remedy="Look at the findings on what is named; these numbers cannot be written down.",
    )


def plain(value: Any) -> Any:
    """A value as JSON holds it, so that what was just made is like what was read back."""
    return _plain(value, "", [])


def _plain(value: Any, path: str, holes: list[str]) -> Any:
    """JSON values only; the path of every float that JSON cannot hold is added to `holes`."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        holes.append(path)
        return None
    if value is None or isinstance(value, bool | int | str):
        return value
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name), f"{path}.{field.name}", holes)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}", holes) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item, f"{path}[{i}]", holes) for i, item in enumerate(value)]
    raise TypeError(f"{path}: {type(value).__name__} has no JSON form")
