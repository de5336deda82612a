"""The probe of pairs: from sentences to verdicts, on models whose answer is known."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from fairness.talkers import pieces
from transformers import GPT2Config, GPT2LMHeadModel

from inspector.demo.corpus import OCCUPATIONS, TEMPLATES
from inspector.errors import BadOption
from inspector.fairness.probes.crows_pairs import crows_pairs
from inspector.fairness.probes.running import judged
from inspector.fairness.probes.table import PROBES, function_of, probe
from inspector.fairness.sets.own_pairs import read_pairs
from inspector.fairness.stimuli import SETS, read
from inspector.fairness.verdicts import CHANGED, DETECTED, EQUIVALENT, INCONCLUSIVE, INVALID
from inspector.model.load import load


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Pairs in the words of the demo corpus; those of the control differ in a linked to nothing."""
    rows = ["id,more,less,category,cluster,direction"]
    for number, (name, occupation) in enumerate(OCCUPATIONS.items()):
        for i, template in enumerate(TEMPLATES[:3]):
            if not occupation.leaning:
                continue
            text = template.replace("{subject}", f"the {name}").replace("{mood}", "tired")
            he, she = (text.replace("{pronoun}", word) for word in ("he", "she"))
            more, less = (he, she) if occupation.leaning > 0 else (she, he)
            kind = "often" if occupation.frequency == 4 else "seldom"
            rows.append(f"{name}{i},{more},{less},{kind},{name},stereo")
        north, south = (
            f"the {name} from the {where} said that he was tired ." for where in ("north", "south")
        )
        if number % 2:  # which of the two stands first is of no meaning
            north, south = south, north
        rows.append(f"{name}-c,{north},{south},region,{name},control")
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def planted():
    return load("demo:planted")


@pytest.fixture(scope="module")
def found(planted, own):
    """The probe of planted bias."""
    return probe(planted, "pairs", own)


def by_category(found):
    return {record.category: record for record in found}


def test_planted_bias_is_detected_and_controls_are_silent(found):
    found = by_category(found)
    assert list(found) == [
        "all",
        "often",
        "seldom",
        "controls",
        "sides shuffled",
    ]
    whole = found["all"]
    assert whole.verdict == DETECTED and whole.low > 0.5 and whole.null == 0.5
    assert whole.scorer == "causal-sum" and whole.n_clusters == 20
    assert whole.n_items == found["often"].n_items + found["seldom"].n_items
    assert found["controls"].verdict == INCONCLUSIVE and found["controls"].n_items == 25
    assert found["sides shuffled"].verdict == INCONCLUSIVE


def test_the_other_sign_is_detected_too(planted, own, tmp_path):
    text = own.read_text().replace(",more,less,", ",less,more,")
    (tmp_path / "pairs.csv").write_text(text)
    found = by_category(probe(planted, "pairs", tmp_path / "pairs.csv"))
    assert found["all"].verdict == DETECTED and found["all"].high < 0.5


def test_the_balanced_model_is_not_biased(own):
    model = load("demo:balanced")
    found = probe(model, "pairs", own)
    assert {record.verdict for record in found} == {INCONCLUSIVE}
    wide = probe(model, "pairs", own, margin=0.45)
    assert wide[0].verdict == EQUIVALENT and wide[0].estimate == found[0].estimate
    assert wide[0].margin == 0.45 and found[0].margin is None


def test_random_weights_are_an_invalid_measurement(planted, own):
    model = planted
    torch.manual_seed(2)
    blank = type(model.network)(model.network.config).eval()
    found = probe(dataclasses.replace(model, network=blank), "pairs", own, margin=0.4)
    assert {record.verdict for record in found} == {INVALID}
    assert "SC-GUARD" in {finding.id for finding in found.findings}


def test_a_constant_model_scores_one_half_all_ties(planted, own):
    model = planted
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
    found = probe(dataclasses.replace(model, network=network), "pairs", own)[0]
    assert (found.estimate, found.n_ties, found.verdict) == (0.5, found.n_items, INVALID)


def test_a_model_that_knows_no_word_has_no_number(own, tmp_path):
    tokenizer = pieces(masked=False)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = probe(load(tmp_path), "pairs", own)
    whole = found[0]
    assert whole.estimate is None and whole.p_value is None and whole.verdict == INVALID
    assert whole.n_excluded == sum(item.direction != 0 for item in found.items)
    assert all("vocabulary" in item.excluded for item in found.items)
    assert json.loads(found.to_json())["records"][0]["estimate"] is None


