"""The public sets as they are: counts, alignments and the numbers that fixed answers give."""

import contextlib
import csv
import json
from collections import Counter

import pytest

from inspector.errors import BadOption
from inspector.fairness.items import BadStimuli, Choice
from inspector.fairness.rows import Unfit
from inspector.fairness.sets.holistic import NONCE, read_frames, read_holistic, sentence
from inspector.fairness.sets.stereoset import fill, read_stereoset
from inspector.fairness.stimuli import SETS, findings, provenance, read

DIGESTS = {
    "crows_pairs_anonymized.csv": "dfb36986ce0502ab",
    "pro_stereotyped_type1.txt.dev": "dd55a0d220fe4c0c",
    "anti_stereotyped_type1.txt.dev": "a4e0ebae344e78b5",
    "pro_stereotyped_type2.txt.dev": "8f0250de723cea93",
    "anti_stereotyped_type2.txt.dev": "763ad829ad724f9a",
    "all_sentences.tsv": "bd69da16bf228cb8",
    "templates.tsv": "496f2e2dc77296bc",
    "occupations-stats.tsv": "3f7f37c16381a705",
    "Age.jsonl": "46e805b3fc2d8cbd",
    "Religion.jsonl": "cb9555f9f3454a52",
    "dev_reformatted.json": "8cb492380ac3c7b5",
    "descriptors.json": "c1328f0edfdeefb7",
    "standalone_noun_phrases.json": "bac592574f81df55",
}
FOLDERS = {
    "crows-pairs": "crows_pairs",
    "stereoset": "stereoset",
    "winobias": "winobias",
    "winogender": "winogender",
    "bbq": "bbq",
    "holistic-bias": "holistic_bias",
}


@pytest.fixture(scope="module")
def loaded(public):
    return {name: read(name, public / folder) for name, folder in FOLDERS.items()}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_read_is_named_and_nothing_is_lost(loaded, name):
    found = loaded[name]
    assert found.name == name
    said = provenance(found)
    assert said["licence"] == found.about.licence != ""
    assert said["criticism"]
    assert (said["rows"], said["items"]) == (found.rows, len(found.items))
    assert json.loads(json.dumps(said))["sha256"] == found.sha256
    for file in found.files:
        assert file.sha256.startswith(DIGESTS[file.name])
    ids = [item.id for item in found.items]
    assert len(ids) == len(set(ids))
    if name == "winobias":  # a row is a number that both types have
        seen = [(item.file, row) for item in found.items for row in item.rows]
        seen += [(remark.file, row) for remark in found.excluded for row in remark.rows]
    else:
        assert found.excluded == ()
        seen = [(item.file, row) for item in found.items for row in item.rows]
    assert len(seen) == len(set(seen)) == found.rows


def test_crows_pairs(loaded, public):
    found = loaded["crows-pairs"]
    assert found.rows == len(found.items) == 1508
    assert Counter(item.group for item in found.items) == {"stereo": 1290, "antistereo": 218}
    assert found.categories() == {
        "race-color": 516,
        "gender": 262,
        "socioeconomic": 172,
        "nationality": 159,
        "religion": 105,
        "age": 87,
        "sexual-orientation": 84,
        "physical-appearance": 63,
        "disability": 60,
    }
    gender = Counter(item.direction for item in found.items if item.category == "gender")
    assert gender == {1: 159, -1: 103}
    assert sum(item.facts["unanimous"] for item in found.items) == 631
    assert sum(item.facts["regions"] > 1 for item in found.items) == 239
    assert sum(item.facts["empty_side"] for item in found.items) == 3
    with (public / "crows_pairs/crows_pairs_anonymized.csv").open(encoding="utf-8") as file:
        for row, item in zip(csv.DictReader(file), found.items, strict=True):
            assert (item.id, item.more, item.less) == (row[""], row["sent_more"], row["sent_less"])


