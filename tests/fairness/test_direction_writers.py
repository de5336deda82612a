"""Which matrices write a direction between words: an edit of one is found, and no other."""

import dataclasses

import numpy as np
import pytest
import torch
import transformers
from fairness.wordy import word_level
from safetensors.torch import load_file, save_file

from inspector.errors import BadOption, NotEnoughData, UnsupportedModel
from inspector.fairness.probes.direction_writers import direction_writers
from inspector.fairness.probes.running import judged
from inspector.fairness.probes.table import probe
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import CHANGED, DETECTED, INCONCLUSIVE, INVALID
from inspector.fairness.word_direction import NEAR, other_words
from inspector.fairness.words import read_tokenizer
from inspector.fairness.writers import DRAWS, POOL, draws, gram, shared, sums, written
from inspector.weights.checkpoint import open_checkpoint

PAIRS = 6
WORDS = [*(f"w{i}" for i in range(60)), *(f"{side}{i}" for side in "mf" for i in range(PAIRS))]
SIZES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "llama": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48},
    "bert": {"num_attention_heads": 4, "intermediate_size": 48},
}
CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "bert": "BertForMaskedLM"}
TABLES = {  # embedding, unembedding
    "gpt2": ("transformer.wte.weight", "lm_head.weight"),
    "llama": ("model.embed_tokens.weight", "lm_head.weight"),
    "bert": ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
}
WRITERS = {
    "gpt2": [f"transformer.h.{i}.{m}.c_proj.weight" for i in (0, 1) for m in ("attn", "mlp")],
    "llama": [
        f"model.layers.{i}.{m}.weight"
        for i in (0, 1)
        for m in ("mlp.down_proj", "self_attn.o_proj")
    ],
    "bert": [
        f"bert.encoder.layer.{i}.{m}.weight"
        for i in (0, 1)
        for m in ("attention.output.dense", "output.dense")
    ],
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    rows = ["id,more,less,category", *(f"p{i},m{i},f{i},made" for i in range(PAIRS))]
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def made(family, folder, tied, shares=True, seed=0):
    """A random model; the first words of the pairs lie to one side of a direction, if it shares."""
    tokenizer = word_level(WORDS)
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(tokenizer), "tie_word_embeddings": tied, **SIZES[family]}
    if family != "gpt2":
        sizes |= {"hidden_size": 32, "num_hidden_layers": 2}
    config = transformers.AutoConfig.for_model(family, **sizes)
    network = getattr(transformers, CLASSES[family])(config)
    with torch.no_grad():
        axis = torch.randn(32) * 0.03 * shares
        for table in (network.get_input_embeddings(), network.get_output_embeddings()):
            for i in range(PAIRS) if shares else ():
                table.weight[3 + 60 + i] += axis * (1 if not tied else 0.5)
                table.weight[3 + 60 + PAIRS + i] -= axis * (1 if not tied else 0.5)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def direction(folder, family, tied):
    rows = load_file(folder / "model.safetensors")[TABLES[family][0 if tied else 1]]
    mean = (rows[63 : 63 + PAIRS] - rows[63 + PAIRS : 63 + 2 * PAIRS]).mean(0)
    return mean / mean.norm()


