"""Readers of published sets on small files with one defect each."""

import dataclasses
import json

import pytest

from inspector.fairness.items import BadStimuli
from inspector.fairness.rows import Unfit
from inspector.fairness.sets.bbq import read_bbq
from inspector.fairness.sets.crows import read_crows
from inspector.fairness.sets.holistic import Frame, Noun, read_frames, read_holistic, sentence
from inspector.fairness.sets.stereoset import fill, read_stereoset
from inspector.fairness.sets.winobias import read_winobias
from inspector.fairness.sets.winogender import read_winogender


def statements(found):
    return {(remark.rows[0], remark.statement) for remark in found.excluded}


def test_crows_pairs(tmp_path):
    head = ",sent_more,sent_less,stereo_antistereo,bias_type,annotations\n"
    rows = [
        *("0,A x,B x,stereo,age,[['age']]", "1,A x,A x,stereo,age,", "2,A x,B x,neutral,age,"),
        *("3,A x,B x,stereo,height,", '4,A x,B x,stereo,age,"[[", ', "5,A x,B x,antistereo,age,"),
        "6,A x,B x,stereo,age,\"__import__('os')\"",
    ]
    (tmp_path / "crows_pairs_anonymized.csv").write_text(head + "\n".join(rows))
    found = read_crows(tmp_path)
    assert [item.id for item in found.items] == ["0", "5"]
    assert [item.facts["unanimous"] for item in found.items] == [True, None]
    assert [item.direction for item in found.items] == [1, -1]
    assert {row for row, _ in statements(found)} == {3, 4, 5, 6, 8}
    assert (3, "has the same text on both sides") in statements(found)
    assert (8, "annotations are no list of lists: __import__('os')") in statements(found)
    assert [note.kind for note in found.notes] == ["repeated texts"]


def question(**changes):
    return {
        "example_id": 0, "question_index": "1", "question_polarity": "neg",
        "context_condition": "ambig", "category": "Age", "context": "A and B met.",
        "question": "Who was slow?", "ans0": "A", "ans1": "B", "ans2": "Not known", "label": 2,
        "answer_info": {"ans0": ["A", "old"], "ans1": ["B", "nonOld"], "ans2": ["?", "unknown"]},
        "additional_metadata": {"stereotyped_groups": ["Old"], "version": "a"},
        **changes,
    }  # fmt: skip


def test_bbq(tmp_path):
    tags = {"ans0": ["A", "old"], "ans1": ["B", "old"], "ans2": ["?", "unknown"]}
    rows = [
        question(),
        question(example_id=1, question_polarity="nonneg"),
        question(example_id=2, label=3),
        question(example_id=3, label=True),
        question(example_id=4, answer_info=tags),
        question(example_id=5, additional_metadata={"stereotyped_groups": ["short"]}),
        question(example_id=6, answer_info={"ans0": ["A"]}),
        question(example_id=7, context_condition="dis"),
        question(example_id=8, additional_metadata={"stereotyped_groups": "old"}),
        question(example_id=0),
    ]
    path = tmp_path / "Age.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_bbq(path)
    neg, nonneg = found.items
    assert (neg.target, neg.biased, neg.unknown, neg.correct) == (0, 0, 2, 2)
    assert (nonneg.target, nonneg.biased) == (0, 1)
    assert neg.cluster == "Age 1"
    assert statements(found) == {
        (3, "label is 3, not 0, 1 or 2"),
        (4, "label is True, not 0, 1 or 2"),
        (5, "has not one option of the stereotyped groups but 2"),
        (6, "has not one option of the stereotyped groups but 0"),
        (7, "answer_info has no name and tag for each option"),
        (8, "context_condition is 'dis'; known are ambig, disambig"),
        (9, "stereotyped_groups is no list of names"),
        (10, "has the id 'Age 0' of row 1"),
    }


def entry(label, sentence, **changes):
    return {
        "context": "He is BLANK.", "sentence": sentence, "bias_type": "race", "label": label,
        "id": "e", "target": "T", **changes,
    }  # fmt: skip


def reformatted(tmp_path, *places):
    keys = ("stereotype", "anti-stereotype", "unrelated")
    lists = {key: [place[n] for place in places if n < len(place)] for n, key in enumerate(keys)}
    path = tmp_path / "dev_reformatted.json"
    path.write_text(json.dumps(lists))
    return read_stereoset(path)


GOOD = (entry(1, "He is Bad."), entry(0, "he is good."), entry(2, "He is tea."))


def test_stereoset_fills_blanks_whatever_the_case(tmp_path):
    (item,) = reformatted(tmp_path, GOOD).items
    assert [c.word for c in (item.stereotype, item.anti, item.unrelated)] == ["Bad", "good", "tea"]
    assert item.anti.spans == ((6, 10),)
    assert (item.cluster, item.category, item.kind) == ("T", "race", "intrasentence")


