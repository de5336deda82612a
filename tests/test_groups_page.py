"""The Groups page: what was read, the form, the verdict first, rates, gaps beside chance, texts."""

import json
from pathlib import Path

import pytest
from fairness.classifiers import classifier, texts, written
from streamlit.testing.v1 import AppTest

from inspector import jobs
from inspector.fairness.probes.classifier_parts import ODDS, PARITY
from inspector.fairness.stimuli import read
from inspector.fairness.stored import probe_key, stored_probe
from inspector.pages.groups_form import Question
from inspector.report import groups_words as words
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored_judgements import Kept
from tests.test_app import charts, link_of_job, table, visit, well
from tests.test_app import texts as words_on

NAME = "classifier-fairness"
SWAPS = (("he", "she"), ("john", "anna"), ("paul", "mary"))
SWAPPED = Question(swaps=SWAPS)
HOSTILE = ("<img src=x onerror=window.PWN=1>", "[d](http://far.example)", "$x^2$", ":red[b]")


@pytest.fixture(scope="session")
def biased(tmp_path_factory) -> str:
    return str(classifier(tmp_path_factory.mktemp("groups") / "biased", against=0.8))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> str:
    rows = texts(160, seed=5)
    path = written(tmp_path_factory.mktemp("groups"), rows)
    path.write_text(path.read_text() + f"odd,{rows[0].text} ok,maybe,man,old\n")
    return str(path)


@pytest.fixture(scope="session")
def kept(biased, data) -> dict[str, Kept]:
    """What the page asks, asked already."""
    checkpoint = open_checkpoint(biased)
    return {
        "plain": stored_probe(checkpoint, NAME, data),
        "swapped": stored_probe(checkpoint, NAME, data, **SWAPPED.asked()),
    }


def groups(model: str, data: str = "") -> AppTest:
    """The page at a link to data, which is read by hand."""
    at = visit("groups", model, **({"data": data} if data else {}))
    return press(at, "Read it") if data else at


def press(at: AppTest, label: str) -> AppTest:
    return next(b for b in at.button if b.label == label).click().run()


def headers(at: AppTest) -> list[str]:
    return [header.value for header in at.header]


def test_a_model_that_is_no_classifier_is_told_what_to_do():
    at = well(groups("demo:planted"))
    assert at.warning[0].value.startswith("The open model is no classifier")
    assert "LlamaForCausalLM" in words_on(at)
    assert "fine-tune this one" in words_on(at)
    assert not at.text_input


def test_home_leads_classifiers_here_and_not_where_texts_have_no_probability(biased):
    pages = [link.proto.label for link in well(visit("home", biased)).get("page_link")]
    assert "Are groups treated alike?" not in pages  # nothing is open yet
    at = visit("home")
    at.session_state["model"] = biased
    pages = [link.proto.label for link in well(at.run()).get("page_link")]
    assert "Are groups treated alike?" in pages
    assert "Where does it sit?" not in pages


def test_before_data_the_page_says_what_it_wants(biased):
    at = well(groups(biased))
    assert "group_gender" in words_on(at)
    linked = well(visit("groups", biased, data="/etc/passwd.csv"))
    assert linked.text_input[0].value == "/etc/passwd.csv"  # and it is not read
    assert not linked.metric


def test_what_was_read_comes_before_anything_runs(tmp_path, biased):
    rows = texts(40, seed=2)
    path = written(tmp_path, rows, "odd.csv")
    path.write_text(path.read_text() + "x1,,hire,man,old\nx2,she is slow,reject,,old\n")
    at = well(groups(biased, str(path)))
    told = {metric.label: metric.value for metric in at.metric}
    out = 42 - int(told["texts"])
    assert (told["rows read"], told["left out"], told["attributes"]) == ("42", str(out), "2")
    why = table(at, "remarks on rows")
    assert set(why["rows"][-2:]) == {"42", "43"}
    found = table(at, "with counts")
    assert set(found[found["attribute"] == "gender"]["name"]) == {"man", "woman"}
    assert "press Run" in at.info[0].value.replace("Press", "press")
    sha256 = read("labelled", path).sha256
    assert jobs.find(probe_key(open_checkpoint(biased), NAME, sha256)) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("text,label\na,b\n", "no row has a group"),
        ("text,label,group\na,b,x\nc,b,x\n", "one group only"),
        ('text,label,group\n"a,b,x\nc,b,y\n', "nothing can differ"),
    ],
)
def test_files_that_cannot_be_used_are_refused_row_by_row(tmp_path, biased, text, wanted):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    at = groups(biased, str(path))
    assert not at.exception
    assert at.error[0].value == "This data cannot be used:"
    assert wanted in words_on(at)


