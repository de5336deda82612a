"""WEAT on rows of the word tables: against hand-made tables, arithmetic by hand, a real file."""

import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from fairness.wordy import (
    EMBEDDING,
    GENDER,
    WEAT,
    WORDS,
    leaning,
    lists_of,
    saved,
    word_level,
)
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from weights.range_server import serving

from inspector.errors import NotEnoughData, UnsupportedModel
from inspector.fairness.associations import associations
from inspector.fairness.probes.effects import EFFECT, measured_effect
from inspector.fairness.probes.embedding_weat import embedding_weat
from inspector.fairness.probes.table import PROBES, probe
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import DETECTED, INCONCLUSIVE, INVALID
from inspector.fairness.words import read_tokenizer, read_words
from inspector.weights.checkpoint import open_checkpoint

PAPER = {test.id: test for test in read("weat").items}
EVERY = {"weat-1": 1.0, "weat-6": 1.0}


def records(found, metric="d"):
    return {record.category: record for record in found if record.metric == metric}


@pytest.fixture(scope="module")
def gender():
    """A tokenizer that knows the words of the control and of test 6."""
    return word_level(WORDS)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The probe on a folder, asked about test 6 and short lists of flowers and insects."""
    lists = lists_of(tmp_path_factory.mktemp("lists") / "own.yaml", *GENDER)

    def ask(folder, data=lists, **options):
        return probe(open_checkpoint(folder), "embedding-weat", data, **options)

    return ask


def by_hand(rows, vocabulary, test):
    """Associations and d of one test, written out; vocabulary: word -> row, or several."""
    lists = []
    for words in (test.x, test.y, test.a, test.b):
        names = [word.lower() for word in words]
        lists.append([np.mean(rows[np.atleast_1d(vocabulary[w])], 0) for w in names])
    x, y, a, b = lists

    def cosine(one, other):
        return one @ other / np.sqrt((one @ one) * (other @ other))

    s = [np.mean([cosine(w, o) for o in a]) - np.mean([cosine(w, o) for o in b]) for w in x + y]
    x, y = np.array(s[: len(x)]), np.array(s[len(x) :])
    return x, y, (x.mean() - y.mean()) / np.std(s, ddof=1)


# a real file


@pytest.fixture(scope="module")
def real(minilm):
    """What a script gets from the file alone, and which libraries that took."""
    script = (
        "import sys, json\n"
        "from inspector.weights.checkpoint import open_checkpoint\n"
        "from inspector.fairness.probes.table import probe\n"
        f"found = probe(open_checkpoint({str(minilm)!r}), 'embedding-weat')\n"
        "heavy = [name for name in ('torch', 'transformers') if name in sys.modules]\n"
        "print(json.dumps({'found': json.loads(found.to_json()), 'heavy': heavy}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_the_file_alone_is_enough(real):
    assert real["heavy"] == []
    assert real["found"]["coverage"]["tensors_measured"] == 1


def test_a_real_table_equals_arithmetic_by_hand(real, minilm):
    found = {(r["metric"], r["category"]): r for r in real["found"]["records"]}
    lines = (minilm / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {word: i for i, word in enumerate(lines)}
    rows = load_file(minilm / "model.safetensors")["embeddings.word_embeddings.weight"]
    rows = rows.astype(np.float64)
    for name in ("weat-6", "weat-7"):  # of one piece each
        x, y, d = by_hand(rows, vocabulary, PAPER[name])
        record = found["d", name]
        assert record["estimate"] == pytest.approx(d)
        every = np.concatenate([x, y])
        chosen = np.array(list(itertools.combinations(range(16), 8)))
        sums = np.abs(every[chosen].mean(1) - (every.sum() - every[chosen].sum(1)) / 8)
        assert record["p_value"] == pytest.approx((sums >= abs(x.mean() - y.mean()) - 1e-12).mean())
        centred = by_hand(rows - rows.mean(0), vocabulary, PAPER[name])[2]
        assert found["d, mean-centred", name]["estimate"] == pytest.approx(centred)
    assert found["d", "weat-4"]["verdict"] == DETECTED
    assert found["d", "all"]["verdict"] == DETECTED and found["d", "all"]["low"] > 0


def test_a_real_table_tells_what_it_is_made_of(real):
    summary = real["found"]["summary"]
    known = {one["metric"]: one for one in summary["quality"]}
    assert known["d"]["category"] == "weat-1" and known["d"]["low"] > 0.5
    facts = summary["tests"]["d"]["weat-4"]
    assert facts["pieces"]["Y"] > facts["pieces"]["X"] == 1.0
    association = facts["association"]
    assert association["ddof"] == 1 and 0.2 < association["null_mean"] < 0.35
    ids = {finding["id"] for finding in real["found"]["findings"]}
    assert {"WE-TIED", "WE-PIECES"} <= ids and "WE-UNKNOWN" not in ids


# tables made by hand


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_was_planted_is_detected_with_its_sign(gender, tmp_path, sign, asked):
    rows = leaning(gender, {"weat-1": 1.0, "weat-6": sign})
    found = asked(saved(tmp_path, rows, gender))
    record = records(found)["weat-6"]
    assert record.verdict == DETECTED and record.estimate * sign > 1
    assert records(found)["all"].estimate == record.estimate  # of one known test it is that test
    assert records(found)["all"].p_value == record.p_value
    assert record.estimate == pytest.approx(by_hand(rows, gender.get_vocab(), WEAT["weat-6"])[2])


def test_words_all_alike_in_their_set_give_the_largest_d(gender, tmp_path, asked):
    rows = leaning(gender, {"weat-1": 1.0})
    ids = gender.get_vocab()
    test = WEAT["weat-6"]
    for words, vector in (
        (test.x, rows[4]),
        (test.y, -rows[4]),
        (test.a, rows[4]),
        (test.b, -rows[4]),
    ):
        for i, word in enumerate(words):
            rows[ids[word]] = vector * (i + 1)  # lengths do not count
    record = records(asked(saved(tmp_path, rows, gender)))["weat-6"]
    assert round(record.estimate, 4) == 1.9365
    assert record.p_value == pytest.approx(2 / 12870)


def test_random_tables_are_an_invalid_measurement(gender, tmp_path, asked):
    for seed in range(2):
        rows = leaning(gender, {"weat-6": 1.0}, seed=seed)  # not the control
        found = asked(saved(tmp_path / str(seed), rows, gender), margin=1.9)
        assert {record.verdict for record in found} == {INVALID}
        assert "not seen" in found[0].reason
        assert "WE-CONTROL" in {finding.id for finding in found.findings}


def test_a_constant_table_is_an_invalid_measurement(gender, tmp_path, asked):
    found = asked(saved(tmp_path, np.ones((len(gender), 8)), gender), margin=1.9)
    assert {record.verdict for record in found} == {INVALID}
    assert all(record.estimate is None for record in found)


def test_the_control_alone_proves_nothing(gender, tmp_path, asked):
    """Where flowers and insects are told apart and names are not, nothing is detected."""
    found = [
        records(asked(saved(tmp_path / str(s), leaning(gender, {"weat-1": 1.0}, seed=s), gender)))
        for s in range(3)
    ]
    assert sum(one["weat-6"].verdict == DETECTED for one in found) <= 1
    assert {one["weat-6"].verdict for one in found} <= {DETECTED, INCONCLUSIVE}


def test_the_two_tables_have_numbers_of_their_own(gender, tmp_path, asked):
    rows, out = leaning(gender, EVERY), leaning(gender, {"weat-1": 1.0, "weat-6": -1.0}, seed=1)
    found = asked(saved(tmp_path, rows, gender, out))
    assert records(found)["weat-6"].estimate > 1
    assert records(found, "unembedding d")["weat-6"].estimate < -1
    family = [r for r in found if r.family == "tests" and r.p_value is not None]
    assert len(family) == 2  # corrected together
    assert min(r.p_adjusted for r in family) == 2 * min(r.p_value for r in family)
    assert "WE-TIED" not in {finding.id for finding in found.findings}


def test_a_table_without_the_known_association_loses_its_own_numbers_alone(gender, tmp_path, asked):
    rows, out = leaning(gender, EVERY), leaning(gender, {"weat-6": 1.0}, seed=1)
    found = asked(saved(tmp_path, rows, gender, out))
    assert records(found)["weat-6"].verdict == DETECTED
    assert records(found, "unembedding d")["weat-6"].verdict == INVALID


def test_a_tied_table_is_told(gender, tmp_path, asked):
    found = asked(saved(tmp_path, leaning(gender, EVERY), gender))
    told = [finding for finding in found.findings if finding.id == "WE-TIED"]
    assert len(told) == 1 and "lm_head.weight" in told[0].statement
    assert not [record for record in found if record.metric.startswith("unembedding")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rows_are_read_as_they_are_stored(gender, tmp_path, dtype, asked):
    rows = torch.tensor(leaning(gender, EVERY)).to(dtype)
    found = asked(
        saved(
            tmp_path,
            rows.numpy(force=True) if dtype != torch.bfloat16 else rows.float().numpy(),
            gender,
            dtype=dtype,
        )
    )
    expected = by_hand(rows.double().numpy(), gender.get_vocab(), WEAT["weat-6"])[2]
    assert records(found)["weat-6"].estimate == pytest.approx(expected, abs=1e-6)


def test_what_all_rows_share_is_taken_out(gender, tmp_path, asked):
    """A vector added to all rows moves the raw d alone; one direction of many sizes, these two."""
    rows = leaning(gender, EVERY)
    common = 5 * np.random.default_rng(3).normal(size=rows.shape[1])
    plain, moved = (
        asked(saved(tmp_path / name, made, gender))
        for name, made in (("plain", rows), ("moved", rows + common))
    )
    centred = "d, mean-centred"
    assert records(moved)["weat-6"].estimate != pytest.approx(records(plain)["weat-6"].estimate)
    assert records(moved, centred)["weat-6"].estimate == pytest.approx(
        records(plain, centred)["weat-6"].estimate
    )
    sizes = np.random.default_rng(4).normal(size=(len(rows), 1))
    axis = common / np.linalg.norm(common)
    flat = rows - np.outer(rows @ axis, axis)
    far = asked(saved(tmp_path / "far", flat + 1000 * sizes * axis, gender))
    expected = by_hand(flat - flat.mean(0), gender.get_vocab(), WEAT["weat-6"])[2]
    removed = "d, 1 main direction removed"
    assert records(far, removed)["weat-6"].estimate == pytest.approx(expected, abs=1e-3)
    assert far.summary["tables"]["embedding"]["share_of_variance_removed"] > 0.99


# words


def test_words_of_byte_level_vocabularies_are_read_after_a_space(tmp_path):
    """'aster' and ' aster' are two readings; only the second is the word in a sentence."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: i for i, letter in enumerate(sorted(alphabet))}
    merges = []
    for word in WORDS:
        if word == "iris":
            continue  # stays in pieces
        left = "Ġ"
        for letter in word:
            if left + letter not in vocabulary:
                vocabulary[left + letter] = len(vocabulary)
            if (left, letter) not in merges:
                merges.append((left, letter))
            left += letter
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    found = read_words(made, ["aster", "iris", "<|end|>"])
    assert found["aster"].pieces == ("Ġaster",) and found["aster"].excluded is None
    assert len(found["iris"].pieces) > 1
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(len(tokenizer), 24))
    ids = {word: read.ids for word, read in read_words(made, WORDS).items()}
    up = rng.normal(size=24)
    for test in (WEAT[name] for name in GENDER):
        for sign, some in ((3, test.x), (-3, test.y), (3, test.a), (-3, test.b)):
            for word in some:
                rows[ids[word][-1]] += sign * up
    own = dataclasses.replace(read("weat"), items=tuple(WEAT[n] for n in GENDER))
    answers = embedding_weat(open_checkpoint(saved(tmp_path, rows, tokenizer)), own)
    got = {item.word: item.association for item in answers.items if item.metric == "d"}
    x, y, _ = by_hand(rows, {w: list(i) for w, i in ids.items()}, WEAT["weat-6"])
    assert list(got.values()) == pytest.approx([*x, *y], abs=1e-6)
    assert "WE-PIECES" in {finding.id for finding in answers.findings}


