"""Words of one group in the place of another's: both ways, with capitals, nothing guessed."""

import pytest

from inspector.errors import BadOption
from inspector.fairness.swaps import Swapper

PAIRS = [("he", "she"), ("man", "woman"), ("old man", "old woman"), ("Mr", "Ms")]


@pytest.mark.parametrize(
    ("text", "swapped", "toward"),
    [
        ("He is here.", "She is here.", 1),
        ("SHE left; she did", "HE left; he did", -1),
        ("he met a woman", "she met a man", 0),
        ("The old man, Mr Smith", "The old woman, Ms Smith", 1),
        ("shell theme humane", None, 0),  # no word of its own
        ("", None, 0),
    ],
)
def test_words_are_swapped_whole_and_keep_their_capitals(text, swapped, toward):
    found = Swapper(PAIRS)(text)
    assert (found.text, found.toward) == (swapped, toward)
    assert (found.excluded == "no word") == (swapped is None)
    if swapped is not None:
        assert Swapper(PAIRS)(swapped).text == text


@pytest.mark.parametrize("text", ["he took her bag", "His bag", "she saw HER"])
def test_a_word_with_two_counterparts_is_left_out(text):
    found = Swapper(PAIRS)(text)
    assert found.text is None
    assert found.excluded == "ambiguous"
    assert "her" in str(found.told) or "his" in str(found.told)


def test_only_where_pronouns_are_swapped():
    assert Swapper([("anna", "john")])("anna took her bag").text == "john took her bag"


def test_a_word_of_two_pairs_has_no_counterpart():
    swap = Swapper([("actor", "actress"), ("actor", "player")])
    assert swap("an actor").excluded == "ambiguous"
    assert swap("an actress").text == "an actor"


@pytest.mark.parametrize("pairs", [[], [("he",)], [("he", "He")], [("", "she")], ["ab"]])
def test_what_is_no_pair_is_refused(pairs):
    with pytest.raises(BadOption):
        Swapper(pairs)


def test_signs_in_words_are_letters():
    assert Swapper([("a.b", "c|d")])("x a.b y aXb").text == "x c|d y aXb"
