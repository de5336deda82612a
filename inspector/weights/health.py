"""Every rule of health applied to a checkpoint: what passes, what fails, and what could not be."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from inspector.engine import Progress, no_progress
from inspector.results import Finding, Records, Severity
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.health_rules import RULES, Facts, Rule
from inspector.weights.initialization import initialization
from inspector.weights.neurons import neurons
from inspector.weights.problems import SHOWN_PER_ID, finding
from inspector.weights.scan import scan
from inspector.weights.spectrum import spectrum

STEP = 1000  # progress of one of the four measurements


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """One rule at one place where it fails, or the rule as a whole where it passes.

    `checks` says what holds when it passes, `threshold` and `source` what it is judged by.
    """

    id: str
    severity: Severity
    where: str
    statement: str
    evidence: Mapping[str, Any]
    remedy: str
    passed: bool
    checks: str
    threshold: float | None
    source: str


def health(
    checkpoint: Checkpoint,
    where: str | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[HealthCheck]:
    """All rules on the tensors `where` finds: a record per failure, and one per rule that passes.

    Findings are the failures, so that severity decides the exit code. `summary` counts both, and
    holds the coverage of each measurement the rules rest on.
    """
    measured = _facts(checkpoint, where, progress, workers)
    records = [record for rule in RULES for record in _apply(rule, measured)]
    parts: dict[str, Records[Any]] = {
        "scan": measured.scan,
        "spectrum": measured.spectra,
        "init": measured.initialization,
        "neurons": measured.neurons,
    }
    failed = [record for record in records if not record.passed]
    return Records(
        command="health",
        record_type=HealthCheck,
        source=measured.scan.source,
        coverage=measured.scan.coverage,
        summary={
            "rules": len(RULES),
            "passed": sum(record.passed for record in records),
            "failed": len({record.id for record in failed}),
            "severities": dict(Counter(record.severity for record in failed)),
            "measured": {
                name: {
                    "tensors": part.coverage.tensors_measured,
                    "parameters": part.coverage.parameters_measured,
                    "skipped": len(part.coverage.skipped),
                }
                for name, part in parts.items()
            },
            "where": where,
        },
        records=tuple(records),
        findings=tuple(_as_finding(record) for record in failed),
    )


def _facts(
    checkpoint: Checkpoint, where: str | None, progress: Progress, workers: int | None
) -> Facts:
    made: dict[str, Any] = {}
    steps = (scan, spectrum, initialization, neurons)
    for i, function in enumerate(steps):

        def at(done: int, total: int, label: str, i: int = i) -> None:
            progress(i * STEP + STEP * done // max(total, 1), len(steps) * STEP, label)

        options = {"replicates": 0} if function is spectrum else {}
        measured: Any = function
        made[function.__name__] = measured(
            checkpoint, where, progress=at, workers=workers, **options
        )
    return Facts(
        checkpoint=checkpoint,
        scan=made["scan"],
        spectra=made["spectrum"],
        initialization=made["initialization"],
        neurons=made["neurons"],
    )


def _apply(rule: Rule, facts: Facts) -> list[HealthCheck]:
    hits = list(rule.find(facts, rule.threshold or 0.0))
    plain = finding(rule.id, "checkpoint", rule.checks)
    shared: dict[str, Any] = {
        "id": rule.id,
        "severity": plain.severity,
        "checks": rule.checks,
        "threshold": rule.threshold,
        "source": rule.source,
    }
    if not hits:
        return [
            HealthCheck(
                where="checkpoint",
                statement=rule.checks,
                evidence={},
                remedy="",
                passed=True,
                **shared,
            )
        ]
    made = [
        HealthCheck(
            where=hit.where,
            statement=hit.statement,
            evidence=hit.evidence,
            remedy=plain.remedy,
            passed=False,
            **shared,
        )
        for hit in hits[:SHOWN_PER_ID]
    ]
    if len(hits) > SHOWN_PER_ID:
        more = f"{len(hits) - SHOWN_PER_ID:,} more places fail and are not listed"
        made.append(
            HealthCheck(
                where="checkpoint",
                statement=more,
                evidence={"count": len(hits)},
                remedy=plain.remedy,
                passed=False,
                **shared,
            )
        )
    return made


def _as_finding(record: HealthCheck) -> Finding:
    return Finding(
        id=record.id,
        severity=record.severity,
        where=record.where,
        statement=record.statement,
        evidence=record.evidence,
        remedy=record.remedy,
    )
