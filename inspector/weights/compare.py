"""Two checkpoints tensor by tensor: what stayed, what changed, and what kind of change it is."""

import dataclasses
import re
import threading
from collections.abc import Mapping, Sequence

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import CheckpointError
from inspector.results import Coverage, Finding, Records, Skipped, show_plain
from inspector.weights import lineage
from inspector.weights.architecture import Placement
from inspector.weights.change import Change, Measure, why_not
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.codes import Packed
from inspector.weights.drift import summary
from inspector.weights.header import Header, TensorEntry
from inspector.weights.matrices import one_blas_thread
from inspector.weights.packed import find_packed, findings_on
from inspector.weights.pairs import Pair, SideBySide, plain_name, runs
from inspector.weights.problems import Log
from inspector.weights.scan import choose
from inspector.weights.tensor_change import TensorChange, alone, record

# Of a file's version: time and inode of a local file, or an ETag that is a hash of the content.
TELLING = re.compile(r'^[0-9]+ [0-9]+$|^"?[0-9a-f]{32,}(-[0-9]+)?"?(?= |$)')
UNLIKE = 0.5  # relative change from which the bytes are looked for under other names


def compare(
    base: Checkpoint,
    tuned: Checkpoint,
    where: str | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[TensorChange]:
    """Every tensor of two checkpoints: same, changed and how, added, removed, renamed, reshaped.

    `where` is a regular expression on names. Tensors of files known to be equal are not read, equal
    tensors are read and not decoded; both checkpoints are read in large pieces only. `progress` is
    called with bytes of the base. What cannot be compared is named in the coverage.
    """
    work = _Work(base, tuned, where)
    work.match()
    todo = runs(work.pairs)
    ahead = [pair for run in todo for pair in run]
    total = sum(pair.base.bytes for pair in ahead)
    done = 0
    with (
        base.reader([pair.base for pair in ahead]) as base_reader,
        tuned.reader([pair.tuned for pair in ahead]) as tuned_reader,
        one_blas_thread(),
    ):
        each = _Each(work, base_reader, tuned_reader)
        for run, results in zip(todo, ordered_map(each, todo, workers), strict=True):
            for pair, result in zip(run, results, strict=True):
                work.take(pair, result)
                done += pair.base.bytes
                progress(done, total, show_plain(pair.tuned.name, 60))
    work.look_for_copies()
    return work.result(where, each.bytes_read)


class _Each:
    """What a thread does with a run of pairs: a change each, or why there is none."""

    def __init__(self, work: "_Work", base: Reader, tuned: Reader) -> None:
        self._work, self._base, self._tuned = work, base, tuned
        self._mine = threading.local()
        self._sides: list[SideBySide] = []

    @property
    def bytes_read(self) -> int:
        """Bytes read by all threads."""
        return sum(side.bytes_read for side in self._sides)

    def __call__(self, run: Sequence[Pair]) -> list[Change | str]:
        if not hasattr(self._mine, "side"):
            self._mine.side = SideBySide(self._base, self._tuned)
            self._sides.append(self._mine.side)
        self._mine.side.look_ahead(run)
        return [self._change(pair, self._mine.side) for pair in run]

    def _change(self, pair: Pair, side: SideBySide) -> Change | str:
        try:
            if side.same(pair):
                return Change(pair=pair, identical=True)
            if (why := why_not(pair)) is not None:
                return why
            placement = self._work.placement(pair.tuned)
            return Measure(self._base, self._tuned, side, pair, placement).change()
        except CheckpointError as error:
            return str(error)


class _Work:
    """Matches the tensors of both checkpoints and puts changes together into records."""

    def __init__(self, base: Checkpoint, tuned: Checkpoint, where: str | None) -> None:
        self._base, self._tuned = base, tuned
        self._base_codes, self._tuned_codes = find_packed(base), find_packed(tuned)
        self._before = _chosen(base, where, self._base_codes)
        self._after = _chosen(tuned, where, self._tuned_codes)
        self.pairs: list[Pair] = []
        self._records: dict[str, TensorChange] = {}
        self._removed: dict[str, TensorChange] = {}
        self._changes: list[Change] = []
        self._skipped: list[Skipped] = []
        self._equal_files = _equal_files(base, tuned)
        self._log = Log()

    def placement(self, entry: TensorEntry) -> Placement:
        """Where a tensor of the tuned checkpoint belongs."""
        return self._tuned.architecture.placements[entry.name]

    def match(self) -> None:
        """Find what each tensor was before; what needs no reading gets its record at once."""
        only_base = _less(self._before, self._after)
        only_tuned = _less(self._after, self._before)
        old = self._by_content(only_base, only_tuned, once=True)
        taken = set(old.values())
        old |= lineage.by_prefix(
            {n: e for n, e in only_base.items() if n not in taken},
            {n: e for n, e in only_tuned.items() if n not in old},
        )
        for name, entry in self._after.items():
            before = self._before.get(old.get(name, name))
            if before is None:
                self._records[entry.name] = alone(entry, self.placement(entry), "added")
            elif entry.unreadable or before.unreadable:
                why = entry.unreadable or f"in the base: {before.unreadable}"
                self._skipped.append(Skipped(name=show_plain(entry.name), reason=why))
            else:
                pair = Pair(
                    base=before,
                    tuned=entry,
                    base_codes=self._base_codes.get(before.name),
                    tuned_codes=self._tuned_codes.get(entry.name),
                )
                if self._same_place(pair):
                    self.take(pair, Change(pair=pair, identical=True))
                else:
                    self.pairs.append(pair)
        placements = self._base.architecture.placements
        for name, entry in only_base.items():
            if name not in old.values():
                self._removed[name] = alone(entry, placements[entry.name], "removed")

    def _same_place(self, pair: Pair) -> bool:
        """Whether both, and what they are read with, are the same bytes of files that are equal."""
        one, other, helpers = pair.base, pair.tuned, pair.helpers
        return (
            (one.file, other.file) in self._equal_files
            and (one.start, one.end, one.dtype, one.shape)
            == (other.start, other.end, other.dtype, other.shape)
            and helpers is not None
            and all(map(self._same_place, helpers))
        )

    def _helpers(self) -> set[str]:
        """Names of scales and the like, which are compared along with what is read with them."""
        codes = (*self._base_codes.values(), *self._tuned_codes.values())
        return {helper.name for one in codes for helper in one.helpers.values()}

    def take(self, pair: Pair, result: Change | str) -> None:
        """Make the record of a change, or note why there is none."""
        name = show_plain(pair.tuned.name)
        if isinstance(result, str):
            self._skipped.append(Skipped(name=name, reason=result))
            self._log.add("CP-SKIPPED", name, f"not compared: {result}")
            return
        self._records[pair.tuned.name] = record(result, self.placement(pair.tuned))
        self._changes.append(result)
        d = result.difference
        if d is not None and (d.base_not_finite or d.tuned_not_finite):
            self._log.add(
                "CP-BROKEN" if d.tuned_not_finite > d.base_not_finite else "CP-NOTFINITE",
                name,
                f"values that are not finite: {d.base_not_finite:,} in the base, "
                f"{d.tuned_not_finite:,} in the tuned tensor; they are left out",
                base=d.base_not_finite,
                tuned=d.tuned_not_finite,
            )
        if result.no_spectrum is not None:
            told = f"the difference has no spectrum: {result.no_spectrum}"
            self._log.add("CP-SPECTRUM", name, told)

    def _by_content(
        self, before: Mapping[str, TensorEntry], after: Mapping[str, TensorEntry], once: bool
    ) -> dict[str, str]:
        """New name -> old name where the bytes are the same; none where they cannot be read."""
        try:
            with self._base.reader() as base, self._tuned.reader() as tuned:
                return lineage.by_content(before, after, base, tuned, once)
        except CheckpointError as error:
            self._log.add("CP-SKIPPED", "checkpoint", f"renamed tensors are not found: {error}")
            return {}

    def look_for_copies(self) -> None:
        """Say of added tensors, and of those with nothing left in common, whose bytes they hold."""
        lost = {
            entry.name: entry
            for entry in self._after.values()
            if entry.name not in self._tuned_codes  # whose bytes are not their values
            and (r := self._records.get(entry.name)) is not None
            and (r.status == "added" or (r.status == "changed" and _is_unlike(r)))
        }
        sources = {entry.name: entry for entry in self._before.values()}
        for name, source in self._by_content(sources, lost, once=False).items():
            old = self._records[name]
            told = f"Its bytes are those of {show_plain(source)} in the base."
            told = f"{old.note} {told}" if old.status == "added" else told
            self._records[name] = dataclasses.replace(
                old, renamed_from=source, pattern="copy", note=told
            )

    def result(self, where: str | None, bytes_read: int) -> Records[TensorChange]:
        """The finished comparison: tensors of the tuned checkpoint in file order, then removed."""
        after = [entry.name for entry in self._after.values()]
        found = [self._records[name] for name in after if name in self._records]
        records = (*found, *self._removed.values())
        for checkpoint in (self._base, self._tuned):
            for name in checkpoint.changed():
                self._log.add("WT-CHANGED", show_plain(name), "the file changed while it was read")
        return Records(
            command="compare",
            record_type=TensorChange,
            source=self._tuned.source(),
            coverage=self._coverage(records, bytes_read),
            summary={
                "where": where,
                "base": self._base.source(),
                **summary(records, self._changes, len(self._skipped), self._helpers()),
                "equal_files": sorted(show_plain(tuned) for _, tuned in self._equal_files),
            },
            records=records,
            findings=(
                *_findings(self._base, self._tuned),
                *self._log.findings,
            ),
        )

    def _coverage(self, records: Sequence[TensorChange], bytes_read: int) -> Coverage:
        skipped = [e for e in self._after.values() if e.name not in self._records]
        measured = sum(record.parameters for record in records)
        return Coverage(
            tensors_total=len(records) + len(skipped),
            tensors_measured=len(records),
            parameters_total=measured + sum(e.parameters for e in skipped),
            parameters_measured=measured,
            bytes_total=sum(e.bytes for side in (self._before, self._after) for e in side.values()),
            bytes_read=bytes_read,
            skipped=tuple(self._skipped),
        )


def _chosen(
    checkpoint: Checkpoint, where: str | None, codes: Mapping[str, Packed]
) -> dict[str, TensorEntry]:
    """The tensors to be compared, by the name they have where nothing is quantised.

    Of a name that stands twice the one that can be read.
    """
    chosen = {e.name: checkpoint.tensor(e.name) for e in choose(checkpoint.tensors, where)}
    plain = {name: plain_name(entry, codes.get(name)) for name, entry in chosen.items()}
    return {name if plain[name] in chosen else plain[name]: entry for name, entry in chosen.items()}


def _is_unlike(record: TensorChange) -> bool:
    return record.relative_change is not None and record.relative_change > UNLIKE


def _less(
    some: Mapping[str, TensorEntry], others: Mapping[str, TensorEntry]
) -> dict[str, TensorEntry]:
    return {name: entry for name, entry in some.items() if name not in others}


def _equal_files(base: Checkpoint, tuned: Checkpoint) -> set[tuple[str, str]]:
    """(file of the base, file of the tuned) that are known to be equal without reading them.

    They are one file of this machine, or the versions their servers state are hashes of content.
    """
    known = {
        identity: header.file for header in base.headers if (identity := _identity(base, header))
    }
    return {
        (known[identity], header.file)
        for header in tuned.headers
        if (identity := _identity(tuned, header)) in known
    }


def _identity(checkpoint: Checkpoint, header: Header) -> tuple[int, str, str] | None:
    """What only equal files share; None where nothing does."""
    version = TELLING.search(checkpoint.stamps[header.file].version)
    if version is None or header.sha256 is None:
        return None
    return header.file_bytes, version[0], header.sha256


def _findings(base: Checkpoint, tuned: Checkpoint) -> list[Finding]:
    """What is wrong with either checkpoint; of the base said so, each told once."""
    own = list(findings_on(tuned))
    theirs = [
        dataclasses.replace(finding, where=f"base: {finding.where}")
        for finding in findings_on(base)
        if finding not in own
    ]
    return [*own, *theirs]
