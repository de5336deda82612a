"""Rows in the words of the demo models, whose truth is known: the corpora they were made from."""

import functools
from collections.abc import Mapping
from typing import Final

from inspector.demo.corpus import Sentence, generate, swapped
from inspector.demo.recipes import RECIPES
from inspector.errors import BadOption
from inspector.fairness.files import data_file
from inspector.fairness.rows import Row, Table
from inspector.results import show_plain

PREFIX: Final = "demo:"
SENTENCES: Final[Mapping[str, int]] = {"train": 24_000, "validation": 1_000, "test": 2_000}
COLUMNS: Final = ("text", "occupation", "pronoun")


def demo_table(name: str, split: str) -> Table:
    """The rows of `demo:planted` or `demo:balanced` for a split, each split drawn by its own seed.

    In the balanced one each sentence also stands with the pronouns swapped. Columns: text,
    occupation, pronoun. Raises BadOption for another name.
    """
    known = name.removeprefix(PREFIX)
    if known not in ("planted", "balanced"):
        raise BadOption(
            f"{show_plain(name, 60)}: there is no such corpus. Known: demo:planted, demo:balanced."
        )
    return _table(known, split)


@functools.lru_cache(maxsize=6)  # k folds and studies ask again
def _table(known: str, split: str) -> Table:
    recipe = RECIPES[known]
    seed = recipe.seed + [*SENTENCES].index(split)
    drawn = generate(sentences=SENTENCES[split], beta=recipe.beta, seed=seed)
    sentences = [*drawn, *map(swapped, drawn)] if recipe.balanced else drawn
    file = f"{PREFIX}{known}"
    return Table(
        file=data_file(file, "\n".join(one.text for one in sentences).encode()),
        columns=COLUMNS,
        rows=tuple(_row(file, line, one) for line, one in enumerate(sentences, start=1)),
        total=len(sentences),
    )


def _row(file: str, line: int, sentence: Sentence) -> Row:
    return Row(file=file, line=line, fields={name: getattr(sentence, name) for name in COLUMNS})