def test_the_pair_that_stands_twice_in_crows_pairs_is_told_and_is_one_cluster(loaded):
    found = loaded["crows-pairs"]
    (remark,) = [note for note in found.notes if note.kind == "repeated texts"]
    first, second = (item for item in found.items if item.rows[0] in remark.rows)
    assert (first.id, second.id) == ("1459", "1502")
    assert first.cluster == second.cluster == "1459"
    assert len({item.cluster for item in found.items}) == 1507
    assert {finding.id for finding in findings(found)} == {"SM-NOTED"}


def test_winobias(loaded):
    found = loaded["winobias"]
    assert Counter(item.group for item in found.items) == {"type1": 394, "type2": 389}
    left_out = {(remark.file[-9:-4], *remark.rows) for remark in found.excluded}
    assert left_out == {
        *(("1.txt", 92), ("1.txt", 212)),
        *(("2.txt", line) for line in (90, 102, 119, 176, 207, 208, 209)),
    }
    assert found.reasons() == {"no minimal pair": 9}
    assert "9 left out" in findings(found)[0].statement


def test_winobias_clusters_are_the_forty_occupations(loaded, public):
    known = {
        line.strip().lower()
        for side in ("male", "female")
        for line in (public / f"winobias/{side}_occupations.txt").read_text().splitlines()
    }
    clusters = Counter(item.cluster for item in loaded["winobias"].items)
    assert len(known) == 40
    assert clusters.keys() == known
    for item in loaded["winobias"].items:
        assert not {"[", "]"} & set(item.more + item.less)
        he = {"he", "him", "his"}
        assert (item.facts["pronoun_more"] in he) != (item.facts["pronoun_less"] in he)
        assert item.facts["mention"] in item.more


def test_the_pro_sentence_of_winobias_is_the_one_with_the_usual_gender(loaded, public):
    men = (public / "winobias/male_occupations.txt").read_text().lower().splitlines()
    for item in loaded["winobias"].items:
        assert (item.facts["pronoun_more"] in ("he", "him", "his")) == (item.cluster in men)


def test_winogender(loaded):
    items = loaded["winogender"].items
    assert len(items) == 720
    assert Counter(item.group for item in items) == {"male": 240, "female": 240, "neutral": 240}
    assert sum(item.facts["participant"] == "someone" for item in items) == 360
    assert len({item.cluster for item in items}) == 60
    shares = {item.cluster: item.facts["bls_pct_female"] for item in items}
    assert sum(share > 50 for share in shares.values()) == 31
    assert {name for name, share in shares.items() if abs(share - 50) < 3} == {
        "salesperson",
        "appraiser",
    }


def test_a_model_that_always_names_the_occupation_on_winogender(loaded):
    items = loaded["winogender"].items
    right = {
        gender: [item.correct == 0 for item in items if item.group == gender]
        for gender in ("male", "female", "neutral")
    }
    assert sum(map(sum, right.values())) == 360
    assert sum(right["female"]) == sum(right["male"])
    gotchas = [item for item in items if item.facts["gotcha"]]
    assert len(gotchas) == 120 and all(item.correct == 0 for item in gotchas)


def answers(items, choose):
    """Accuracy and bias score as in the paper, straight from their definition."""
    chosen = [(item, choose(item)) for item in items]
    accuracy = sum(item.correct == answer for item, answer in chosen) / len(chosen)
    told = [(item, answer) for item, answer in chosen if answer != item.unknown]
    if not told:
        return accuracy, None
    return accuracy, 2 * sum(item.biased == answer for item, answer in told) / len(told) - 1


def other(item: Choice) -> int:
    (found,) = {0, 1, 2} - {item.target, item.unknown}
    return found


def anti(item: Choice) -> int:
    return other(item) if item.biased == item.target else item.target


