"""Units of a text: pieces that share a character are one, words and phrases follow offsets."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from inspector.errors import BadOption
from inspector.model.features import MOST_CHARACTERS, check_seam, check_window, read_prompt
from inspector.model.load import Model
from inspector.weights.problems import Log

Running = Callable[[str], Model]


def byte_level(**special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes as GPT-2's, with a few merged words, whose offsets hold the space."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("s", "a"), ("sa", "i"), ("sai", "d"), ("s", "h"), ("sh", "e"), ("Ġ", "she")]
    made = Tokenizer(
        models.BPE(
            vocab={word: i for i, word in enumerate([*letters, *map("".join, merges), "<eos>"])},
            merges=merges,
        )
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", **special)


def bytes_of(model: Model) -> Model:
    return dataclasses.replace(model, tokenizer=byte_level())


def test_repeated_words_keep_their_places(running: Running) -> None:
    prompt = read_prompt(running("gpt2"), "a b a a")
    assert [(u.positions, u.text, u.start) for u in prompt.units] == [
        ((0,), "a", 0),
        ((1,), "b", 2),
        ((2,), "a", 4),
        ((3,), "a", 6),
    ]
    assert prompt.unit_of.tolist() == [0, 1, 2, 3]


def test_pieces_of_one_character_are_one_unit(running: Running) -> None:
    text = "You é👩 she"
    prompt = read_prompt(bytes_of(running("gpt2")), text)
    assert "".join(u.text for u in prompt.units) == text  # spans cover the text
    assert not any("\ufffd" in u.text for u in prompt.units)
    assert [len(u.positions) for u in prompt.units] == [1, 1, 1, 1, 2, 4, 1]
    words = read_prompt(bytes_of(running("gpt2")), text, "words")
    assert [u.text for u in words.units] == ["You", " é", "👩", " she"]


def test_words_and_phrases_join_tokens(running: Running) -> None:
    model = bytes_of(running("gpt2"))
    text = "it's said, it's said"
    words = [u.text for u in read_prompt(model, text, "words").units]
    assert words == ["it's", " said", ",", " it's", " said"]
    phrases = read_prompt(model, text, ["it's said"]).units
    assert [u.text for u in phrases] == ["it's said", ",", " it's said"]
    assert sum(len(u.positions) for u in phrases) == len(read_prompt(model, text).ids)
    with pytest.raises(BadOption, match="does not stand"):
        read_prompt(model, text, ["is not"])
    with pytest.raises(BadOption, match="tokens, words"):
        read_prompt(model, text, "lines")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), words=st.booleans())
def test_every_text_is_covered_once(text: str, words: bool, running: Running) -> None:
    prompt = read_prompt(bytes_of(running("gpt2")), text, "words" if words else "tokens")
    assert "".join(u.text for u in prompt.units) == text
    assert [i for u in prompt.units for i in u.positions] == list(range(len(prompt.ids)))


def test_baselines_are_named_and_shown(running: Running) -> None:
    model = running("gpt2")
    first = read_prompt(model, "a b")
    assert (first.baseline_name, first.baseline.tolist()) == ("mask", [4, 4])
    assert first.baseline_text.split() == ["<mask>", "<mask>"]
    assert read_prompt(model, "a b", baseline="pad").baseline.tolist() == [0, 0]
    single = read_prompt(model, "a b", baseline="c")
    assert (single.baseline_name, [u.baseline for u in single.units]) == ("text", ["c", "c"])
    aligned = read_prompt(model, "a b", baseline="a c")
    assert aligned.baseline.tolist() == [5, 7]
    for bad, told in (("a b", "nothing differs"), ("a b c", "3 tokens"), ("", "0 tokens")):
        with pytest.raises(BadOption, match=told):
            read_prompt(model, "a b", baseline=bad)


def test_token_0_is_never_taken_by_accident(running: Running) -> None:
    model = running("gpt2")
    bare = byte_level()
    only_eos = read_prompt(dataclasses.replace(model, tokenizer=bare), "said")
    assert (only_eos.baseline_name, set(only_eos.baseline.tolist())) == ("eos", {len(bare) - 1})
    with pytest.raises(BadOption, match="has no such token"):
        read_prompt(dataclasses.replace(model, tokenizer=bare), "said", baseline="pad")
    bare.eos_token = None
    with pytest.raises(BadOption, match="neutral text"):
        read_prompt(dataclasses.replace(model, tokenizer=bare), "said")


def test_special_tokens_stay(running: Running) -> None:
    prompt = read_prompt(running("bert"), "<s> a <mask> zebra </s>")
    assert [u.text for u in prompt.units] == ["a", "zebra"]  # an unknown word is a word
    assert prompt.baseline.tolist() == [1, 4, 4, 4, 2]
    assert prompt.kept == ("<s>", "<mask>", "</s>")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<s> </s>", "special tokens"),
        ("a \udc80", "surrogate"),
        ("a " * (MOST_CHARACTERS // 2 + 1), "characters"),
        ("a" * 10**6, "characters"),
    ],
)
def test_texts_of_which_nothing_can_be_said(text: str, told: str, running: Running) -> None:
    with pytest.raises(BadOption, match=told):
        read_prompt(running("gpt2"), text)


def test_the_window_is_the_models(running: Running) -> None:
    check_window(running("llama"), 32)
    with pytest.raises(BadOption, match="at most 32"):
        check_window(running("llama"), 33)
    with pytest.raises(BadOption, match="at most 31"):  # positions begin behind the padding id
        check_window(running("roberta"), 32)
    check_window(running("t5"), 100_000)


def seam(model: Model, text: str, target: str) -> list[Any]:
    log = Log()
    check_seam(model, text, target, log)
    return [finding.id for finding in log.findings]


def test_a_seam_that_the_tokenizer_would_not_cut_is_told(running: Running) -> None:
    model = bytes_of(running("gpt2"))
    assert seam(model, "said ", "she") == ["AT-SEAM"]
    assert seam(model, "said", "she") == ["AT-SEAM"]
    assert seam(model, "said", " she") == []
    assert seam(running("gpt2"), "a", "b") == []  # words part at spaces: none is lost
    assert seam(dataclasses.replace(model, kind="masked"), "said ", "she") == []