def test_pieces_are_averaged_and_can_be_left_out(tmp_path):
    words = [w for w in WORDS if w != "executive"]
    known = {w: i for i, w in enumerate(["[UNK]", *words, "execu", "##tive"])}
    made = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    own = dataclasses.replace(read("weat"), items=tuple(WEAT[n] for n in GENDER))
    rows = leaning(word_level([*known]), {}, seed=3)[: len(known)]
    answers = embedding_weat(open_checkpoint(saved(tmp_path, rows, tokenizer)), own)
    ids = {**known, "executive": [known["execu"], known["##tive"]]}
    for metric, gone in (("d", ()), ("d, one-piece words", ("executive",))):
        test = dataclasses.replace(
            WEAT["weat-6"], a=tuple(w for w in WEAT["weat-6"].a if w not in gone)
        )
        got = [item.association for item in answers.items if item.metric == metric]
        x, y, _ = by_hand(rows, ids, test)
        assert got == pytest.approx([*x, *y], abs=1e-6)


def test_words_that_cannot_be_used_are_named_with_their_reason(tmp_path, asked):
    tokenizer = word_level(["rose", "tulip", "ant", "moth", "love", "peace", "war"])
    tokenizer.add_tokens(["late"])
    rows = np.random.default_rng(0).normal(size=(len(tokenizer) - 1, 6))
    rows[tokenizer.get_vocab()["moth"]] = 0
    rows[tokenizer.get_vocab()["ant"]] = np.nan
    lists = tmp_path / "own.yaml"
    lists.write_text(
        "own:\n  X: [rose, Rose, tulip, late, lily]\n  Y: [ant, moth, <s>, peace, love]\n"
        "  A: [love, peace]\n  B: [war, filth]\n"
    )
    found = asked(saved(tmp_path / "m", rows, tokenizer), data=lists)
    why = found.summary["tests"]["d"]["own"]["excluded"]
    assert why.keys() == {"Rose", "late", "lily", "ant", "moth", "<s>", "filth"}
    assert "same pieces as 'rose'" in why["Rose"]
    assert "no row" in why["late"] and "vocabulary" in why["lily"] and "vocabulary" in why["filth"]
    assert "not finite" in why["ant"] and "zero" in why["moth"] and "special" in why["<s>"]
    record = found[0]
    assert record.verdict == INVALID and record.estimate is None and record.n_excluded == 10
    items = {item.word: item.excluded for item in found.items if item.metric == "d"}
    assert "fewer than two words of B" in items["rose"]
    assert "WE-ROWS" in {finding.id for finding in found.findings}


