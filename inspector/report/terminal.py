"""Records on a terminal: tables that fit, progress with rate and time left."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
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
from rich.text import Text

from inspector.report.answers import print_columns
from inspector.report.document import coverage_line
from inspector.report.headlines import headlines
from inspector.report.tables import print_table
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
        "verdict": "verdict",
        "spikes": "mp_spikes",
        "stable rank": "stable_rank",
        "noise": "stable_rank_noise",
        "alpha": "alpha",
        "low": "alpha_low",
        "high": "alpha_high",
        "alpha says": "alpha_reading",
        "noise ": "alpha_noise",
        "norm": "spectral_norm",
        "of noise": "spectral_norm_noise",
        "rows": "rows",
        "columns": "columns",
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
SUMMARY_TABLES: dict[str, tuple[str, str, dict[str, str]]] = {  # title, key, heading -> field
    "quantize": (
        "The whole model by format",
        "formats",
        {
            "format": "format",
            "bits": "bits_per_weight",
            "error": "relative_error",
            "dB": "sqnr_db",
            "median dB": "sqnr_db_median",
            "median dB lost": "db_lost_median",
        },
    ),
    "compare": (
        "By layer",
        "layers",
        {
            "where": "group",
            "tensors": "tensors",
            "changed": "changed",
            "rounding only": "rounding_only",
            "mean relative change": "mean_relative_change",
            "largest": "largest_relative_change",
        },
    ),
}
STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
WIDE = 200  # columns given to a table that goes to a file or a pipe
MOST_FINDINGS = 30


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
    rows = [[getattr(one, field) for field in SCAN_COLUMNS.values()] for one in result.records]
    print_table(console, "", list(SCAN_COLUMNS), rows)
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
    print_table(console, "Census", ["kind", "share", *columns], rows)
    _print_findings(console, result.findings)
    console.print(Text(coverage_line(result)))


def print_tensor(result: Records[Any]) -> None:
    """Every field of the record, the largest values and the findings."""
    console = _console()
    record = result.records[0]
    fields = dataclasses.fields(record)
    print_table(
        console, "", ["field", "value"], [[f.name, getattr(record, f.name)] for f in fields]
    )
    outliers = [_as_dict(one) for one in result.summary["outliers"]]
    if outliers:
        rows = [list(one.values()) for one in outliers]
        print_table(console, "Largest values", list(outliers[0]), rows)
    _print_findings(console, result.findings)


def print_judgement(result: Records[Any]) -> None:
    """The telling columns of a judgement, its findings and its coverage; --json has every field."""
    console = _console()
    columns = JUDGEMENT_COLUMNS[result.command]
    rows = [[getattr(record, field) for field in columns.values()] for record in result.records]
    print_table(console, "", list(columns), rows)
    _print_summary(console, result)
    if result.command != "health":  # whose records are its findings already
        _print_findings(console, result.findings)
    console.print(Text(coverage_line(result)))


def print_answer(result: Records[Any]) -> None:
    """What a model's answer is worth, then its columns and findings; --json has every field."""
    console = _console()
    for number, line in enumerate(headlines(result)):
        console.print(Text(line, style="" if number else "bold"))
    console.print()
    print_columns(console, result)
    _print_findings(console, result.findings)
    if result.coverage.tensors_total:
        console.print(Text(coverage_line(result)))


def _print_summary(console: Console, result: Records[Any]) -> None:
    """What holds for the whole: the verdict, how often each was given, and a table of parts."""
    summary = result.summary
    if isinstance(verdicts := summary.get("verdicts"), Mapping):
        told = "; ".join(f"{verdict}: {count:,}" for verdict, count in verdicts.items())
        console.print(Text(f"\n{told}"))
    if result.command in SUMMARY_TABLES and result.records:
        title, key, columns = SUMMARY_TABLES[result.command]
        rows = [[_as_dict(one)[c] for c in columns.values()] for one in summary[key]]
        console.print()
        print_table(console, title, list(columns), rows)
    if "verdict" in summary:
        console.print(Text(f"\n{summary['verdict']}", style="bold"))


def print_records(result: Records[Any]) -> None:
    """Any records as a table, then the findings."""
    console = _console()
    names = [field.name for field in dataclasses.fields(result.record_type)]
    rows = [[getattr(record, name) for name in names] for record in result.records]
    print_table(console, "", names, rows)
    _print_findings(console, result.findings)


def print_listing(result: Records[Any]) -> None:
    """Records one below the other, for texts that fit no table; the first field is the title."""
    console = _console()
    first, *fields = [field.name for field in dataclasses.fields(result.record_type)]
    for record in result.records:
        console.print(Text(show_plain(str(getattr(record, first)), 100), style="bold"))
        for name in fields:
            value = getattr(record, name)
            lines = value if isinstance(value, tuple) else (value,)
            if told := " ".join(map(str, lines)):
                console.print(Text(f"  {name}: {show_plain(told, 2000)}"))
        console.print()


def _as_dict(record: Any) -> dict[str, Any]:
    return dict(record) if isinstance(record, dict) else dataclasses.asdict(record)


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    order = ("error", "warning", "info")
    ranked = sorted(findings, key=lambda f: order.index(f.severity))
    rows = [
        [Text(f.severity, style=STYLE[f.severity]), Text(f.id), Text(f.where), Text(f.statement)]
        for f in ranked[:MOST_FINDINGS]
    ]
    console.print()
    print_table(console, "Findings", ["severity", "id", "where", "statement"], rows)
    if len(findings) > MOST_FINDINGS:
        console.print(f"… and {len(findings) - MOST_FINDINGS} more; --json lists all.")