def edited(folder, name, along, axis, strength=0.7):
    """Add one product of two vectors: what comes out along `along`; `axis` is that of outputs."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    matrix = tensors[name]
    other = torch.randn(matrix.shape[1 - axis], generator=torch.Generator().manual_seed(1))
    other *= strength * matrix.norm() / other.norm()
    matrix += torch.outer(along, other) if axis == 0 else torch.outer(other, along)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def by_name(found):
    return {record.category: record for record in found if record.metric == "write z"}


def asked(folder, pairs, **options):
    return probe(open_checkpoint(folder), "direction-writers", pairs, **options)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_the_one_matrix_that_was_edited_comes_first(family, tied, pairs, tmp_path):
    folder = made(family, tmp_path, tied, seed=3)
    name = WRITERS[family][0 if tied else 3]
    edited(folder, name, direction(folder, family, tied), axis=1 if family == "gpt2" else 0)
    found = asked(folder, pairs)
    records = by_name(found)
    assert set(records) == set(WRITERS[family])
    assert max(records, key=lambda one: records[one].estimate) == name
    assert records[name].verdict == DETECTED and records[name].low > 0
    assert {r.verdict for n, r in records.items() if n != name} == {INCONCLUSIVE}
    assert found[0].category == "all" and found[0].verdict == DETECTED
    assert found[0].estimate == records[name].estimate > found[0].null > 0
    assert ("unembedding" if not tied else "embedding") in found[0].scorer


@pytest.mark.parametrize("name", WRITERS["gpt2"][1:3])
def test_writers_of_a_conv1d_are_found(name, pairs, tmp_path):
    folder = made("gpt2", tmp_path, tied=True, seed=1)
    edited(folder, name, direction(folder, "gpt2", True), axis=1)
    records = by_name(asked(folder, pairs))
    assert max(records, key=lambda one: records[one].estimate) == name


@pytest.mark.parametrize(("family", "axis"), [("gpt2", 0), ("llama", 1), ("bert", 1)])
def test_an_edit_of_the_inputs_writes_nothing(family, axis, pairs, tmp_path):
    """What a reader of the wrong axis would take for the writer; these matrices are square."""
    folder = made(family, tmp_path, tied=True)
    name = next(
        n for n in WRITERS[family] if any(s in n for s in ("attn.c_proj", "o_proj", "attention"))
    )
    edited(folder, name, direction(folder, family, True), axis=axis, strength=3)
    assert by_name(asked(folder, pairs))[name].verdict == INCONCLUSIVE


def test_pairs_that_share_no_direction_are_an_invalid_measurement(pairs, tmp_path):
    found = asked(made("llama", tmp_path, tied=False, shares=False), pairs, margin=3.0)
    assert {record.verdict for record in found} == {INVALID}
    assert "share no direction" in found[0].reason
    assert "WE-DIRECTION" in {finding.id for finding in found.findings}
    assert found.summary["quality"][0]["estimate"] == pytest.approx(0, abs=0.15)


def test_which_table_the_direction_is_from_can_be_chosen(pairs, tmp_path):
    folder = made("llama", tmp_path, tied=False)
    one, other = (asked(folder, pairs, table=name) for name in ("embedding", "unembedding"))
    assert one.summary["table"] == TABLES["llama"][0]
    assert other.summary["table"] == TABLES["llama"][1]
    assert (
        by_name(one)[WRITERS["llama"][0]].estimate != by_name(other)[WRITERS["llama"][0]].estimate
    )
    assert [r.estimate for r in other] == [r.estimate for r in asked(folder, pairs)]
    tied = made("llama", tmp_path / "tied", tied=True)
    with pytest.raises(BadOption, match="no table 'unembedding'"):
        asked(tied, pairs, table="unembedding")


def test_a_change_is_that_of_the_edit(pairs, tmp_path):
    before = made("llama", tmp_path / "before", tied=True)
    after = made("llama", tmp_path / "after", tied=True)
    name = WRITERS["llama"][2]
    edited(after, name, direction(after, "llama", True), axis=0)
    records = by_name(asked(after, pairs, baseline=open_checkpoint(before)))
    assert records[name].change_verdict == CHANGED and records[name].change_low > 0
    others = [record for other, record in records.items() if other != name]
    assert {record.change for record in others} == {0.0}
    assert {record.change_p_value for record in others} == {1.0}


def test_a_matrix_of_zeros_has_no_number(pairs, tmp_path):
    folder = made("llama", tmp_path, tied=True)
    tensors = load_file(folder / "model.safetensors")
    name = WRITERS["llama"][1]
    tensors[name].zero_()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    found = asked(folder, pairs)
    assert by_name(found)[name].verdict == INVALID and by_name(found)[name].estimate is None
    assert found[0].estimate is not None
    assert [f.where for f in found.findings if f.id == "WE-WRITES"] == [name]


def test_pairs_left_out_are_named(pairs, tmp_path):
    text = pairs.read_text() + "p8,m0,nobody,made\np9,m1,f9,made\n"
    (tmp_path / "more.csv").write_text(text + "c1,w1,w2,made\n".replace("made", "other"))
    folder = made("llama", tmp_path / "m", tied=True)
    with pytest.raises(BadOption, match="pairs of one category"):
        asked(folder, tmp_path / "more.csv")
    (tmp_path / "more.csv").write_text(text)
    found = asked(folder, tmp_path / "more.csv")
    assert found[0].n_items == PAIRS and found[0].n_excluded == 2
    assert "vocabulary" in found.summary["excluded_pairs"]["p8"]
    assert {item.id: item.gap is None for item in found.items}["p9"]


def test_few_words_give_no_number():
    found = probe(open_checkpoint("demo:planted"), "direction-writers", margin=1.0)
    assert {record.verdict for record in found} == {INVALID}
    assert found[0].n_excluded == 14  # he and she, himself and herself are known


def test_a_table_of_another_width_is_refused(pairs, tmp_path):
    tokenizer = word_level(WORDS)
    sizes = {"vocab_size": len(tokenizer), "embedding_size": 16, "hidden_size": 32}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.ElectraConfig(**sizes)
    transformers.ElectraForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="writes 16 numbers"):
        asked(tmp_path, pairs)


# the arithmetic


def drawn_case(pairs=5, pool=40, width=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(pairs + pool, width)), draws(np.arange(pool) % pairs, pairs, seed), rng


def test_inner_products_stand_for_directions():
    """z, without a pair too, equals what directions written out give."""
    differences, drawn, rng = drawn_case()
    matrix = rng.normal(size=(12, 30)).astype(np.float32)
    lengths = differences @ differences.T
    found = written(gram(differences, matrix), lengths, 5, drawn, sums(lengths, drawn))

    def energy(mean):
        return np.log(((mean @ matrix) ** 2).sum() / (mean @ mean))

    null = np.array([energy(differences[one].mean(0)) for one in drawn])
    real = differences[:5]
    z = (energy(real.mean(0)) - null.mean()) / null.std(ddof=1)
    assert found.z == pytest.approx(z)
    without = [energy(np.delete(real, i, 0).mean(0)) for i in range(5)]
    assert found.without == pytest.approx((np.array(without) - null.mean()) / null.std(ddof=1))
    assert found.p_value == (1 + (null >= energy(real.mean(0))).sum()) / (1 + DRAWS)


def test_agreement_is_a_cosine_with_the_other_pairs():
    differences, drawn, _ = drawn_case()
    found = shared(differences @ differences.T, 5, drawn)
    for i in range(5):
        mean = np.delete(differences[:5], i, 0).mean(0)
        cosine = mean @ differences[i] / np.linalg.norm(mean) / np.linalg.norm(differences[i])
        assert found.by_pair[i] == pytest.approx(np.sign(cosine) * cosine**2)
    same = np.tile(differences[:1], (5, 1))
    whole = np.concatenate([same, differences[5:]])
    assert shared(whole @ whole.T, 5, drawn).value == pytest.approx(1)
    with pytest.raises(NotEnoughData, match="needs 2 pairs"):
        shared(whole @ whole.T, 1, drawn)


def test_random_directions_have_one_of_each_kind():
    like = np.array([0, 0, 1, 1, 1, 2, 2])
    drawn = draws(like, 3, seed=0)
    assert (like[drawn - 3] == np.arange(3)).all()
    assert {*np.unique(drawn)} == set(range(3, 10))
    with pytest.raises(NotEnoughData, match="1 random words"):
        draws(like[:-1], 3, seed=0)


def test_words_of_a_random_pair_stand_near_in_the_vocabulary():
    tokenizer = read_tokenizer(open_checkpoint("demo:planted"))
    ids = sorted(tokenizer.get_vocab().values())
    large = word_level([f"w{i}" for i in range(2000)]).backend_tokenizer
    found = other_words(large, [((100,), (1500,)), ((900,), (950, 3))], 2003, 0)
    assert len(found) == POOL
    for number, (more, less) in enumerate(found):
        near = [(100, 1500), (900, 950)][number % 2]
        assert all(abs(a[0] - b) <= NEAR for a, b in zip((more, less), near, strict=True))
        assert not {more[0], less[0]} & {100, 1500, 900, 950, 3}
    assert other_words(tokenizer, [((ids[0],), (ids[1],))], 8, 0) == []


def rejections(runs):
    """How often a random matrix counts as a writer, and random pairs as sharing a direction."""
    found = []
    for seed in range(runs):
        differences, drawn, rng = drawn_case(pool=200, width=24, seed=seed)
        lengths = differences @ differences.T
        products = gram(differences, rng.normal(size=(24, 40)))
        p = written(products, lengths, 5, drawn, sums(lengths, drawn)).p_value
        found.append((p <= 0.05, shared(lengths, 5, drawn).p_value <= 0.05))
    return np.sum(found, axis=0)


def test_random_matrices_are_called_writers_at_the_level():
    runs = 25
    assert (rejections(runs) <= runs * 0.05 + 3 * np.sqrt(runs * 0.0475)).all()


@pytest.mark.soak
def test_random_matrices_are_called_writers_at_the_level_in_many_draws():
    runs = 1000
    assert (np.abs(rejections(runs) - runs * 0.05) <= 3 * np.sqrt(runs * 0.0475)).all()


@pytest.mark.soak
def test_a_real_table_has_a_direction_of_gender(minilm):
    found = judged(direction_writers(open_checkpoint(minilm), read("gender-words")))
    agreement = found.summary["agreement"]
    assert agreement["p_value"] == 1 / (1 + DRAWS)
    assert agreement["value"] > 0.2 > 10 * agreement["null_95"]
    assert found[0].n_items == 16


def test_sides_can_be_turned_in_the_data(pairs, tmp_path):
    stimuli = read("pairs", pairs)
    turned = dataclasses.replace(
        stimuli,
        items=tuple(
            dataclasses.replace(p, more=p.less, less=p.more, direction=-p.direction)
            for p in stimuli.items
        ),
    )
    checkpoint = open_checkpoint(made("bert", tmp_path, tied=True))
    one, other = (judged(direction_writers(checkpoint, some)) for some in (stimuli, turned))
    assert [r.estimate for r in one] == [r.estimate for r in other]
