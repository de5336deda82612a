"""WEAT on the rows of embedding and unembedding, from the file alone: no model is built."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.fairness.items import Stimuli, WordTest
from inspector.fairness.probes.records import Answers
from inspector.fairness.probes.word_tests import (
    EFFECT_SIZE,
    Space,
    all_words,
    answers,
    one_piece,
    space_of,
)
from inspector.fairness.tables import REMOVED, UNEMBEDDING, Rows, read_rows, word_tables
from inspector.fairness.words import Word, read_tokenizer, read_words
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.matrices import coverage
from inspector.weights.problems import Log

if TYPE_CHECKING:
    from inspector.model.load import Model

SCORER: Final = "mean of the rows of the pieces"


def embedding_weat(
    model: "Model | Checkpoint",
    stimuli: Stimuli[WordTest],
    seed: int = 0,
    progress: Progress = no_progress,
) -> Answers:
    """WEAT's d on rows of the word tables as they are stored, with exact permutation of words.

    For the embedding and, where it is another matrix, the unembedding. Beside the raw rows: those
    of one-piece words alone, rows less their mean, and less the direction of largest variance
    too, which in many models is shared by all rows. Raises UnsupportedModel where there is no
    tokenizer.json or no table of plain numbers. Source: Caliskan et al. 2017; Mu & Viswanath 2018
    for the last reading.
    """
    checkpoint = model if isinstance(model, Checkpoint) else model.checkpoint
    log = Log()
    tables = word_tables(checkpoint, log)
    words = read_words(read_tokenizer(checkpoint), all_words(stimuli))
    spaces: list[Space] = []
    facts = {}
    with checkpoint.reader([matrix.entry for matrix in tables.values()]) as reader:
        for number, (role, matrix) in enumerate(tables.items()):
            progress(number, len(tables), show_plain(matrix.name))
            ids = [id for word in words.values() for id in word.ids if id < matrix.rows]
            rows = read_rows(matrix, reader, ids)
            metric = f"{UNEMBEDDING} {EFFECT_SIZE}" if role == UNEMBEDDING else EFFECT_SIZE
            spaces += _spaces(metric, rows, words)
            facts[role] = _facts(rows, log)
    return answers(
        "embedding-weat",
        stimuli,
        spaces,
        SCORER,
        checkpoint.source(),
        coverage(checkpoint, list(tables.values()), []),
        seed,
        {"tables": facts},
        log.findings,
    )


def _facts(rows: Rows, log: Log) -> dict[str, object]:
    if rows.n_not_finite:
        told = f"{rows.n_not_finite} of {rows.matrix.rows} rows are not finite"
        log.add("WE-ROWS", rows.matrix.name, told, count=rows.n_not_finite)
    return {
        "tensor": rows.matrix.name,
        "dtype": rows.matrix.entry.dtype,
        "rows": rows.matrix.rows,
        "width": rows.matrix.columns,
        "removed": REMOVED,
        "share_of_variance_removed": rows.share,
        # of the mean row against the others: 0 where rows point everywhere alike
        "mean_over_spread": float(np.linalg.norm(rows.mean) / rows.spread) if rows.spread else None,
    }


def _spaces(metric: str, rows: Rows, words: Mapping[str, Word]) -> Iterator[Space]:
    """Rows as they are, of one-piece words alone, centred, and without their main direction."""
    place = {id: i for i, id in enumerate(rows.ids)}
    vectors, excluded = {}, {}
    for name, word in words.items():
        if word.excluded is not None:
            excluded[name] = word.excluded
        elif max(word.ids) >= rows.matrix.rows:
            excluded[name] = "the table has no row for it"
        else:
            vectors[name] = rows.rows[[place[id] for id in word.ids]].mean(0)

    raw = space_of(metric, "", vectors, excluded, words)
    yield raw
    whole = one_piece(raw)
    if whole is not None:
        yield whole
    centred = {name: vector - rows.mean for name, vector in raw.vectors.items()}
    yield space_of(metric, ", mean-centred", centred, raw.excluded, words)
    flat = {name: v - (rows.top @ v) @ rows.top for name, v in centred.items()}
    removed = f", {REMOVED} main direction removed"
    yield space_of(metric, removed, flat, raw.excluded, words)
