"""How likely a model finds sentences: one way to ask for any scorer."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.fairness.batching import MEMORY, Answer, Reader
from inspector.fairness.kept_scores import Kept, ScoreFile, identity
from inspector.fairness.scorer_table import Scorer
from inspector.fairness.scorers import Plan, check, known_scorer, plan, total
from inspector.fairness.sentences import (
    REASONS,
    Excluded,
    Sentence,
    Tokens,
    beginning,
    excluded,
    read_sentences,
)
from inspector.model.asking import source, whole
from inspector.model.load import Model
from inspector.results import Records, show_plain
from inspector.weights.problems import Log

TOKENS_A_ROUND: Final = 32_768  # after which scores are on the disk
SHOWN: Final = 20  # sentences named in a finding

Pair = tuple[str | Sentence, str | Sentence]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """A sentence's score in nats by one scorer; None where it was left out, and why.

    `item` counts what was given from 0, `side` is 1 for the second sentence of a pair. `tokens`
    were scored, `right` of them were what the model finds the likeliest there. `key` names the
    sentence with all that was asked of it.
    """

    item: int
    side: int
    scorer: str
    score: float | None
    tokens: int
    right: int
    excluded: str | None
    told: str | None
    text: str
    key: str


def score(
    model: Model,
    scorer: str,
    given: Sequence[str | Sentence | Pair],
    progress: Progress = no_progress,
    *,
    lines: Path | None = None,
    memory: int = MEMORY,
    most_rows: int | None = None,
) -> Records[Score]:
    """Score sentences, or pairs of them (two records each), by a scorer of SCORERS.

    In nats, by a softmax over the vocabulary in float32; whatever the batch. Sentences run side by
    side in `memory` bytes and at most `most_rows` rows. What has unknown words, special tokens or
    does not fit the model's window is left out, with the reason. With `lines` scores are added to
    that file as they are had, and what it holds of this model and scorer is not asked again.
    Raises BadOption for a scorer that the model cannot do. Progress counts tokens of rows.
    """
    how = known_scorer(model, scorer)
    asked = list(_asked(how, given))
    for _, _, sentence in asked:
        check(how, scorer, model.kind, sentence)
    log = Log()
    reader = Reader(model, memory, most_rows)
    with ExitStack() as stack:
        known: dict[str, Kept] = {}
        file = None
        if lines is not None:
            file = stack.enter_context(ScoreFile(lines, scorer, identity(model)))
            known = file.known()
        missing = {s.key: s for _, _, s in asked if s.key not in known}
        for found in _rounds(reader, how, missing, progress):
            known.update(found)
            if file is not None:
                file.keep(found)
    records = tuple(
        Score(
            item=item,
            side=side,
            scorer=scorer,
            text=sentence.text,
            key=sentence.key,
            **dataclasses.asdict(known[sentence.key]),
        )
        for item, side, sentence in asked
    )
    _note(log, model, reader, records)
    return Records(
        command="score",
        record_type=Score,
        source=source(model),
        coverage=whole(model),
        summary=_summary(model, scorer, how, reader, records, len(missing)),
        records=records,
        findings=(*model.findings, *log.findings),
    )


def gaps(records: Sequence[Score]) -> list[float | None]:
    """Of pairs: score of the first less that of the second, None where either was left out."""
    sides = {(record.item, record.side): record.score for record in records}
    found: list[float | None] = []
    for item in dict.fromkeys(record.item for record in records):
        if (item, 1) not in sides:
            raise BadOption("Differences are of pairs, but single sentences were scored.")
        first, second = sides[item, 0], sides[item, 1]
        found.append(None if first is None or second is None else first - second)
    return found


def _asked(
    scorer: Scorer, given: Sequence[str | Sentence | Pair]
) -> Iterator[tuple[int, int, Sentence]]:
    for item, one in enumerate(given):
        sides = [_sentence(side) for side in (one if isinstance(one, tuple) else (one,))]
        if len(sides) > 2:
            raise BadOption(f"A pair has two sentences, but item {item} has {len(sides)}.")
        for side, sentence in enumerate(sides):
            if scorer.needs == "pair" and len(sides) == 2:
                sentence = dataclasses.replace(sentence, other=sides[1 - side].text)
            yield item, side, sentence


def _sentence(given: str | Sentence) -> Sentence:
    return Sentence(text=given) if isinstance(given, str) else given


def _rounds(
    reader: Reader, scorer: Scorer, missing: dict[str, Sentence], progress: Progress
) -> Iterator[dict[str, Kept]]:
    """Scores of sentences, those of like length together, so many tokens at a time."""
    model = reader.model
    texts = list(dict.fromkeys(t for s in missing.values() for t in (s.text, s.other or s.text)))
    read = dict(zip(texts, read_sentences(model, texts), strict=True))
    plans: dict[str, Plan] = {}
    out: dict[str, Kept] = {}
    for key, sentence in missing.items():
        made = _plan(model, scorer, sentence, read)
        if isinstance(made, Excluded):
            out[key] = _left_out(made)
        else:
            plans[key] = made
    yield out
    every, done = sum(map(_tokens, plans.values())), 0
    for part in _parts(plans):
        chosen = {key: plans[key] for key in part}
        size = sum(map(_tokens, chosen.values()))

        def note(rows: int, of: int, _label: str, before: int = done, size: int = size) -> None:
            progress(before + size * rows // max(of, 1), every, "tokens")

        answers = reader([row for one in chosen.values() for row in one.rows], note)
        done += size
        yield _scored(scorer, chosen, answers)
    progress(every, every, "tokens")


def _plan(
    model: Model, scorer: Scorer, sentence: Sentence, read: dict[str, Tokens | Excluded]
) -> Plan | Excluded:
    tokens = read[sentence.text]
    other = None if sentence.other is None else read[sentence.other]
    if isinstance(tokens, Excluded):
        return tokens
    if isinstance(other, Excluded):
        return excluded("other", other.told)
    return plan(model, scorer, sentence, tokens, other)


def _tokens(one: Plan) -> int:
    return sum(len(row.ids) for row in one.rows)


def _parts(plans: dict[str, Plan]) -> Iterator[list[str]]:
    part: list[str] = []
    held = 0
    for key in sorted(plans, key=lambda key: len(plans[key].rows[0].ids)):
        part.append(key)
        held += _tokens(plans[key])
        if held >= TOKENS_A_ROUND:
            yield part
            part, held = [], 0
    if part:
        yield part


def _scored(scorer: Scorer, plans: dict[str, Plan], answers: Sequence[Answer]) -> dict[str, Kept]:
    found = {}
    begin = 0
    for key, one in plans.items():
        own = answers[begin : begin + len(one.rows)]
        begin += len(own)
        value = total(scorer, one, own)
        found[key] = (
            _left_out(excluded("not finite"))
            if value is None
            else Kept(
                score=value,
                tokens=len(one.places),
                right=sum(sum(answer.right) for answer in own),
                excluded=None,
                told=None,
            )
        )
    return found


def _left_out(why: Excluded) -> Kept:
    return Kept(score=None, tokens=0, right=0, excluded=why.reason, told=why.told)


def _note(log: Log, model: Model, reader: Reader, records: Sequence[Score]) -> None:
    for reason in REASONS:
        out = [record for record in records if record.excluded == reason]
        if out:
            log.add(
                "SC-EXCLUDED",
                "sentences",
                f"{len(out)} of {len(records)} have no score: {REASONS[reason]}; the first: "
                f"{show_plain(out[0].text)!r}",
                reason=reason,
                count=len(out),
                items=[record.item for record in out[:SHOWN]],
            )
    if model.kind == "causal" and beginning(model) is None:
        log.add("SC-FIRST", "sentences", "the first token of every text is not scored")
    if model.dtype.itemsize < 4:
        kind = str(model.dtype).removeprefix("torch.")
        log.add("SC-DTYPE", "model", f"scores are computed in {kind}")
    if reader.forwards and not reader.short:
        log.add("SC-WHOLE", "model", f"{type(model.network).__name__}: whole logits are computed")


def _summary(
    model: Model,
    name: str,
    scorer: Scorer,
    reader: Reader,
    records: Sequence[Score],
    asked: int,
) -> dict[str, object]:
    tokens = sum(record.tokens for record in records)
    begin = beginning(model) if model.kind == "causal" else None
    return {
        "scorer": name,
        "about": scorer.about,
        "source": scorer.source,
        "unit": "nats a token" if scorer.mean else "nats",
        "begins_with": None if begin is None else model.tokenizer.convert_ids_to_tokens(begin),
        "sentences": len(records),
        "scored": sum(record.score is not None for record in records),
        "excluded": dict(Counter(r.excluded for r in records if r.excluded).most_common()),
        "tokens": tokens,
        "right": sum(record.right for record in records) / tokens if tokens else None,
        "asked_now": asked,
        "forwards": reader.forwards,
        "rows": reader.rows,
        "tokens_run": reader.tokens,
    }