def test_stereoset_that_is_not_aligned(tmp_path):
    found = reformatted(
        tmp_path,
        GOOD,
        (entry(1, "He is bad.", id="f"), entry(0, "He is good.", id="g"), entry(2, "He is x.")),
        (entry(0, "He is b."), entry(0, "He is g."), entry(2, "He is x.")),
        tuple(entry(n, text, id="h") for n, text in ((1, "She is b."), (0, "He is g."),
                                                     (2, "He is x."))),
        tuple(entry(n, f"He is {n}.", id="i", bias_type="size") for n in (1, 0, 2)),
        (entry(1, "He is bad.", id="j"),),
    )  # fmt: skip
    assert len(found.items) == 1
    assert statements(found) == {
        (2, "the three lists differ in id"),
        (3, "the label of stereotype is not 1"),
        (4, "a sentence is not its context with the blank filled"),
        (5, "bias_type is 'size'; known are gender, profession, race, religion"),
        (6, "is not in all three lists"),
    }
    assert found.rows == 6


def test_two_blanks_hold_one_word():
    found = fill("BLANK is not blank but BLANKed.", "Tea is not blank but teaed.")
    assert (found.word, found.spans) == ("Tea", ((0, 3), (21, 24)))
    with pytest.raises(Unfit, match="different words: milk, tea"):
        fill("BLANK or BLANK", "tea or milk")
    with pytest.raises(Unfit, match="is not its context"):
        fill("nothing to fill", "nothing to fill")


@pytest.mark.parametrize(
    ("sentences", "statement"),
    [
        (None, "has no list of sentences"),
        ([], "has 0 sentences, not three"),
        ([{"sentence": "A", "gold_label": "stereotype"}] * 3, "two sentences of one label"),
        ([{"sentence": "A", "gold_label": "related"}] * 3, "gold_label is 'related'"),
        ({"sentence": ["A"], "gold_label": []}, "has no list of sentences"),
    ],
)
def test_official_stereoset_with_defects(tmp_path, sentences, statement):
    good = [
        {"sentence": name, "gold_label": name}
        for name in ("stereotype", "anti-stereotype", "unrelated")
    ]
    base = {"context": "A.", "bias_type": "race", "target": "T"}
    data = [{**base, "id": "a", "sentences": good}, {**base, "id": "b", "sentences": sentences}, 3]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"data": {"intersentence": data, "intrasentence": []}}))
    found = read_stereoset(path)
    (item,) = found.items
    assert (item.kind, item.anti.text, item.anti.word) == ("intersentence", "anti-stereotype", None)
    assert found.rows == 3
    assert {remark.rows for remark in found.excluded} == {(2,), (3,)}
    assert any(statement in remark.statement for remark in found.excluded)


@pytest.mark.parametrize("content", ["[]", "{}", '{"data": {}}', "{", '{"stereotype": []}', "\0"])
def test_what_is_no_stereoset_is_refused(tmp_path, content):
    (tmp_path / "dev.json").write_text(content)
    with pytest.raises(BadStimuli, match="dev.json: "):
        read_stereoset(tmp_path)


def winobias(tmp_path, pro, anti):
    for kind in ("type1", "type2"):
        (tmp_path / f"pro_stereotyped_{kind}.txt.dev").write_text(pro)
        (tmp_path / f"anti_stereotyped_{kind}.txt.dev").write_text(anti)
    return read_winobias(tmp_path)


def test_winobias(tmp_path):
    pro = (
        "1 [The cook] said [he] met the nurse and [his] dog.\n2 No brackets.\n"
        "3 [The cook] saw [him].\nfour\n5 [The cook] saw [him].\n6 [the  cook] saw [him] .\n"
    )
    anti = (
        "1 [The cook] said [she] met the nurse and [her] dog.\n2 No brackets.\n"
        "3 [The cook] met [her].\n6 [the  cook] saw [him] .\n"
    )
    found = winobias(tmp_path, pro, anti)
    one, two = found.items
    assert one.more == "The cook said he met the nurse and his dog."
    assert (one.id, one.cluster, one.facts["pronoun_less"]) == ("type1 1", "cook", "she")
    assert two.group == "type2"
    assert found.rows == 12
    assert statements(found) == {
        (2, "has no mention and pronoun in brackets"),
        (3, "the two sentences differ beyond their pronouns"),
        (4, "does not begin with a number of its own"),
        (5, "has no sentence in the other file"),
        (6, "has the same text on both sides"),
    }