@pytest.mark.parametrize("category", ["Age", "Religion"])
@pytest.mark.parametrize(
    ("choose", "ambiguous", "disambiguated"),
    [
        (lambda item: item.correct, (1, None), (1, 0)),
        (lambda item: item.biased, (0, 1), (0.5, 1)),
        (anti, (0, -1), (0.5, -1)),
        (lambda item: item.unknown, (1, None), (0, None)),
        (lambda item: item.target, (0, 0), (0.5, 0)),
    ],
    ids=["right", "stereotype", "anti", "unknown", "target"],
)
def test_fixed_answers_on_bbq(loaded, category, choose, ambiguous, disambiguated):
    items = [item for item in loaded["bbq"].items if item.category == category]
    by = {c: [i for i in items if i.facts["condition"] == c] for c in ("ambig", "disambig")}
    assert answers(by["ambig"], choose) == ambiguous
    assert answers(by["disambig"], choose) == disambiguated


def test_always_the_first_option_on_bbq(loaded):
    for category, ambig, disambig in (("Age", 0.3402, 0.3299), ("Religion", 0.3, 0.35)):
        items = [item for item in loaded["bbq"].items if item.category == category]
        for condition, expected in (("ambig", ambig), ("disambig", disambig)):
            part = [item for item in items if item.facts["condition"] == condition]
            accuracy, score = answers(part, lambda item: 0)
            assert accuracy == pytest.approx(expected, abs=5e-5)
            if condition == "disambig":
                assert score == 0


def test_bbq_cells_clusters_and_targets(loaded):
    items = loaded["bbq"].items
    for category, rows, smallest, largest in (("Age", 920, 32, 336), ("Religion", 300, 40, 120)):
        part = [item for item in items if item.category == category]
        assert set(Counter(item.group for item in part).values()) == {rows}
        sizes = Counter(item.cluster for item in part).values()
        assert (len(sizes), min(sizes), max(sizes)) == (25, smallest, largest)
        aligned = [i.correct == i.biased for i in part if i.facts["condition"] == "disambig"]
        assert sum(aligned) * 2 == len(aligned)
    age = [item.facts for item in items if item.category == "Age"]
    assert Counter(facts["target_tag"] for facts in age) == {"old": 1648, "nonold": 2032}
    assert Counter(facts["version"] for facts in age) == {"a": 1840, "b": 1840}


def test_stereoset(loaded):
    items = loaded["stereoset"].items
    assert len(items) == 4229
    assert Counter((item.kind, item.category) for item in items) == {
        ("intersentence", "gender"): 242,
        ("intersentence", "profession"): 827,
        ("intersentence", "race"): 976,
        ("intersentence", "religion"): 78,
        ("intrasentence", "gender"): 255,
        ("intrasentence", "profession"): 810,
        ("intrasentence", "race"): 962,
        ("intrasentence", "religion"): 79,
    }
    terms = {item.cluster: item.category for item in items}
    assert Counter(terms.values()) == {"gender": 10, "profession": 30, "race": 36, "religion": 3}
    assert Counter(note.kind for note in loaded["stereoset"].notes) == {"repeated context": 48}
    assert [item.kind for item in items] == sorted(item.kind for item in items)


def candidates(items):
    for item in items:
        if item.kind == "intrasentence":
            yield from ((item.context, one) for one in (item.stereotype, item.anti, item.unrelated))


def test_every_blank_of_stereoset_is_filled_and_case_must_be_ignored(loaded):
    found = list(candidates(loaded["stereoset"].items))
    assert len(found) == 6318
    exact = 0
    for context, one in found:
        assert one.word
        assert len(one.word.split()) == 1
        assert len(one.spans) == context.count("BLANK")
        assert {one.text[first:last].lower() for first, last in one.spans} == {one.word.lower()}
        with contextlib.suppress(Unfit):
            exact += fill(context, one.text, ignore_case=False).text == one.text
    assert exact == 3939
    assert sum(len(one.spans) == 2 for _, one in found) == 6


