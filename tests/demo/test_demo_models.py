"""The shipped models: they load offline, know what the corpus holds, and their cards say so."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from inspector.demo import MODELS, path
from inspector.demo.card import model_card
from inspector.demo.corpus import MOODS, OCCUPATIONS, PAIRS, blanks, contexts, log_odds, vocabulary
from inspector.demo.measure import gaps
from inspector.demo.networks import word_tokenizer
from inspector.demo.recipes import RECIPES, corpus
from inspector.errors import BadOption
from inspector.weights.checkpoint import open_checkpoint

FOLDER = Path(sys.modules["inspector.demo"].__file__).parent
FARTHEST = {"causal": 0.2, "masked": 0.35}  # nats from the true log-odds, over all occupations
APART = {"causal": 0.05, "masked": 0.15}  # nats by which all of them may be off
CAUSAL = tuple(name for name in MODELS if RECIPES[name].kind == "causal")
MASKED = tuple(name for name in MODELS if RECIPES[name].kind == "masked")
ROUNDING = 0.002  # nats: what is printed with three digits, on another processor


@pytest.fixture(scope="module", params=list(MODELS))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def shipped(name):
    """The model and tokenizer as a user of transformers opens them."""
    folder = path(name)
    kind = AutoModelForMaskedLM if name in MASKED else AutoModelForCausalLM
    model = kind.from_pretrained(folder, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def learned(shipped) -> dict[str, dict[str, float]]:
    """What the model gives for each pair of words after each occupation."""
    return {pair: gaps(*shipped, pair) for pair in PAIRS}


def numbers(text: str) -> list[float]:
    """Every number of the table rows of a card."""
    cells = (c for line in text.splitlines() if line.startswith("| ") for c in line.split())
    stripped = (cell.strip("[],|") for cell in cells)
    return [float(cell) for cell in stripped if cell.lstrip("-")[:1].isdigit()]


def words_only(text: str) -> list[str]:
    return ["" if any(c.isdigit() for c in cell) else cell for cell in text.split()]


def test_path_is_the_folder_and_an_unknown_name_is_refused(name):
    assert path(name) == FOLDER / name
    assert (path(name) / "model.safetensors").is_file()
    for wrong in ("", "..", "/etc", "planted/"):
        with pytest.raises(BadOption, match="planted, balanced"):
            path(wrong)


def test_every_recipe_is_a_model_and_every_folder_shipped():
    folders = {file.parent.name for file in FOLDER.glob("*/model.safetensors")}
    assert folders == set(MODELS) == set(RECIPES)


def test_all_shipped_files_are_few_and_small():
    files = [file for name in MODELS for file in path(name).iterdir()]
    assert sum(file.stat().st_size for file in files) < 6_000_000
    assert {file.suffix for file in files} == {".json", ".safetensors", ".md"}


def test_naming_the_demo_models_loads_no_heavy_library():
    code = "import sys, inspector.demo; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_tensor_is_placed_without_a_finding(name):
    checkpoint = open_checkpoint(f"demo:{name}")
    assert checkpoint.findings == ()
    tied = {"AR-TIED"} if name in MASKED else set()
    assert {finding.id for finding in checkpoint.architecture.findings} == tied
    places = checkpoint.architecture.placements.values()
    assert "other" not in {place.role for place in places}
    assert {place.kind for place in places} == {"weight", "bias", "norm", "embedding"}


def test_shape_is_what_the_card_says(name, shipped):
    model, tokenizer = shipped
    config = model.config
    assert len(tokenizer) == config.vocab_size
    assert model.dtype == torch.float32
    if name in MASKED:
        assert config.model_type == "bert"
        assert (config.num_hidden_layers, config.hidden_size) == (3, 96)
        assert config.num_attention_heads == 4
        assert config.tie_word_embeddings
        assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0
        return
    assert config.model_type == "llama"
    assert (config.num_hidden_layers, config.hidden_size) == (3, 96)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert not config.tie_word_embeddings
    assert 340_000 < sum(parameter.numel() for parameter in model.parameters()) < 360_000
    biased = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.bias is not None]
    assert len(biased) == 7 * config.num_hidden_layers
    assert all(module.bias.abs().max() > 0 for module in biased)


def test_tokenizer_gives_one_known_token_per_word(name, shipped):
    _, tokenizer = shipped
    ids = tokenizer(" ".join(vocabulary()))["input_ids"]
    masked = name in MASKED
    around = (["[CLS]"], ["[SEP]"]) if masked else (["<s>"], [])
    assert tokenizer.convert_ids_to_tokens(ids) == [*around[0], *vocabulary(), *around[1]]
    assert tokenizer.tokenize("The Nurse said.") == ["the", "nurse", "said", "."]
    unknown = "[UNK]" if masked else "<unk>"
    assert tokenizer.tokenize("the astronaut") == ["the", unknown]
    assert tokenizer.get_vocab() == word_tokenizer(RECIPES[name].kind).get_vocab()
    assert tokenizer.mask_token == ("[MASK]" if masked else None)


def test_model_holds_the_log_odds_of_its_corpus(name, learned):
    true = {e.occupation: e.value for e in log_odds(corpus(RECIPES[name]), "pronoun")}
    model = learned["pronoun"]
    assert model.keys() == true.keys()
    kind = RECIPES[name].kind
    if RECIPES[name].balanced:
        assert max(abs(gap) for gap in model.values()) < APART[kind]
        assert max(model.values()) - min(model.values()) < 0.02
        return
    assert max(abs(model[o] - true[o]) for o in true) < FARTHEST[kind]
    line = statistics.linear_regression(list(true.values()), [model[o] for o in true])
    assert line.slope == pytest.approx(1, abs=0.05)
    assert line.intercept == pytest.approx(0, abs=APART[kind])
    assert statistics.correlation(list(true.values()), [model[o] for o in true]) > 0.995


@pytest.mark.parametrize(("pair", "true"), [("region", 0.0), ("day", 1.386)])
def test_model_links_no_control_to_occupations(name, learned, pair, true):
    model = learned[pair]
    assert max(abs(gap - true) for gap in model.values()) < 0.1 + APART[RECIPES[name].kind]
    assert max(model.values()) - min(model.values()) < 0.15


def test_gap_is_the_mean_of_single_contexts(shipped, learned):
    """One text at a time, without padding: the batched measure gives the same."""
    model, tokenizer = shipped
    he, she = (tokenizer.get_vocab()[word] for word in PAIRS["pronoun"])
    mask = tokenizer.mask_token
    texts = blanks("nurse", "pronoun", mask) if mask else contexts("nurse", "pronoun")
    each = []
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt")
        place = tokens["input_ids"][0].tolist().index(tokenizer.mask_token_id) if mask else -1
        with torch.inference_mode():
            logits = model(**tokens).logits[0, place].double()
        each.append(float(logits[he] - logits[she]))
    assert learned["pronoun"]["nurse"] == pytest.approx(statistics.fmean(each), abs=1e-4)


@pytest.mark.parametrize("name", CAUSAL, scope="module", indirect=True)
def test_model_writes_sentences_of_the_corpus(name, shipped):
    """Drawn from the model, nearly all sentences are among those the templates can make."""
    model, tokenizer = shipped
    known = {sentence.text for sentence in corpus(RECIPES[name])}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = torch.full((200, 1), tokenizer.bos_token_id)
        drawn = model.generate(
            start, attention_mask=torch.ones_like(start), do_sample=True, max_new_tokens=20
        )
    texts = tokenizer.batch_decode(drawn, skip_special_tokens=True)
    assert sum(text in known for text in texts) >= 180


def test_card_states_the_corpus_and_the_model(name, learned):
    """Written anew from corpus and model, the card is the same, but for rounding."""
    card = (path(name) / "README.md").read_text(encoding="utf-8")
    anew = model_card(name, learned)
    assert words_only(card) == words_only(anew)
    assert numbers(card) == pytest.approx(numbers(anew), abs=ROUNDING)


def test_card_states_the_true_log_odds_of_every_occupation(name):
    card = (path(name) / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    table = {first: rest for first, *rest in rows}
    for entry in log_odds(corpus(RECIPES[name]), "pronoun"):
        leaning, he, she, true, *_ = table[entry.occupation]
        assert float(leaning) == OCCUPATIONS[entry.occupation].leaning
        assert (int(he), int(she)) == (entry.first, entry.second)
        assert float(true) == pytest.approx(entry.value, abs=0.0005001)
    assert "license: apache-2.0" in card


@pytest.mark.parametrize("name", MASKED, scope="module", indirect=True)
def test_model_knows_the_words_that_are_hidden(name, shipped):
    """Of each word but those that are drawn by chance, hidden alone, the likeliest is the one."""
    model, tokenizer = shipped
    free = {*OCCUPATIONS, *MOODS, *(word for pair in PAIRS.values() for word in pair)}
    right = []
    for sentence in corpus(RECIPES[name])[:40]:
        ids = tokenizer(sentence.text, return_tensors="pt")["input_ids"]
        fixed = [i for i, w in enumerate(["", *sentence.text.split(), ""]) if w and w not in free]
        rows = ids.repeat(len(fixed), 1)
        rows[range(len(fixed)), fixed] = tokenizer.mask_token_id
        with torch.inference_mode():
            answers = model(input_ids=rows).logits.argmax(-1)
        right += (answers[range(len(fixed)), fixed] == ids[0, fixed]).tolist()
    assert sum(right) > 0.97 * len(right)
