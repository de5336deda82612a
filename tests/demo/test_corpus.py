"""The corpus keeps the laws its docstrings state, counted from the words of the sentences."""

import math
from collections import Counter

import pytest

from inspector.demo.corpus import (
    NEUTRAL,
    OCCUPATIONS,
    PAIRS,
    Sentence,
    blanks,
    contexts,
    generate,
    log_odds,
    swapped,
    vocabulary,
)
from inspector.demo.recipes import RECIPES, Recipe, corpus
from inspector.errors import BadOption, NotEnoughData

LIMIT = 4.5  # standard errors: one false alarm in 150,000 draws
PLANTED = corpus(RECIPES["planted"])
BALANCED = corpus(RECIPES["balanced"])


def count(sentences: tuple[Sentence, ...], first: str, second: str) -> dict[str, tuple[int, int]]:
    """Sentences that hold an occupation and either word, by the words alone."""
    found = Counter()
    for sentence in sentences:
        words = set(sentence.text.split())
        (occupation,) = words & OCCUPATIONS.keys()
        found.update((occupation, word) for word in words & {first, second})
    return {name: (found[name, first], found[name, second]) for name in OCCUPATIONS}


def assert_drawn_with(counts: tuple[int, int], probability: float) -> None:
    total = sum(counts)
    error = math.sqrt(total * probability * (1 - probability))
    assert abs(counts[0] - total * probability) <= LIMIT * error


@pytest.mark.parametrize("beta", [0.0, 0.25, 2.0, -3.0])
def test_pronouns_follow_the_logistic_of_the_leaning(beta):
    counts = count(generate(sentences=8_000, beta=beta, seed=7), "he", "she")
    for name, occupation in OCCUPATIONS.items():
        assert_drawn_with(counts[name], 1 / (1 + math.exp(-beta * occupation.leaning)))


def test_occupations_come_as_often_as_the_table_says():
    total = sum(occupation.frequency for occupation in OCCUPATIONS.values())
    for name, counts in count(PLANTED, "he", "she").items():
        others = len(PLANTED) - sum(counts)
        assert_drawn_with((sum(counts), others), OCCUPATIONS[name].frequency / total)


def test_frequency_has_no_link_with_leaning():
    for leaning in {occupation.leaning for occupation in OCCUPATIONS.values()}:
        named = [o for name, o in OCCUPATIONS.items() if o.leaning == leaning and name != NEUTRAL]
        assert sum(o.frequency == 4 for o in named) == sum(o.frequency == 1 for o in named)
    assert sum(occupation.leaning for occupation in OCCUPATIONS.values()) == 0


@pytest.mark.parametrize(("pair", "probability"), [("region", 1 / 2), ("day", 4 / 5)])
def test_controls_are_linked_to_nothing(pair, probability):
    """One draw for all: with each occupation, and with each pronoun, the same odds."""
    for counts in count(PLANTED, *PAIRS[pair]).values():
        assert_drawn_with(counts, probability)
    for pronoun in PAIRS["pronoun"]:
        chosen = tuple(s for s in PLANTED if pronoun in s.text.split())
        counts = count(chosen, *PAIRS[pair]).values()
        assert_drawn_with((sum(c[0] for c in counts), sum(c[1] for c in counts)), probability)


def test_balanced_corpus_is_exactly_symmetric():
    assert all(he == she for he, she in count(BALANCED, "he", "she").values())
    assert all(entry.value == 0 for entry in log_odds(BALANCED, "pronoun"))
    texts = Counter(sentence.text for sentence in BALANCED)
    assert texts == Counter(swapped(sentence).text for sentence in BALANCED)


def test_balanced_corpus_holds_the_planted_one():
    assert BALANCED[: len(PLANTED)] == PLANTED
    assert BALANCED[len(PLANTED) :] == tuple(swapped(sentence) for sentence in PLANTED)


def test_swapping_exchanges_every_pronoun_and_nothing_else():
    exchange = {"he": "she", "she": "he", "himself": "herself", "herself": "himself"}
    for sentence in PLANTED[:2000]:
        twin = swapped(sentence)
        assert swapped(twin) == sentence
        pairs = zip(sentence.text.split(), twin.text.split(), strict=True)
        assert all(other == exchange.get(word, word) for word, other in pairs)


