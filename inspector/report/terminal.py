"""Records on a terminal: tables that fit, progress with rate and time left."""

import dataclasses
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from inspector.report.document import coverage_line
from inspector.results import Finding, Records, show_plain

SCAN_COLUMNS = {  # heading -> field
    "tensor": "name",
    "layer": "layer",
    "role": "role",
    "kind": "kind",
    "shape": "shape",
    "dtype": "dtype",
    "mean": "mean",
    "std": "std",
    "min": "min",
    "max": "max",
    "kurtosis": "kurtosis",
    "zeros": "zeros",
    "bits": "entropy_bits",
}
JUDGEMENT_COLUMNS: dict[str, dict[str, str]] = {  # command -> heading -> field
    "sample": {
        "tensor": "name",
        "layer": "layer",
        "role": "role",
        "dtype": "dtype",
        "exact": "exact",
        "values read": "values",
        "mean": "mean",
        "std": "std",
        "low": "std_low",
        "high": "std_high",
        "1 %": "q01",
        "median": "q50",
        "99 %": "q99",
        "low ": "q99_low",
        "high ": "q99_high",
    },
    "health": {
        "passed": "passed",
        "if it fails": "severity",
        "rule": "id",
        "where": "where",
        "what": "statement",
    },
    "spectrum": {
        "matrix": "name",
        "layer": "layer",
        "role": "role",
        "rows": "rows",
        "columns": "columns",
        "norm": "spectral_norm",
        "of noise": "spectral_norm_noise",
        "stable rank": "stable_rank",
        "noise": "stable_rank_noise",
        "alpha": "alpha",
        "low": "alpha_low",
        "high": "alpha_high",
        "noise ": "alpha_noise",
        "spikes": "mp_spikes",
        "alpha says": "alpha_reading",
        "verdict": "verdict",
    },
    "init": {
        "tensor": "name",
        "layer": "layer",
        "role": "role",
        "kind": "kind",
        "std": "std",
        "KS": "ks",
        "fresh KS": "ks_noise",
        "verdict": "verdict",
        "scheme": "scheme",
        "why": "reason",
    },
    "neurons": {
        "matrix": "name",
        "layer": "layer",
        "role": "role",
        "dead out": "dead_out",
        "dead in": "dead_in",
        "duplicates out": "duplicates_out",
        "in": "duplicates_in",
        "saturating": "saturating",
        "extreme": "extreme_value",
        "row": "extreme_row",
        "column": "extreme_column",
        "z": "extreme_z",
        "noise z": "extreme_z_noise",
    },
    "prune": {
        "matrix": "name",
        "layer": "layer",
        "role": "role",
        "zeros": "zero_fraction",
        "energy lost at 50 %": "energy_50",
        "Gaussian": "energy_50_noise",
        "at 90 %": "energy_90",
        "Gaussian ": "energy_90_noise",
        "2:4 costs": "cost_2_4",
        " Gaussian": "cost_2_4_noise",
        "1 % lost at": "sparsity_1pct",
        "Gaussian  ": "sparsity_1pct_noise",
    },
    "quantize": {
        "matrix": "name",
        "layer": "layer",
        "role": "role",
        "format": "format",
        "bits": "bits_per_weight",
        "error": "relative_error",
        "dB": "sqnr_db",
        "Gaussian dB": "sqnr_noise_db",
        "dB lost": "db_lost",
    },
    "compare": {
        "tensor": "name",
        "layer": "layer",
        "role": "role",
        "status": "status",
        "rounding only": "rounding_only",
        "relative change": "relative_change",
        "of rounding": "relative_change_noise",
        "changed": "changed_fraction",
        "rank of change": "delta_rank_estimate",
        "what": "note",
    },
}
STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
WIDE = 200  # columns given to a table that goes to a file or a pipe
MOST_FINDINGS = 30
SHORT = 16  # characters of a cell that is never broken


