"""Sets of the Hugging Face Hub, through `datasets` where that is installed."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from inspector.errors import BadOption
from inspector.fairness.gathering import gather
from inspector.fairness.items import BadStimuli, DataFile, Item, Stimuli
from inspector.fairness.rows import MOST_ROWS, Row, Sieve
from inspector.fairness.sets.bbq import bbq_items
from inspector.fairness.sets.crows import crows_items
from inspector.fairness.sets.own_pairs import pair_items
from inspector.fairness.sets.stereoset import KINDS, stereoset_items
from inspector.results import show_plain

READERS: Final[Mapping[str, Callable[[Sequence[Row], Sieve], Sequence[Item]]]] = {
    "crows-pairs": crows_items,
    "stereoset": stereoset_items,
    "bbq": bbq_items,
    "pairs": pair_items,
}
"""Sets whose rows the Hub has in their original fields; others are read from files."""
CONFIGURATIONS: Final[Mapping[str, Sequence[str | None]]] = {"stereoset": KINDS}
"""Parts that together are the set, where there is more than one."""


def read_hub(
    name: str,
    id: str,
    *,
    split: str,
    configuration: str | None = None,
    revision: str | None = None,
) -> Stimuli[Item]:
    """A set from a Hub id; rows count from 1, and the digest is that of the rows as JSON.

    No code of the repository is run. Raises BadOption without `datasets` or for a set that is
    not read from the Hub, BadStimuli where the Hub does not give it.
    """
    if name not in READERS:
        known = ", ".join(READERS)
        raise BadOption(f"{name}: is read from files, not from the Hub. From there: {known}.")
    parts = [configuration] if configuration else CONFIGURATIONS.get(name, [None])
    sieve = Sieve()
    rows: list[Row] = []
    for part in parts:
        for fields in fetched(id, part, split, revision):
            if len(rows) == MOST_ROWS:
                raise BadStimuli(f"{show_plain(id)}: has more than {MOST_ROWS:,} rows.")
            rows.append(Row(file=id, line=len(rows) + 1, fields={"kind": part, **fields}))
    lines = "".join(json.dumps(row.fields, sort_keys=True, default=str) + "\n" for row in rows)
    data = lines.encode()
    file = DataFile(name=id, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    origin = f"hub:{id}" + (f"@{revision}" if revision else "")
    return gather(name, origin, [file], len(rows), READERS[name](rows, sieve), sieve)


def fetched(
    id: str, configuration: str | None, split: str, revision: str | None
) -> Iterator[dict[str, Any]]:
    """The rows of a split of a data set on the Hub, labels by name; no code of it is run."""
    try:
        import datasets
    except ImportError:
        raise BadOption(
            f"{show_plain(id)}: the Hub's data needs the library `datasets`: "
            "`pip install inspector[data]`. Or give the path of a file."
        ) from None
    failures = (OSError, ValueError, datasets.exceptions.DatasetsError)
    try:
        found = datasets.load_dataset(id, configuration, split=split, revision=revision)
        features = dict(found.features)
        for fields in found:
            yield {key: _named(value, features[key]) for key, value in fields.items()}
    except failures as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise BadStimuli(
            f"{show_plain(id)}: the Hub does not give it: {show_plain(lines[0], 200)}. "
            "Check the id, the split and the network, or give the path of a file."
        ) from None


def _named(value: Any, feature: Any) -> Any:
    """A value with the names of labels in place of their numbers."""
    names = getattr(feature, "names", None)
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    if isinstance(value, list) and hasattr(feature, "feature"):
        return [_named(one, feature.feature) for one in value]
    if isinstance(value, dict) and isinstance(feature, dict):
        return {key: _named(one, feature[key]) for key, one in value.items()}
    return value
