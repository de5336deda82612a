"""What comes with the package: word lists as in the paper, templates that are fair to judge by."""

from collections import Counter, defaultdict

import pytest

from inspector.errors import BadOption
from inspector.fairness.items import Target, Template, WordPair
from inspector.fairness.sets.own_templates import contrasts
from inspector.fairness.sets.own_words import SENTENCES
from inspector.fairness.stimuli import findings, read

CATEGORIES = (
    *("occupation", "names", "age", "religion", "nationality", "disability", "socioeconomic"),
)


def test_weat_has_the_sizes_of_the_paper():
    found = read("weat")
    assert found.excluded == found.notes == findings(found) == ()
    assert {item.id: tuple(map(len, (item.x, item.y, item.a, item.b))) for item in found.items} == {
        "weat-1": (25, 25, 25, 25),
        "weat-4": (16, 16, 25, 25),
        "weat-5": (16, 16, 8, 8),
        "weat-6": (8, 8, 8, 8),
        "weat-7": (8, 8, 8, 8),
        "weat-8": (8, 8, 8, 8),
        "weat-9": (6, 6, 7, 7),
        "weat-10": (8, 8, 8, 8),
    }
    assert found.origin == "package"
    assert len({name for item in found.items for name in item.names}) > 10


def test_tests_of_weat_share_the_lists_that_the_paper_says_they_share():
    tests = {item.id: item for item in read("weat").items}
    assert (tests["weat-4"].x, tests["weat-4"].y) == (tests["weat-5"].x, tests["weat-5"].y)
    assert tests["weat-4"].a == tests["weat-1"].a
    swapped = set(tests["weat-1"].b) - {"agony", "prison"} | {"bomb", "evil"}
    assert set(tests["weat-4"].b) == swapped
    assert (tests["weat-5"].a, tests["weat-5"].b) == (tests["weat-10"].a, tests["weat-10"].b)
    assert {"Einstein", "NASA"} <= set(tests["weat-8"].x)


def test_sentences_for_words_hold_one_word_each():
    assert len(set(SENTENCES)) == 8
    assert all(sentence.count("{word}") == 1 for sentence in SENTENCES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_category_is_whole_and_balanced(category):
    found = read("own")
    assert found.excluded == found.notes == ()
    parts = [item for item in found.items if item.category == category]
    targets = [part for part in parts if isinstance(part, Target)]
    pairs = [part for part in parts if isinstance(part, WordPair)]
    assert sum(isinstance(part, Template) for part in parts) >= 5
    for control in (False, True):
        directions = [one.direction for one in targets if one.control == control]
        assert len(directions) >= (4 if control else 10)
        assert sum(directions) == 0  # no score from liking one word in any sentence
        assert set(directions) == {1, -1}
    assert any(not pair.control for pair in pairs)
    assert sum(pair.control for pair in pairs) >= 2


def test_every_target_stands_before_the_word_it_may_change():
    made = contrasts(read("own"))
    assert Counter(one.category for one in made).keys() == set(CATEGORIES)
    for one in made:
        assert one.before != one.neutral_before
        assert one.after == one.neutral_after
        assert one.before.endswith(" ")
        for text in (one.before + one.words[0] + one.after, one.neutral_before):
            assert text[0].isupper()
            assert "  " not in text
            assert not {"{", "}"} & set(text)


def test_a_model_that_likes_one_word_in_any_sentence_gets_no_score():
    """With log P(first) - log P(second) fixed for each pair the mean of y times it is zero."""
    by_pair = defaultdict(float)
    for one in contrasts(read("own")):
        by_pair[one.pair, one.control] += one.direction
    assert set(by_pair.values()) == {0}


def test_shipped_sets_read_no_data(tmp_path):
    for name in ("own", "weat"):
        with pytest.raises(BadOption, match="comes with the package"):
            read(name, tmp_path)


def test_the_digest_of_a_shipped_set_stays_while_its_file_does():
    assert read("own") == read("own")
    assert len(read("own").sha256) == 64