class Bar:
    """Progress on stderr while the block runs; silent where stderr is no terminal."""

    def __init__(self, title: str, quiet: bool, counts: str) -> None:
        counted = (
            (DownloadColumn(), TransferSpeedColumn())
            if counts == "bytes"
            else (MofNCompleteColumn(), TextColumn(counts))
        )
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            *counted,
            TimeRemainingColumn(),
            TextColumn("{task.fields[label]}", markup=False),
            console=Console(stderr=True),
            disable=quiet or not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._bar.add_task(title, label="")

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, label: str) -> None:
        """Show that `done` of `total` is done."""
        self._bar.update(self._task, completed=done, total=total, label=label)


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def print_scan(result: Records[Any]) -> None:
    """The tensors, the census by kind, the findings and the coverage; a sample has no census."""
    if result.command == "sample":
        print_judgement(result)
        return
    console = _console()
    console.print(_table("", list(SCAN_COLUMNS), [
        [getattr(record, field) for field in SCAN_COLUMNS.values()] for record in result.records
    ]))  # fmt: skip
    census = [_as_dict(group) for group in result.summary["census"]]
    kinds = [group for group in census if group["by"] in ("kind", "model")]
    columns = {
        "parameters": "parameters",
        "tensors": "tensors",
        "mean": "mean",
        "std": "std",
        "rms": "rms",
    }
    rows = [
        [g["kind"] or "all", f"{g['share']:.2%}", *(g[c] for c in columns.values())] for g in kinds
    ]
    console.print(_table("Census", ["kind", "share", *columns], rows))
    _print_findings(console, result.findings)
    console.print(Text(coverage_line(result)))


def print_tensor(result: Records[Any]) -> None:
    """Every field of the record, the largest values and the findings."""
    console = _console()
    record = result.records[0]
    fields = dataclasses.fields(record)
    console.print(
        _table("", ["field", "value"], [[f.name, getattr(record, f.name)] for f in fields])
    )
    outliers = [_as_dict(one) for one in result.summary["outliers"]]
    if outliers:
        console.print(
            _table("Largest values", list(outliers[0]), [list(one.values()) for one in outliers])
        )
    _print_findings(console, result.findings)


def print_judgement(result: Records[Any]) -> None:
    """The telling columns of a judgement, its findings and its coverage; --json has every field."""
    console = _console()
    columns = JUDGEMENT_COLUMNS[result.command]
    rows = [[getattr(record, field) for field in columns.values()] for record in result.records]
    console.print(_table("", list(columns), rows))
    if result.command != "health":  # whose records are its findings already
        _print_findings(console, result.findings)
    console.print(Text(coverage_line(result)))


def print_records(result: Records[Any]) -> None:
    """Any records as a table, then the findings."""
    console = _console()
    names = [field.name for field in dataclasses.fields(result.record_type)]
    rows = [[getattr(record, name) for name in names] for record in result.records]
    console.print(_table("", names, rows))
    _print_findings(console, result.findings)


def _as_dict(record: Any) -> dict[str, Any]:
    return dict(record) if isinstance(record, dict) else dataclasses.asdict(record)


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    table = _table("Findings", ["severity", "id", "where", "statement"], [])
    table.columns[2].overflow = table.columns[3].overflow = "fold"
    table.columns[2].no_wrap = table.columns[3].no_wrap = False
    order = ("error", "warning", "info")
    ranked = sorted(findings, key=lambda f: order.index(f.severity))
    for f in ranked[:MOST_FINDINGS]:
        table.add_row(
            Text(f.severity, style=STYLE[f.severity]), Text(f.id), Text(f.where), Text(f.statement)
        )
    console.print(table)
    if len(findings) > MOST_FINDINGS:
        console.print(f"… and {len(findings) - MOST_FINDINGS} more; --json lists all.")


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(title=title or None, title_justify="left", header_style="bold", pad_edge=False)
    for i, heading in enumerate(headings):
        numeric = any(
            isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows
        )
        longest = max((len(_cell(row[i])) for row in rows), default=0)
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            no_wrap=numeric or (i > 0 and longest <= SHORT),
            min_width=min(longest, SHORT),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "scalar"
    return show_plain(str(value))