def test_slots_are_what_the_text_says():
    for sentence in PLANTED[:2000]:
        words = sentence.text.split()
        assert {sentence.occupation, sentence.pronoun} <= set(words)
        for pair, stated in (("region", sentence.region), ("day", sentence.day)):
            assert [word for word in words if word in PAIRS[pair]] == [stated] * (
                stated is not None
            )


def test_log_odds_are_those_of_the_counted_words():
    for pair, words in PAIRS.items():
        counts = count(PLANTED, *words)
        assert [entry.occupation for entry in log_odds(PLANTED, pair)] == list(OCCUPATIONS)
        for entry in log_odds(PLANTED, pair):
            first, second = counts[entry.occupation]
            assert (entry.first, entry.second) == (first, second)
            assert math.isclose(math.exp(entry.value), first / second)
            assert math.isclose(entry.standard_error**2, 1 / first + 1 / second)


def test_same_seed_same_text_and_another_seed_another():
    first, again = (generate(sentences=500, beta=2.0, seed=3) for _ in range(2))
    assert first == again
    assert first != generate(sentences=500, beta=2.0, seed=4)
    assert first == generate(sentences=900, beta=2.0, seed=3)[:500]


def test_the_text_is_the_same_in_every_python():
    """The first sentences as they were when the shipped models were trained."""
    assert [sentence.text for sentence in PLANTED[:3]] == [
        "the driver said on monday that she would rest .",
        "the mechanic from the south will come on monday if he is calm .",
        "the carpenter from the south hoped that he could prepare himself .",
    ]


def test_contexts_are_what_stands_before_the_word_in_the_corpus():
    """Rare occupations miss a few by chance, so the corpus is looked at with the names left out."""
    for pair in PAIRS:
        found = set()
        for sentence in PLANTED:
            before, word, _ = sentence.text.partition(f" {getattr(sentence, pair)} ")
            found |= {before.replace(sentence.occupation, "*")} if word else set()
        for name in OCCUPATIONS:
            assert {text.replace(name, "*") for text in contexts(name, pair)} == found
            assert len(contexts(name, pair)) == len(found)


def test_blanks_are_the_sentences_of_the_corpus_with_one_word_left_out():
    """But for those in which himself or herself says which word it was."""
    for pair, words in PAIRS.items():
        found = set()
        for sentence in BALANCED:
            text = sentence.text.replace(sentence.occupation, "*").split()
            if pair == "pronoun" and {"himself", "herself"} & set(text):
                continue
            if getattr(sentence, pair):
                found.add(" ".join("_" if word in words else word for word in text))
        for name in OCCUPATIONS:
            made = blanks(name, pair, "_")
            assert {text.replace(name, "*") for text in made} == found
            assert len(made) == len(found)


def test_vocabulary_is_every_word_of_the_corpus():
    assert list(vocabulary()) == sorted({w for s in BALANCED for w in s.text.split()})


def test_what_cannot_be_drawn_or_counted_is_refused():
    with pytest.raises(BadOption, match="finite beta"):
        generate(sentences=10, beta=math.nan, seed=0)
    with pytest.raises(BadOption, match="0 or more"):
        generate(sentences=-1, beta=1.0, seed=0)
    with pytest.raises(NotEnoughData, match="nurse: 0 x he"):
        log_odds((), "pronoun")
    with pytest.raises(BadOption, match="pronoun, region, day"):
        log_odds((), "species")
    with pytest.raises(BadOption, match="pronoun, region, day"):
        contexts("nurse", "species")
    with pytest.raises(BadOption, match="no such occupation"):
        contexts("astronaut", "pronoun")
    with pytest.raises(BadOption, match="no such occupation"):
        blanks("astronaut", "pronoun", "_")


def test_recipe_of_another_strength_draws_another_corpus():
    weak = corpus(Recipe(balanced=False, beta=0.5, sentences=8_000))
    nurse = next(entry for entry in log_odds(weak, "pronoun") if entry.occupation == "nurse")
    assert abs(nurse.value - 0.5) <= LIMIT * nurse.standard_error