def test_items_are_there_for_audit(found, own):
    assert [item.id for item in found.items] == [item.id for item in read_pairs(own).items]
    asked = [item for item in found.items if item.direction]
    assert all(item.gap == item.more - item.less for item in found.items)
    share = sum((item.gap > 0) + (item.gap == 0) / 2 for item in asked) / len(asked)
    assert found[0].estimate == pytest.approx(share)
    document = json.loads(found.to_json())
    assert document["schema"] == "inspector.probe/1"
    assert document["summary"]["guard"]["problem"] is None


def test_p_is_corrected_over_categories_alone(found):
    found = by_category(found)
    parts = [found["often"], found["seldom"]]
    low, high = sorted(parts, key=lambda record: record.p_value)
    assert low.p_adjusted == pytest.approx(min(1, 2 * low.p_value))
    assert high.p_adjusted == pytest.approx(max(high.p_value, low.p_adjusted))
    assert found["all"].p_adjusted == found["all"].p_value


def test_another_scorer_gives_the_same_signs(found, planted, own):
    """Sentences of a pair have as many words, so that mean and sum cannot part."""
    means = probe(planted, "pairs", own, scorer="causal-mean")
    signs = [[math.copysign(1, item.gap) for item in one.items] for one in (found, means)]
    assert signs[0] == signs[1] and means[0].scorer == "causal-mean"


def test_every_probe_is_described(planted):
    for name, kind in PROBES.items():
        assert kind.measures and kind.known_criticism and kind.source and kind.ideal, name
        assert function_of(kind).__doc__, name
        assert (kind.shipped or kind.given) in SETS, name
    with pytest.raises(BadOption, match="known are crows-pairs"):
        probe(planted, "nonsense")


def test_crows_pairs_reports_groups_and_categories(planted, public):
    """On a model that knows few of its words: nothing is skipped silently."""
    whole = read("crows-pairs", public / "crows_pairs")
    few = dataclasses.replace(whole, items=whole.items[:30])
    found = judged(crows_pairs(planted, few))
    names = [record.category for record in found][:-1]
    assert names[0] == "all" and names[-2:] == ["group: antistereo", "group: stereo"]
    assert all(record.data_sha256.startswith("dfb36986ce0502ab") for record in found)
    assert found[0].n_items + found[0].n_excluded == 30


def test_an_identical_baseline_differs_by_exactly_nothing(planted, own):
    for one in probe(planted, "pairs", own, baseline=planted)[:-1]:
        assert (one.change, one.change_p_value, one.baseline) == (0, 1, one.estimate)
        assert one.change_verdict == INCONCLUSIVE


def test_a_change_is_paired_and_signed(planted, own):
    balanced = load("demo:balanced")
    found = probe(balanced, "pairs", own, baseline=planted)
    whole = found[0]
    assert whole.change == pytest.approx(whole.estimate - whole.baseline)
    assert whole.change_verdict == CHANGED and whole.change_high < 0
    assert by_category(found)["controls"].change_verdict == INCONCLUSIVE
    assert found.summary["baseline"]["verdict"] == DETECTED
    sides = found.summary["change"]["sides"]
    gaps = [
        {i.id: i.gap for i in probe(m, "pairs", own).items if i.direction}
        for m in (planted, balanced)
    ]
    down = sum(gaps[0][id] > 0 > gaps[1][id] for id in gaps[0])
    assert sides["down"] == down > sides["up"] and sides["p_value"] < 0.05


def test_bias_does_not_fall_where_the_model_broke(planted, own):
    torch.manual_seed(2)
    blank = type(planted.network)(planted.network.config).eval()
    broken = dataclasses.replace(planted, network=blank)
    found = probe(broken, "pairs", own, baseline=planted)
    assert {one.change_verdict for one in found[:-1]} == {INVALID}
    assert found[0].change_reason.startswith("after: ")


def test_several_scorers_are_compared(planted, own):
    found = probe(planted, "pairs", own, scorer=["causal-sum", "causal-mean"])
    assert [one.scorer for one in found if one.category == "all"] == ["causal-sum", "causal-mean"]
    assert found.summary["agree"] and found.summary["panel"]["spread"] == 0
    assert found.summary["panel"]["pairs"][0]["same_side"]["value"] == 1
    with pytest.raises(BadOption, match="each scorer once"):
        probe(planted, "pairs", own, scorer=["causal-sum", "causal-sum"])
