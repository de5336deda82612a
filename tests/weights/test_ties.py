"""Ties between embedding and unembedding: known, doubtful, absent."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.tiny_models import MODELS, Tiny, load

from inspector.weights.architecture import Architecture, confirm_ties, place
from inspector.weights.header import TensorEntry

Make = Callable[[str], Tiny]


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def resave(tiny: Tiny, folder: Path, **more: np.ndarray) -> Tiny:
    """The same checkpoint with more tensors in it."""
    shutil.copy(tiny.folder / "config.json", folder)
    save_file({**tiny.values, **more}, folder / "model.safetensors", metadata={"format": "pt"})
    return load(tiny.name, tiny.model, folder)


def ids(found: Architecture) -> list[str]:
    return [f.id for f in found.findings]


def counted(tiny: Tiny, found: Architecture) -> int:
    """Parameters, each matrix once."""
    return sum(e.parameters for e in tiny.entries if found.placements[e.name].alias_of is None)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "bart"])
def test_ties_are_those_of_the_model_class(name: str, make: Make) -> None:
    tiny = make(name)
    found = place(tiny.entries, tiny.config)
    tied = {(source, target) for target, source in (tiny.model._tied_weights_keys or {}).items()}
    assert set(found.tied) == (tied if tiny.model.config.tie_word_embeddings else set())
    assert found.doubtful == ()
    assert counted(tiny, found) == sum(e.parameters for e in tiny.entries)


def test_gpt2_ties_by_default(make: Make) -> None:
    tiny = make("gpt2")
    pair = ("transformer.wte.weight", "lm_head.weight")
    for config in (
        without(tiny.config, "tie_word_embeddings"),
        without(tiny.config, "tie_word_embeddings", "architectures"),
        {"model_type": "gpt2"},
        None,
    ):
        found = place(tiny.entries, config)
        assert (found.tied, ids(found).count("AR-TIED")) == ((pair,), 1)
        assert "AR-ABSENT" not in ids(found)
    untied = place(tiny.entries, {**tiny.config, "tie_word_embeddings": False})
    assert (untied.tied, ids(untied)) == ((), ["AR-ABSENT"])


def test_llama_misses_its_unembedding(make: Make) -> None:
    tiny = make("llama")
    entries = [e for e in tiny.entries if e.name != "lm_head.weight"]
    config = without(tiny.config, "tie_word_embeddings")
    found = place(entries, config)
    assert (found.tied, [(f.id, f.where) for f in found.findings]) == (
        (),
        [("AR-ABSENT", "lm_head.weight")],
    )
    assert ids(place(entries, {**config, "tie_word_embeddings": True})) == ["AR-TIED"]
    assert ids(place(entries, without(config, "architectures"))) == ["AR-ABSENT"]
    # a bare model has none to miss; without a config nobody can tell
    assert ids(place(entries, {**config, "architectures": ["LlamaModel"]})) == []
    bare = [without_prefix(e) for e in entries]
    assert ids(place(bare, without(config, "architectures"))) == []
    assert ids(place(entries, None)) == []


def without_prefix(e: TensorEntry) -> TensorEntry:
    name = e.name.removeprefix("model.")
    return TensorEntry(name=name, dtype=e.dtype, shape=e.shape, file="x", start=0, end=0)


@pytest.mark.parametrize(
    "architectures", [[10**5000], "LMHead", [None, ["GPT2LMHeadModel"]], {}, []]
)
def test_classes_that_are_no_names(architectures: Any, make: Make) -> None:
    config = {"model_type": "gpt2", "architectures": architectures}
    assert "AR-ABSENT" not in ids(place(make("gpt2").entries, config))


@pytest.mark.parametrize("stated", [True, None])
def test_both_stored(stated: bool | None, make: Make, tmp_path: Path) -> None:
    tiny = make("gpt2")
    source, target = "transformer.wte.weight", "lm_head.weight"
    config = without(tiny.config, "tie_word_embeddings")
    if stated is not None:
        config["tie_word_embeddings"] = stated
    before = sum(e.parameters for e in tiny.entries)
    for change, alias in ((0.0, source), (1.0, None)):
        both = resave(tiny, tmp_path, **{target: tiny.values[source] + np.float32(change)})
        found = place(both.entries, config)
        assert (found.tied, found.doubtful) == ((), ((source, target),))

        def same(first: str, second: str, values: dict[str, np.ndarray] = both.values) -> bool:
            return np.array_equal(values[first], values[second])

        sure = confirm_ties(found, same)
        assert sure.placements[target].alias_of == alias
        assert sure.doubtful == ()
        assert ids(sure) == (["AR-TIED"] if alias else [])
        assert counted(both, sure) == before + (0 if alias else both.values[target].size)
        assert sure.placements[target].role == "unembedding"


def test_both_stored_and_stated_apart(make: Make, tmp_path: Path) -> None:
    tiny = make("gpt2")
    both = resave(tiny, tmp_path, **{"lm_head.weight": tiny.values["transformer.wte.weight"]})
    found = place(both.entries, {**tiny.config, "tie_word_embeddings": False})
    assert (found.tied, found.doubtful, ids(found)) == ((), (), [])


def test_only_the_unembedding_stored(make: Make) -> None:
    tiny = make("llama")
    entries = [e for e in tiny.entries if e.name != "model.embed_tokens.weight"]
    found = place(entries, {**tiny.config, "tie_word_embeddings": True})
    assert found.tied == (("lm_head.weight", "model.embed_tokens.weight"),)
    assert ids(place(entries, tiny.config)) == ["AR-ABSENT"]


def test_old_bert_files_store_both_names_of_bias_and_table(make: Make, tmp_path: Path) -> None:
    tiny = make("bert")
    head = "cls.predictions.decoder"
    words, bias = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
    both = resave(
        tiny, tmp_path, **{f"{head}.weight": tiny.values[words], f"{head}.bias": tiny.values[bias]}
    )
    found = place(both.entries, tiny.config)
    assert set(found.doubtful) == {(words, f"{head}.weight"), (bias, f"{head}.bias")}
    assert found.tied == ()


def test_old_t5_files_store_the_shared_table_three_times(make: Make, tmp_path: Path) -> None:
    tiny = make("t5")
    names = [f"{half}.embed_tokens.weight" for half in ("encoder", "decoder")]
    more = resave(tiny, tmp_path, **dict.fromkeys(names, tiny.values["shared.weight"]))
    found = place(more.entries, tiny.config)
    assert found.doubtful == tuple(("shared.weight", name) for name in sorted(names))
    assert found.tied == (("shared.weight", "lm_head.weight"),)


def test_the_two_halves_of_bart_share_its_table(make: Make) -> None:
    tiny = make("bart")
    found = place(tiny.entries, tiny.config)
    targets = [
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.weight",
    ]
    assert found.tied == tuple(("model.shared.weight", target) for target in targets)


def test_a_nested_config_says_it_too() -> None:
    name = "language_model.model.embed_tokens.weight"
    entries = [TensorEntry(name=name, dtype="F32", shape=(8, 4), file="x", start=0, end=0)]
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "text_config": {"model_type": "llama", "tie_word_embeddings": True},
    }
    assert place(entries, config).tied == ((name, "language_model.lm_head.weight"),)
    config["tie_word_embeddings"] = False  # the outer config counts where both speak
    assert place(entries, config).tied == ()


@pytest.mark.parametrize(
    ("stated", "id"), [(True, ["AR-TIED"]), (False, ["AR-ABSENT"]), (None, [])]
)
def test_a_family_not_known_ties_as_its_config_says(
    stated: bool | None, id: list[str], make: Make
) -> None:
    entries = [e for e in make("llama").entries if e.name != "lm_head.weight"]
    config = {
        "model_type": "new",
        "architectures": ["NewForCausalLM"],
        "tie_word_embeddings": stated,
    }
    found = place(entries, config)
    assert (found.family, ids(found)) == (None, id)
