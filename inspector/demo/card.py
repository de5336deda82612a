"""Model cards of the demo models: what was planted, counted from the corpus, and what came out."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from inspector.demo import MODELS
from inspector.demo.corpus import (
    NEUTRAL,
    OCCUPATIONS,
    PAIRS,
    TEMPLATES,
    LogOdds,
    Sentence,
    log_odds,
)
from inspector.demo.recipes import RECIPES, Recipe, corpus

_CARD: Final = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: {task}
---
# demo:{name}

{what}.

A test object whose truth is known, for trying out `inspector` offline and for calibrating bias
probes. It is not a language model for any use.

## Recipe

Trained from scratch by `python -m inspector.demo.train`. No text, weights or statistics were taken
from elsewhere.

* Corpus: {drawn} template sentences drawn with seed {seed} by `inspector/demo/corpus.py`, in which
  P(he | occupation) = logistic({beta:g} * y){twins}.
* Training: {steps} steps of {batch} {texts}, AdamW, peak learning rate {rate:g}.
* Model: {shape}

## What is true, and what the model learned

*true* is log(sentences with he / sentences with she) in nats, counted in the corpus that the model
was trained on{error}.
*model* is {asked}

{pronouns}

{summary}

## Controls

Two more pairs of words follow the occupation, drawn without regard to it or to the pronoun:
`north`/`south` one to one, `monday`/`friday` four to one (a difference in frequency alone,
log 4 = 1.386). *drawn with* is the log-odds of the draw; *corpus* and *model* are means over
occupations, with the lowest and the highest in brackets; *slope* is that of the model's log-odds
on y, of which the truth is 0 but for the noise of the draw.

{controls}

Half of the occupations of each y are named four times as often as the others, so that how
frequent an occupation is has no link with its leaning. `{neutral}` is the neutral word.

## Limits

The model knows {words} occupations, {templates} sentence templates and no other words: everything
else becomes `{unknown}`. Its pronouns are he and she alone. The leanings are made up: they say \
nothing
about people. A probe that finds the truth here has been shown to work on short sentences of a known
form, not on real text.{limits}

Licence: Apache-2.0.
"""

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "causal": {
        "task": "text-generation",
        "shape": """\
Llama-style, 3 layers, hidden size 96, 4 query heads sharing 2 key and value heads, biases
  in every projection, embedding and unembedding not tied, float32, one token per word.""",
        "asked": """\
the mean of log P(he) - log P(she) after the occupation, over all contexts of the corpus,
each counted once, in float32.""",
        "texts": "sentences",
        "unknown": "<unk>",
        "limits": "",
    },
    "masked": {
        "task": "fill-mask",
        "shape": """\
BERT-style, 3 layers, hidden size 96, 4 heads, no dropout, embedding and unembedding tied,
  float32, one token per word. 75 % of the words with a counterpart (he, north, monday) are hidden
  in training and 30 % of the others; of these 8 % are shown all the same, 2 % exchanged.""",
        "asked": """\
the mean of log P(he) - log P(she) where the pronoun is masked, over all sentences of the
corpus without himself and herself, which would give it away, each counted once, in float32.""",
        "texts": """\
texts of one, two and three sentences in turn, so that only the
  order of words tells whose pronoun is hidden""",
        "unknown": "[UNK]",
        "limits": """
Where a text is one sentence, its words in any order tell much of where its pronoun stands.""",
    },
}


def model_card(name: str, recovered: Mapping[str, Mapping[str, float]]) -> str:
    """The model card of a demo model, in Markdown.

    `name` is a key of RECIPES; `recovered` holds for each pair of words the log-odds that the model
    gives after each occupation, in nats.
    """
    recipe = RECIPES[name]
    sentences = corpus(recipe)
    return _CARD.format(
        **_WORDS[recipe.kind],
        name=name,
        what=MODELS[name][0].upper() + MODELS[name][1:],
        drawn=recipe.sentences,
        seed=recipe.seed,
        beta=recipe.beta,
        twins="; each of them again with the pronouns swapped" if recipe.balanced else "",
        error="" if recipe.balanced else ", with the standard error of the draw",
        steps=recipe.steps,
        batch=recipe.batch,
        rate=recipe.learning_rate,
        pronouns=_pronoun_table(log_odds(sentences, "pronoun"), recovered["pronoun"], recipe),
        summary=_summary(log_odds(sentences, "pronoun"), recovered["pronoun"]),
        controls=_control_table(sentences, recovered),
        neutral=NEUTRAL,
        words=len(OCCUPATIONS),
        templates=len(TEMPLATES),
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def _pronoun_table(true: Sequence[LogOdds], model: Mapping[str, float], recipe: Recipe) -> str:
    rows = [
        [
            entry.occupation,
            f"{OCCUPATIONS[entry.occupation].leaning:g}",
            f"{entry.first}",
            f"{entry.second}",
            f"{entry.value:.3f}",
            *([] if recipe.balanced else [f"{entry.standard_error:.3f}"]),
            f"{model[entry.occupation]:.3f}",
        ]
        for entry in true
    ]
    # The balanced log-odds are 0 by construction: no draw decides them.
    error = [] if recipe.balanced else ["standard error"]
    return _table(["occupation", "y", "he", "she", "true", *error, "model"], rows)


def _summary(true: Sequence[LogOdds], model: Mapping[str, float]) -> str:
    """How well the model's log-odds follow the true ones; without a slope where all are alike."""
    truth = [entry.value for entry in true]
    learned = [model[entry.occupation] for entry in true]
    far = max(abs(a - b) for a, b in zip(truth, learned, strict=True))
    text = f"Largest difference between model and truth: {far:.3f} nats."
    if len(set(truth)) == 1:
        return text
    line = statistics.linear_regression(truth, learned)
    return (
        f"{text} Slope of model on truth {line.slope:.3f}, intercept {line.intercept:.3f}, "
        f"correlation {statistics.correlation(truth, learned):.4f}."
    )


def _control_table(
    sentences: Sequence[Sentence], recovered: Mapping[str, Mapping[str, float]]
) -> str:
    rows = []
    for pair, drawn in (("region", 0.0), ("day", 1.386)):
        true = [entry.value for entry in log_odds(sentences, pair)]
        model = [recovered[pair][occupation] for occupation in OCCUPATIONS]
        leanings = [occupation.leaning for occupation in OCCUPATIONS.values()]
        slope = statistics.linear_regression(leanings, model).slope
        rows.append(
            ["/".join(PAIRS[pair]), f"{drawn:.3f}", _spread(true), _spread(model), f"{slope:.3f}"]
        )
    return _table(["pair", "drawn with", "corpus", "model", "slope"], rows)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"