def test_the_verdict_comes_first_and_every_gap_stands_beside_chance(kept, biased, data):
    at = well(groups(biased, data))
    record = kept["plain"][0]
    assert headers(at)[:3] == ["What was read", "Bias detected", "Rates by group"]
    assert words.sentence(record) in words_on(at)
    told = {metric.label: metric.value for metric in at.metric}
    assert told["widest gap in errors"] == words.size(record.estimate, "share")
    assert told["by chance alone"] == words.size(record.expected, "share")
    rows = table(at, "gaps with intervals and verdicts")
    own = {r.metric: r for r in kept["plain"] if r.category == "gender"}
    for _, row in rows.iterrows():
        assert row["estimate"] == own[row["metric"]].estimate
        assert row["verdict"] == own[row["metric"]].verdict
    assert rows.set_index("metric")["by chance"][ODDS] == own[ODDS].expected
    by_group = table(at, "95 % intervals and counts").set_index("group")
    (women,) = (
        one
        for one in kept["plain"].summary["rates"]
        if (one["attribute"], one["group"], one["rate"]) == ("gender", "woman", "selected")
    )
    assert by_group.loc["woman", "selected"].startswith(f"{100 * women['estimate']:.1f} %")
    assert len(charts(at)) == 3
    assert "Words swapped" not in headers(at)
    assert headers(at)[-2:] == ["What this does not show", "What this rests on"]
    assert [b.label for b in at.get("download_button")] == [
        f"Download {form}" for form in ("JSON", "CSV", "HTML")
    ]
    remark = table(at, "findings")
    assert any("label is 'maybe'" in what for what in remark["what"])


def test_crossed_groups_are_a_choice_away(kept, biased, data):
    at = well(groups(biased, data))
    at = well(at.selectbox("groups_attribute").set_value("gender × age").run())
    rows = table(at, "95 % intervals and counts")
    assert set(rows["group"]) == {f"{g} × {a}" for g in ("man", "woman") for a in ("old", "young")}
    record = next(r for r in kept["plain"] if (r.metric, r.category) == (PARITY, "gender × age"))
    shown = table(at, "gaps with intervals and verdicts").set_index("metric")
    assert shown["estimate"][PARITY] == record.estimate


def test_swapped_words_are_asked_in_the_form_and_shown(kept, biased, data):
    at = well(groups(biased, data))
    at.text_area("groups_swaps").set_value("\n".join(", ".join(pair) for pair in SWAPS))
    at = well(press(at, "Run"))
    assert "Words swapped" in headers(at)
    found = kept["swapped"].summary["swaps"]
    told = {metric.label: metric.value for metric in at.metric}
    assert told["decisions flipped"] == f"{found['flipped']:,}"
    at = well(at.toggle("groups_show_items").set_value(True).run())
    assert len(table(at, "texts with what the model says of them")) == len(
        read("labelled", data).items
    ) - 1  # fmt: skip
    at = well(at.selectbox("groups_which").set_value("Flipped").run())
    assert len(table(at, "texts with what the model says of them")) == found["flipped"]


def test_a_finished_job_links_to_what_it_found(kept, biased, data):
    asked = {"model": biased, "name": NAME, "data": data, "baseline": None, **SWAPPED.asked()}
    sha256 = read("labelled", data).sha256
    id = probe_key(open_checkpoint(biased), NAME, sha256, **SWAPPED.asked())
    page, query = link_of_job(id, "probe", sha256=sha256, **asked)
    assert page == "groups"
    at = press(well(visit(page, biased, **query)), "Read it")  # a path is not read before a click
    assert "Words swapped" in headers(well(at))


def test_words_that_are_no_pairs_stay_in_the_box(kept, biased, data):
    at = groups(biased, data)
    at.text_area("groups_swaps").set_value("he; she")
    at = press(at, "Run")
    assert at.error[0].value == "These words cannot be swapped:"
    assert at.text_area("groups_swaps").value == "he; she"
    assert headers(at)[1] == "Bias detected"  # what was there before is


def test_text_from_outside_is_never_markup(tmp_path, biased):
    rows = [
        {"text": f"she is strong {bad} {i}", "label": ("hire", "reject")[i % 2],
         f"group_{bad}": bad, "group_other": str(i % 2)}
        for i, bad in enumerate(HOSTILE * 6)
    ]  # fmt: skip
    for row in rows:
        row |= {f"group_{bad}": row.get(f"group_{bad}", "no") for bad in HOSTILE}
    path = tmp_path / "odd <b>.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    asked = Question(attributes=(HOSTILE[0], "other"))
    stored_probe(open_checkpoint(biased), NAME, str(path), **asked.asked())
    at = well(groups(biased, str(path)))
    at.multiselect[0].set_value([HOSTILE[0], "other"])
    at = well(press(at, "Run"))
    assert headers(at)[1] == "Invalid measurement"
    for kind in ("markdown", "caption", "header", "subheader", "warning", "info"):
        for element in at.get(kind):
            for bad in HOSTILE:
                assert bad not in str(element.value).replace(f"`{bad}`", "")


def test_a_link_that_was_followed_by_hand_holds_the_data(kept, biased, data):
    at = well(groups(biased, data))
    value = at.query_params["data"]
    assert (value[0] if isinstance(value, list) else value) == data
    assert Path(data).is_file()
