"""The probe of classifiers: planted bias is found, a fair one is not, a random one is invalid."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from fairness.classifiers import CLASSES, WORDS, classifier, texts, written
from fairness.talkers import pieces, saved
from transformers import LlamaConfig, LlamaForSequenceClassification

from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness.classes import predict
from inspector.fairness.items import BadStimuli, Labelled
from inspector.fairness.measures import Measured
from inspector.fairness.probes import classifier_parts as names
from inspector.fairness.probes.classifier_fairness import _guard
from inspector.fairness.probes.classifier_parts import parts_of
from inspector.fairness.probes.decided import Attribute, Decided, attributes_of
from inspector.fairness.probes.parts import measure
from inspector.fairness.probes.records import ALL, Probed
from inspector.fairness.probes.swapped import FLIPS, NET_FLIPS, ODDS_CHANGE
from inspector.fairness.probes.table import probe
from inspector.model.load import Model, load
from inspector.results import show_plain
from inspector.weights.problems import Log

NAME = "classifier-fairness"
SWAPS = [["he", "she"], ["john", "anna"], ["paul", "mary"]]
Models = dict[str, Model]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    folder = tmp_path_factory.mktemp("classifiers")
    made = {"fair": (0.0, 60), "biased": (0.8, 60), "random": (0.0, 0)}
    return {
        name: load(classifier(folder / name, against, steps))
        for name, (against, steps) in made.items()
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("texts"), texts(500, seed=5))


@pytest.fixture(scope="module")
def probed(models, data) -> dict[str, Probed]:
    return {name: probe(model, NAME, data, swaps=SWAPS) for name, model in models.items()}


def record(found: Probed, metric: str, category: str = ALL):
    (one,) = (r for r in found if (r.metric, r.category) == (metric, category))
    return one


def test_planted_bias_is_found_where_it_was_planted(probed):
    found = probed["biased"]
    assert found.summary["verdict"] == "bias detected"
    for metric in (names.PARITY, names.PARITY_RATIO, names.ODDS, names.OPPORTUNITY):
        assert record(found, metric, "gender").verdict == "bias detected"
        assert record(found, metric, "age").verdict == "inconclusive"
    women = record(found, names.SIGNED_TRUE, "gender=woman")
    assert women.verdict == "bias detected"
    assert women.high < 0 < record(found, names.SIGNED_TRUE, "gender=man").low
    assert record(found, names.ODDS, "gender").p_adjusted == pytest.approx(0.0003)  # of three


def test_a_fair_classifier_is_not_called_biased_and_a_random_one_is_nothing(probed):
    assert all(one.verdict == "inconclusive" for one in probed["fair"])
    assert probed["fair"].summary["quality"][0]["estimate"] > 0.75
    random = probed["random"]
    assert {one.verdict for one in random} == {"invalid measurement"}
    assert "better than chance" in random.summary["reason"]
    assert [f.id for f in random.findings if f.id.startswith("CL")] == ["CL-GUARD"]


def test_rates_are_those_of_fairlearn_crossed_groups_too(probed):
    from fairlearn import metrics

    found = probed["biased"]
    rows = [one for one in found.items if one.predicted is not None]
    truth, said = (
        np.array([CLASSES.index(getattr(row, name)) for row in rows])
        for name in ("label", "predicted")
    )
    parts = [dict(part.split("=") for part in row.group.split(", ")) for row in rows]
    gender, age = ([part[name] for part in parts] for name in ("gender", "age"))
    for attribute, features in (
        ("gender", {"gender": gender}),
        ("gender × age", {"gender": gender, "age": age}),
    ):
        frame = metrics.MetricFrame(
            metrics={
                "selected": metrics.selection_rate,
                "true positives": metrics.true_positive_rate,
                "false positives": metrics.false_positive_rate,
                "count": metrics.count,
            },
            y_true=truth,
            y_pred=said,
            sensitive_features=features,
        )
        for one in found.summary["rates"]:
            if one["attribute"] == attribute and one["rate"] != "correct":
                group = tuple(one["group"].split(" × "))
                expected = frame.by_group[one["rate"]][group if len(group) > 1 else group[0]]
                assert one["estimate"] == pytest.approx(expected)
                assert one["low"] <= one["estimate"] <= one["high"]
        gaps = frame.difference()
        assert record(found, names.PARITY, attribute).estimate == pytest.approx(gaps["selected"])
        both = max(gaps["true positives"], gaps["false positives"])
        assert record(found, names.ODDS, attribute).estimate == pytest.approx(both)
    assert record(found, names.ODDS).estimate == pytest.approx(
        max(record(found, names.ODDS, name).estimate for name in ("gender", "age"))
    )


def test_flips_are_those_of_texts_written_out_by_hand(probed, models):
    found = probed["biased"]
    counts = {"he": "she", "john": "anna", "paul": "mary"}
    both = counts | {other: one for one, other in counts.items()}
    changes, flips, nets = [], [], []
    for one in found.items:
        who, rest = one.text.split(" ", 1)
        other = f"{both[who]} {rest}"
        assert one.swapped == other
        before, after = (said_alone(models["biased"], text) for text in (one.text, other))
        side = 1 if who in counts else -1
        changes.append(side * ((after[1] - after[0]) - (before[1] - before[0])))
        flips.append(before.argmax() != after.argmax())
        nets.append(side * (int(after.argmax()) - int(before.argmax())))
    assert record(found, ODDS_CHANGE, "swaps").estimate == pytest.approx(np.mean(changes), abs=1e-4)
    assert record(found, FLIPS, "swaps").estimate == pytest.approx(np.mean(flips))
    net = record(found, NET_FLIPS, "swaps")
    assert net.estimate == pytest.approx(np.mean(nets))
    assert (net.verdict, net.p_adjusted) == ("bias detected", pytest.approx(1e-4))
    assert net.high < 0  # from men to women
    assert record(probed["fair"], FLIPS, "swaps").estimate < 0.05


def said_alone(model: Model, text: str) -> np.ndarray:
    ids = model.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        return model.network(ids["input_ids"]).logits[0].log_softmax(-1).double().numpy()


@pytest.mark.parametrize("pad", [0, None])
def test_a_text_is_classified_alike_alone_and_beside_longer_ones(models, tmp_path, pad):
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=pad,
        num_labels=3,
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    pieces(masked=True, vocabulary=WORDS).save_pretrained(tmp_path)
    given = [row.text for row in texts(20, seed=9)]
    for model in (models["biased"], load(tmp_path)):
        found = predict(model, given)
        alone = np.stack([said_alone(model, text) for text in given])
        np.testing.assert_allclose(found.log_probabilities, alone, atol=1e-5)
        decoder = type(model.network).__name__.startswith("Llama")
        assert found.forwards == (20 if decoder and pad is None else 1)
        assert predict(model, given, most_rows=7).forwards == (20 if decoder and pad != 0 else 3)


def test_texts_that_cannot_be_read_are_left_out_with_their_reasons(models, tmp_path):
    model = models["biased"]
    given = ["she is strong", "he is " + "very " * 40, "", "she <pad> is", "\ud800", "zzz qqq"]
    found = predict(model, given)
    assert {i: reason for i, (reason, _) in found.excluded.items()} == {
        1: "too long",
        2: "empty",
        3: "special",
        4: "not text",
    }
    assert "44 tokens; it sees 24" in found.excluded[1][1]
    assert np.isnan(found.log_probabilities[1:5]).all()
    assert found.unknown == 2
    rows = texts(60, seed=2)
    rows += [dataclasses.replace(r, text=r.text + " very" * 30, age="ancient") for r in rows[:4]]
    made = probe(model, NAME, written(tmp_path, rows))
    assert record(made, names.PARITY, "age").n_excluded == 4
    assert sum(one.excluded is not None for one in made.items) == 4
    (small,) = (f for f in made.findings if f.id == "CL-SMALL")
    assert "age=ancient (selected of hire: 0)" in small.evidence["groups"]
    (out,) = (f for f in made.findings if f.id == "CL-EXCLUDED")
    assert out.statement.startswith("4 have no prediction")
    empty = [r for r in made.summary["rates"] if (r["group"], r["n"]) == ("ancient", 0)]
    assert len(empty) == 4
    assert {r["estimate"] for r in empty} == {None}


def test_labels_are_names_or_numbers_of_classes_and_others_are_named_row_by_row(models, tmp_path):
    rows = texts(80, seed=4)
    odd = [dataclasses.replace(rows[i], label=label) for i, label in enumerate(("1", "0", "Hire"))]
    made = probe(models["fair"], NAME, written(tmp_path, [*odd, *rows[3:]]), attributes="gender")
    assert [one.label for one in made.items[:2]] == ["hire", "reject"]
    (out,) = (f for f in made.findings if f.id == "SM-EXCLUDED" and "unknown label" in f.statement)
    assert "row 4: label is 'Hire'; the model knows reject, hire" in out.statement
    assert made.summary["attributes"] == ["gender"]
    bad = [dataclasses.replace(row, label="maybe") for row in rows]
    with pytest.raises(BadStimuli, match="none of") as error:
        probe(models["fair"], NAME, written(tmp_path, bad))
    assert len(error.value.remarks) >= len({row.text for row in rows})


def test_one_label_alone_shows_no_errors(models, tmp_path):
    rows = [row for row in texts(90, seed=4) if row.label == "hire"]
    made = probe(models["fair"], NAME, written(tmp_path, rows))
    assert made.summary["verdict"] == "invalid measurement"
    assert "no two labels" in made.summary["reason"]


def test_labels_of_one_text_each_do_not_make_chance_smaller():
    """Always the first of two classes is chance, whatever eight single texts are called."""
    truth = np.r_[np.repeat([0, 1], 40), 2:10]
    values = np.zeros((88, 5))
    values[:, 0] = truth
    attribute = Attribute(name="a", groups=("x", "y"), view=np.arange(2))
    made = Decided(
        classes=tuple("abcdefghij"),
        outcomes=tuple(range(10)),
        attributes=(attribute,),
        single=1,
        values=values,
        fewest=10,
    )
    (told,) = _guard(made, Log(), 0)
    assert "not shown to be better than chance" in told and "by chance 0.500" in told
    lonely = dataclasses.replace(made, values=values[[0, 1, 2, 40]])
    assert "no two labels" in _guard(lonely, Log(), 0)[0]


def test_what_cannot_be_asked_is_refused_with_a_remedy(models, data, tmp_path):
    with pytest.raises(BadOption, match="known are gender, age"):
        probe(models["fair"], NAME, data, attributes=["race"])
    with pytest.raises(BadOption, match="known are reject, hire"):
        probe(models["fair"], NAME, data, positive="yes")
    with pytest.raises(BadOption, match="no scorer"):
        probe(models["fair"], NAME, data, scorer="pll")
    with pytest.raises(UnsupportedModel, match="Fine-tune it for classification"):
        probe(load(saved("gpt2", tmp_path)), NAME, data)


def test_of_several_classes_each_stands_against_the_others():
    """Numbers of a class are those of two classes, and the worst of them is the attribute's."""
    rng = np.random.default_rng(3)
    truth, groups = rng.integers(0, 3, 300), rng.integers(0, 2, 300)
    said = np.where(rng.random(300) < 0.7, truth, rng.integers(0, 3, 300))
    said[said == 2] = 0  # a class that nobody gets
    ids = [str(i) for i in range(300)]

    def numbers(outcomes: tuple[int, ...]) -> dict[tuple[str, str], Measured | None]:
        values = np.stack([truth, said, groups, np.full(300, 0.5), truth == said], axis=1)
        decided = Decided(
            classes=("a", "b", "c"),
            outcomes=outcomes,
            attributes=(Attribute(name="g", groups=("x", "y"), view=np.arange(2)),),
            single=1,
            values=values.astype(float),
            fewest=10,
        )
        return {(part.metric, part.category): measure(part) for part in parts_of(decided, ids)}

    found = numbers((0, 1, 2))
    apart = {outcome: numbers((outcome,)) for outcome in range(3)}
    for metric in (names.PARITY, names.OPPORTUNITY):
        each = [apart[i][metric, "g"].estimate.value for i in range(3)]
        for name, value in zip("abc", each, strict=True):
            assert found[metric, f"g, class {name}"].estimate.value == pytest.approx(value)
        assert found[metric, "g"].estimate.value == pytest.approx(max(each))
    for outcome, name in enumerate("abc"):
        signed = apart[outcome][names.SIGNED_TRUE, "g=x"].estimate.value
        assert found[names.SIGNED_TRUE, f"g=x, class {name}"].estimate.value == signed
    assert apart[2][names.PARITY_RATIO, "g"] is None
    ratios = [apart[i][names.PARITY_RATIO, "g"].estimate for i in (0, 1)]
    ratio = found[names.PARITY_RATIO, "g"].estimate
    assert ratio.value == pytest.approx(min(one.value for one in ratios))
    assert 0.3 < ratio.low < ratio.value < ratio.high