def test_models_that_know_few_words_have_no_number():
    found = probe(open_checkpoint("demo:planted"), "embedding-weat", margin=1.0)
    assert {record.verdict for record in found} == {INVALID}
    assert found[0].n_excluded == 140
    told = [finding.statement for finding in found.findings if finding.id == "WE-UNKNOWN"]
    assert len(told) == 2 and "Brad" in told[0]


@pytest.mark.parametrize("name", ["planted", "balanced"])
def test_the_demo_models_are_told_apart_by_their_rows(name):
    """Lists in their words, with a control of their own; which way rows lean is not asked."""
    found = probe(open_checkpoint(f"demo:{name}"), "embedding-weat", "demo:words")
    assert found.summary["known"]["d"]["problem"] == []
    record = records(found)["lean"]
    if name == "planted":
        assert record.verdict == DETECTED and record.p_value < 1e-4
    else:
        assert {r.verdict for r in found if r.family != "controls"} == {INCONCLUSIVE}


# what cannot be read


def test_a_file_far_away_is_enough(gender, tmp_path, asked):
    folder = saved(tmp_path, leaning(gender, EVERY), gender)
    near = asked(folder)
    with serving({f"/m/{path.name}": path.read_bytes() for path in folder.iterdir()}) as server:
        far = asked(f"{server.url}/m/model.safetensors")
    assert [r.estimate for r in far] == [r.estimate for r in near]
    assert len(server.asked("tokenizer.json")) <= 3