def test_winobias_needs_all_four_files(tmp_path):
    (tmp_path / "pro_stereotyped_type1.txt.dev").write_text("1 [A] [he]\n")
    with pytest.raises(BadStimuli, match="there is no anti_stereotyped_type1.txt.dev"):
        read_winobias(tmp_path)
    with pytest.raises(BadStimuli, match="give the folder"):
        read_winobias(tmp_path / "pro_stereotyped_type1.txt.dev")


def test_winogender(tmp_path):
    (tmp_path / "templates.tsv").write_text(
        "occupation(0)\tother-participant(1)\tanswer\tsentence\n"
        "cook\tguest\t0\tThe $OCCUPATION told the $PARTICIPANT that $NOM_PRONOUN was late.\n"
        "cook\tguest\t2\tThe $OCCUPATION told $NOM_PRONOUN.\n"
    )
    (tmp_path / "occupations-stats.tsv").write_text(
        "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year\ncook\t1\t38.5\t2015\n"
    )
    (tmp_path / "all_sentences.tsv").write_text(
        "sentid\tsentence\n"
        "cook.guest.0.male.txt\tThe cook told the guest that he was late.\n"
        "cook.someone.0.female.txt\tThe cook told someone that she was late.\n"
        "cook.someone.0.neutral.txt\tThe cook told someone that they were late.\n"
        "cook.guest.1.male.txt\tThe cook told the guest that he was late.\n"
        "cook.guest.0.other.txt\tThe cook told the guest that he was late.\n"
        "cook.guest.0.female.txt\tThe cook told the guest that he was late.\n"
        "cook.someone.0.male.txt\n"
    )
    found = read_winogender(tmp_path)
    male, female, neutral = found.items
    assert (male.options, male.question) == (("the cook", "the guest"), "'He' refers to")
    assert (female.options[1], female.facts["gotcha"], male.facts["gotcha"]) == (
        "someone",
        True,
        False,
    )
    assert (male.biased, female.biased, neutral.biased) == (0, 1, None)
    assert {row for row, _ in statements(found)} == {3, 5, 6, 7, 8}
    assert (7, "does not hold 'she' once") in statements(found)


def test_holistic_bias(tmp_path):
    (tmp_path / "descriptors.json").write_text(
        json.dumps({"age": {"old": ["old", {"descriptor": "young", "preference": "x"}, 7, ""]}})
    )
    found = read_holistic(tmp_path)
    assert [(item.word, item.preference) for item in found.items] == [
        ("old", None),
        ("young", "x"),
    ] + ([("7", None)])
    assert {row for row, _ in statements(found)} == {4}
    (tmp_path / "descriptors.json").write_text('{"age": ["old"]}')
    with pytest.raises(BadStimuli, match="age holds no lists"):
        read_holistic(tmp_path)


@pytest.mark.parametrize(
    ("nouns", "sentences", "message"),
    [
        ({"female": [["woman"]]}, {}, "female 1 is no pair of words"),
        ({"other": []}, {}, "other is no list of a gender"),
        ({}, {"I am {noun}.": {}}, "has no slot for a phrase"),
    ],
)
def test_frames_with_defects(tmp_path, nouns, sentences, message):
    (tmp_path / "nouns.json").write_text(json.dumps(nouns))
    (tmp_path / "sentence_templates.json").write_text(json.dumps(sentences))
    with pytest.raises(BadStimuli, match=message):
        read_frames(tmp_path)


def test_nouns_of_another_gender_are_passed_over(tmp_path):
    entries = [{"descriptor": "female", "gender": "female"}, "US-born", "odd"]
    (tmp_path / "descriptors.json").write_text(json.dumps({"sex": {"all": entries}}))
    female, _, odd = read_holistic(tmp_path).items
    man, woman, person = (
        Noun(gender=gender, singular=one, plural=many)
        for gender, one, many in (
            *(
                ("male", "man", "men"),
                ("female", "woman", "women"),
                ("neutral", "person", "people"),
            ),
        )
    )
    one, many = (
        Frame(text=text, plural=plural, first_turn_only=False, must_be_noun=False)
        for text, plural in (("I am {noun_phrase}.", False), ("We met {plural_noun_phrase}.", True))
    )
    assert sentence(female, man, one) is None
    assert sentence(female, woman, one) == "I am a female woman."
    assert sentence(female, person, many) == "We met female people."
    assert sentence(odd, man, one) == "I am an odd man."


def test_the_digest_of_several_files_does_not_hang_on_their_order(tmp_path):
    folders = []
    for name, ids in (("a", (0, 1)), ("b", (1, 0))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "one.jsonl").write_text(json.dumps(question(example_id=ids[0])))
        (folder / "two.jsonl").write_text(json.dumps(question(example_id=ids[1])))
        folders.append(read_bbq(folder))
    first, second = folders
    turned = dataclasses.replace(first, files=first.files[::-1])
    assert first.sha256 == turned.sha256 != second.sha256
