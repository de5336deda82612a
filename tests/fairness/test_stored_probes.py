"""Probes on disk: named by all they hang on, read back as they were made, without torch."""

import subprocess
import sys

import pytest

from inspector.errors import InspectorError
from inspector.fairness.probes.table import stimuli_of
from inspector.fairness.stored import (
    check_same_data,
    load_items,
    load_probe,
    probe_key,
    stored_probe,
)
from inspector.weights import cache
from inspector.weights.checkpoint import open_checkpoint

PLANTED, BALANCED = "demo:planted", "demo:balanced"
QUESTIONS = (
    {},
    {"scorer": "causal-mean"},
    {"scorer": ["causal-sum", "causal-mean"]},
    {"margin": 0.1},
    {"seed": 1},
    {"words": 3},
)


def test_a_name_changes_with_everything_a_result_hangs_on():
    one, other = open_checkpoint(PLANTED), open_checkpoint(BALANCED)
    names = [probe_key(one, "pairs", "a" * 64, **question) for question in QUESTIONS]
    names += [
        probe_key(one, "pairs", "b" * 64),
        probe_key(one, "crows-pairs", "a" * 64),
        probe_key(other, "pairs", "a" * 64),
        probe_key(one, "pairs", "a" * 64, baseline=other),
        probe_key(one, "pairs", "a" * 64, baseline=one),
    ]
    assert len(set(names)) == len(names)
    assert probe_key(one, "pairs", "a" * 64, scorer=None, margin=None, seed=0) == names[0]


def test_what_is_read_back_is_what_was_made(tmp_path):
    path = tmp_path / "pairs.csv"
    rows = [f"the {n} said that {{}} was tired ." for n in ("nurse", "judge", "cook", "farmer")]
    path.write_text("more,less\n" + "".join(f"{r.format('he')},{r.format('she')}\n" for r in rows))
    checkpoint = open_checkpoint(PLANTED)
    made = stored_probe(checkpoint, "pairs", str(path))
    key = probe_key(checkpoint, "pairs", made[0].data_sha256)
    kept = load_probe(key)
    assert kept is not None
    assert kept.records == made.records
    assert dict(kept.summary) == dict(made.summary)
    items = load_items(key)
    assert items is not None
    assert [item["text_more"] for item in items] == [row.format("he") for row in rows]
    path.write_text(path.read_text().replace("cook", "baker"))
    again = stored_probe(checkpoint, "pairs", str(path))
    assert again[0].data_sha256 != made[0].data_sha256
    wide = stored_probe(checkpoint, "pairs", str(path), margin=0.49)
    assert wide.summary["scores"]["asked_now"] == 0  # another margin asks the model nothing


@pytest.mark.parametrize("change", ["gained", "lost"])
def test_what_a_build_with_other_fields_kept_is_measured_again(monkeypatch, tmp_path, change):
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    checkpoint = open_checkpoint(PLANTED)
    made = stored_probe(checkpoint, "embedding-weat", "demo:words")
    key = probe_key(checkpoint, "embedding-weat", made[0].data_sha256)
    document, arrays = cache.load(key)
    for record in document["records"]:
        if change == "gained":
            del record["expected"]
        else:
            record["was_told_once"] = 1.0
    cache.store(key, document, arrays)
    assert load_probe(key) is None
    again = stored_probe(checkpoint, "embedding-weat", "demo:words")
    assert again.records == made.records
    assert load_probe(key) is not None


def test_material_in_the_words_of_the_demo_models_is_the_packages():
    told = stimuli_of("pairs", "demo:words")
    assert (told.origin, told.about.licence) == ("package", stimuli_of("lpbs").about.licence)
    assert "user" not in f"{told.about.citation} {told.about.upstream}"


def test_changed_data_is_not_taken_for_what_was_chosen():
    check_same_data("a", "a", "pairs.csv")
    with pytest.raises(InspectorError, match="changed since it was chosen"):
        check_same_data("a", "b", "pairs.csv")


def test_names_and_results_need_no_torch():
    code = (
        "import sys\n"
        "from inspector.fairness.probes.table import stimuli_of\n"
        "from inspector.fairness.stored import load_probe, probe_key\n"
        "from inspector.weights.checkpoint import open_checkpoint\n"
        "found = stimuli_of('counterfactual-gap')\n"
        "key = probe_key(open_checkpoint('demo:planted'), 'counterfactual-gap', found.sha256)\n"
        "load_probe(key)\n"
        "sys.exit(sorted({'torch', 'transformers'} & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