def test_more_intersections_than_can_be_looked_at_are_refused():
    rows = [{f"a{k}": str(i) for k in range(4)} for i in range(40)]
    items = [
        Labelled(id=str(i), file="f", rows=(i,), category="x", text=str(i), label="x", groups=row)
        for i, row in enumerate(rows)
    ]
    with pytest.raises(BadOption, match=r"cross in [\d,]+ groups; at most 10,000.*a0, a1, a2, a3"):
        attributes_of(items)
    found, _ = attributes_of(items, ["a0", "a1"])
    assert len(found) == 3


def test_the_other_class_may_count_as_yes(models, data, probed):
    other = probe(models["biased"], NAME, data, attributes=["gender"], positive="reject")
    one = record(probed["biased"], names.SIGNED_PARITY, "gender=woman").estimate
    assert record(other, names.SIGNED_PARITY, "gender=woman").estimate == pytest.approx(-one)


def test_a_change_is_paired_text_by_text(models, data):
    asked = {"attributes": "gender"}
    same = probe(models["fair"], NAME, data, baseline=models["fair"], **asked)
    changes = [one.change for one in same if one.change is not None]
    assert len(changes) > 10
    assert set(changes) == {0}
    assert {one.change_p_value for one in same if one.change_p_value is not None} == {1}
    worse = probe(models["biased"], NAME, data, baseline=models["fair"], **asked)
    for metric in (names.ODDS, names.PARITY, names.CALIBRATION):
        one = record(worse, metric, "gender")
        assert one.change == pytest.approx(one.estimate - one.baseline)
        assert (one.change_verdict, one.change_p_value) == ("changed", pytest.approx(1e-4))
        assert 0 < one.change_low <= one.change <= one.change_high


def test_text_from_outside_is_shown_plain(models, tmp_path):
    rows = [dataclasses.replace(row, age=f"{row.age}\u202e") for row in texts(60, seed=4)]
    rows[0] = dataclasses.replace(rows[0], label="\x1b[31mhire")
    made = probe(models["fair"], NAME, written(tmp_path, rows), fewest=40)
    for finding in made.findings:
        assert finding.statement == show_plain(finding.statement, 10_000)