def test_codes_of_quantised_models_are_refused(gender, tmp_path, asked):
    folder = saved(tmp_path, leaning(gender, EVERY), gender)
    codes = torch.zeros((len(gender), 24), dtype=torch.int8)
    save_file({EMBEDDING: codes}, folder / "model.safetensors")
    with pytest.raises(UnsupportedModel, match="no table of word vectors"):
        asked(folder)


def test_a_folder_without_a_tokenizer_is_refused(gender, tmp_path, asked):
    folder = saved(tmp_path, leaning(gender, EVERY), gender)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="is no tokenizer"):
        asked(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json"):
        asked(folder)


# before and after


def test_identical_checkpoints_differ_by_nothing(gender, tmp_path, asked):
    folder = saved(tmp_path, leaning(gender, EVERY), gender)
    found = asked(folder, baseline=open_checkpoint(folder))
    assert {record.change for record in found if record.category != "sides shuffled"} == {0.0}
    assert {record.change_p_value for record in found} == {1.0}


def test_a_change_is_paired_by_word(gender, tmp_path):
    before, after = leaning(gender, {"weat-1": 1.0}), leaning(gender, EVERY)
    old, new = (
        open_checkpoint(saved(tmp_path / name, rows, gender))
        for name, rows in (("old", before), ("new", after))
    )
    record = records(probe(new, "embedding-weat", baseline=old))["weat-6"]
    assert record.change == pytest.approx(record.estimate - record.baseline)
    assert record.change_low > 0 and record.change_verdict == "changed"
    assert record.change_p_value < 0.05


# the mean over tests


def _drawn(seed, width=30):
    """Associations of random vectors with the shared words of the paper's lists."""
    tests = [test for name, test in PAPER.items() if name != "weat-1"]
    rng = np.random.default_rng(seed)
    every = sorted({w for t in tests for some in (t.x, t.y, t.a, t.b) for w in some})
    vectors = dict(zip(every, rng.normal(size=(len(every), width)), strict=True))
    rows, words = [], []
    for number, test in enumerate(tests):
        x, a, b = (
            np.stack([vectors[w] for w in some]) for some in (test.x + test.y, test.a, test.b)
        )
        sides = [1] * len(test.x) + [-1] * len(test.y)
        rows += [(s, side, number) for s, side in zip(associations(x, a, b), sides, strict=True)]
        words += [*test.x, *test.y]
    return np.array(rows, dtype=float), tuple(words)


def rejected(runs):
    found = [measured_effect(*_drawn(seed), 0) for seed in range(runs)]
    outside = [not one.estimate.low <= 0 <= one.estimate.high for one in found]
    return sum(one.p_value <= 0.05 for one in found), sum(outside)


def test_the_mean_over_tests_rejects_at_the_level():
    runs = 60
    far, outside = rejected(runs)
    assert far <= runs * 0.05 + 3 * np.sqrt(runs * 0.0475)
    assert outside <= runs * 0.05 + 3 * np.sqrt(runs * 0.0475)


@pytest.mark.soak
def test_the_mean_over_tests_rejects_at_the_level_in_many_draws():
    runs = 2000
    far, outside = rejected(runs)
    assert abs(far - runs * 0.05) <= 3 * np.sqrt(runs * 0.0475)
    assert outside <= runs * 0.05 + 3 * np.sqrt(runs * 0.0475)


def test_a_word_in_two_tests_is_no_second_word():
    """The same test twice over says no more than once."""
    values, words = _drawn(0)
    one = values[:, 2] == 3
    single = measured_effect(
        np.concatenate([values[one], values[one] + [0, 0, 1]]), tuple(np.array(words)[one]) * 2, 0
    )
    apart = measured_effect(
        np.concatenate([values[one], values[one] + [0, 0, 1]]),
        tuple(f"{w}{i}" for i in range(2) for w in np.array(words)[one]),
        0,
    )
    assert single.estimate.value == pytest.approx(apart.estimate.value)
    width = [m.estimate.high - m.estimate.low for m in (single, apart)]
    assert width[0] > 1.3 * width[1]
    assert single.n_clusters * 2 == apart.n_clusters


def test_rounding_is_no_association():
    """One association is apart by its last bit."""
    rows = [(1 / 3, 1 if word < 3 else -1, test) for test in range(2) for word in range(7)]
    nearly = np.array(rows)
    nearly[0, 0] = np.nextafter(1 / 3, 1)
    with pytest.raises(NotEnoughData, match="alike"):
        measured_effect(nearly, tuple(f"w{i % 7}" for i in range(14)), 0)


def test_a_test_that_cannot_be_asked_is_counted_as_excluded():
    values, words = _drawn(1)
    values[(values[:, 2] == 0) & (values[:, 1] > 0), 0] = np.nan
    found = EFFECT.measured(values, words, 0)
    assert found.n_items == 140 - 32 and found.n_excluded == 32


def test_the_table_names_it():
    kind = PROBES["embedding-weat"]
    assert kind.asks == "weights" and kind.shipped == "weat" and kind.given == "word-lists"
    tokenizer = read_tokenizer(open_checkpoint("demo:planted"))
    assert read_words(tokenizer, ["nurse"])["nurse"].excluded is None