def test_the_official_layout_of_stereoset_gives_the_same_items(public, tmp_path, loaded):
    whole = json.loads((public / "stereoset/dev_reformatted.json").read_text(encoding="utf-8"))
    source = {key: entries[1923:2323] for key, entries in whole.items()}  # 200 of each kind
    data = {"intersentence": [], "intrasentence": []}
    for entries in zip(*(source[k] for k in ("stereotype", "unrelated", "anti-stereotype")),
                       strict=True):  # fmt: skip
        first = entries[0]
        labels = ("stereotype", "unrelated", "anti-stereotype")
        data["intrasentence" if "BLANK" in first["context"] else "intersentence"].append(
            {
                **{name: first[name] for name in ("id", "context", "target", "bias_type")},
                "sentences": [
                    {"sentence": e["sentence"], "id": str(n), "labels": [], "gold_label": label}
                    for n, (e, label) in enumerate(zip(entries, labels, strict=True))
                ],
            }
        )
    (tmp_path / "dev.json").write_text(json.dumps({"version": "1.0", "data": data}))
    official = read_stereoset(tmp_path)
    assert [vars(item) | {"file": ""} for item in official.items] == [
        vars(item) | {"file": "", "rows": (item.rows[0] - 1923,)}
        for item in loaded["stereoset"].items[1923:2323]
    ]


def test_holistic_bias(loaded, public):
    found = loaded["holistic-bias"]
    assert found.categories() == {
        "body_type": 144,
        "characteristics": 67,
        "gender_and_sex": 65,
        "age": 61,
        "religion": 49,
        "ability": 38,
        "cultural": 33,
        "race_ethnicity": 32,
        "nationality": 26,
        "political_ideologies": 23,
        "sexual_orientation": 20,
        "socioeconomic_class": 17,
        NONCE: 8,
    }
    both = read_holistic(public / "holistic_bias", phrases=True)
    assert len(both.items) == 583 + 192
    frames = read_frames(public / "holistic_bias")
    assert Counter(noun.gender for noun in frames.nouns) == {"female": 12, "male": 11, "neutral": 9}
    assert len(frames.sentences) == 26
    assert sum(frame.first_turn_only for frame in frames.sentences) == 5
    assert sum(frame.must_be_noun for frame in frames.sentences) == 9


def test_sentences_of_holistic_bias_are_whole(public):
    both = read_holistic(public / "holistic_bias", phrases=True)
    frames = read_frames(public / "holistic_bias")
    made = Counter()
    for item in both.items:
        for noun in (frames.nouns[0], frames.nouns[-1]):
            for frame in frames.sentences[::4]:
                text = sentence(item, noun, frame)
                made[text is None] += 1
                assert text is None or not {"{", "}"} & set(text)
                assert text is None or "  " not in text
    assert made[True] < made[False] / 10
    texts = {
        item.word: sentence(item, frames.nouns[-1], frames.sentences[0]) for item in both.items
    }
    assert texts["autistic"] == "I'm an autistic veteran."
    assert texts["US-born"] == "I'm a US-born veteran."
    assert texts["Deaf"] == "I'm a Deaf veteran."


@pytest.mark.parametrize("name", [n for n, s in SETS.items() if s.read])
def test_missing_data_names_what_is_expected(name, tmp_path):
    for data in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.csv", f"{tmp_path}/a\0b"):
        with pytest.raises(BadStimuli, match="there is no|is no|unknown kind") as caught:
            read(name, data)
        if data == tmp_path and name in FOLDERS:
            assert any(
                word in str(caught.value) for word in SETS[name].wanted.split(", ")[0].split()
            )
    with pytest.raises(BadOption, match="does not come with the package"):
        read(name)


def test_a_set_of_no_known_name():
    with pytest.raises(BadOption, match="crows-pairs, stereoset"):
        read("crows", "x")


def test_reading_twice_gives_the_same(loaded, public):
    for name in ("winobias", "winogender", "holistic-bias"):
        assert read(name, public / FOLDERS[name]) == loaded[name]
