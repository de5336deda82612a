"""Streaming gives what eager attention gives, holds no map, and leaves nothing behind."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from model.conftest import letters
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from inspector.errors import BadOption, NotEnoughData, UnsupportedModel
from inspector.model import attention_rows
from inspector.model.attention import attention, measured
from inspector.model.attention_metrics import ATTENTION_METRICS, Rows
from inspector.model.attention_records import HeadAttention
from inspector.model.attention_rows import predicted_bytes, show_rows, way_of
from inspector.model.attention_stream import STREAM, streaming
from inspector.model.load import Model
from inspector.model.places import find_blocks
from inspector.model.texts import Batch, batches
from inspector.weights.checkpoint import open_checkpoint

Running = Callable[[str], Model]
STREAMS = [
    *("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox"),
    *("opt", "mixtral", "gpt_oss", "olmo2", "qwen3_moe", "bert", "roberta", "distilbert"),
    *("electra", "bert-classifier", "t5"),
]
EAGER = ["bloom", "falcon-7b", "falcon-plain", "falcon-new"]
TEXTS = [
    "a b c d a b c e",
    "w1 w2 w3 a w4 a b",
    "k l m n o p q r s",
    "a w9 w8 w9 a",
    "z y x w v u t a b c",
    "c b a c b a d",
]
SMALL = 3000  # bytes of a chunk: a few rows


def some(model: Model, *lengths: int) -> Batch:
    random = np.random.default_rng(0)
    return next(batches(model, [random.integers(5, 64, n).tolist() for n in lengths]))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("repeated", [False, True])
def test_streaming_equals_eager(name: str, repeated: bool, running: Running) -> None:
    """Texts of different lengths, padded, and cut into many chunks."""
    model = running(name)
    assert way_of(model)[0] == "streaming"
    batch = some(model, 27, 9, 16)
    expected = measured(model, batch, "eager", repeated)
    found = measured(model, batch, "streaming", repeated)
    for metric, values in expected.items():
        np.testing.assert_allclose(found[metric], values, atol=2e-5, err_msg=metric)
    assert np.isfinite(found["induction" if repeated else "entropy"]).all()


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mistral", "gpt_oss", "bert", "t5", "opt"])
def test_rows_of_any_chunk_are_those_of_the_eager_maps(name: str, running: Running) -> None:
    model = running(name)
    batch = some(model, 23, 14)
    whole = {}
    for way, size in (("eager", 1 << 20), ("streaming", 1), ("streaming", SMALL)):
        maps = {b.attention: torch.zeros(2, b.heads, 23, 23) for b in model.blocks}

        def keep(module: nn.Module, rows: Rows, into: dict[nn.Module, Tensor] = maps) -> None:
            q, k = rows.weights.shape[2:]
            at = into[module][:, :, rows.first_query : rows.first_query + q]
            at[..., rows.first_key : rows.first_key + k] = rows.weights

        show_rows(model, batch, way, keep, size)
        whole[way, size] = torch.stack(list(maps.values()))
    real = batch.real[None, :, None, :, None]
    expected = whole["eager", 1 << 20] * real
    for made in whole.values():
        torch.testing.assert_close(made * real, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", EAGER)
def test_families_that_cannot_stream_say_so_and_are_measured(name: str, running: Running) -> None:
    found = attention(running(name), TEXTS)
    assert found.summary["way"] == "eager"
    assert "cannot run" in found.summary["way_reason"]
    assert "AH-EAGER" in {finding.id for finding in found.findings}
    assert all(0 < record.entropy_normalised <= 1 for record in found)


@pytest.mark.parametrize("name", ["gpt2", "gpt_oss", "bert", "t5", "bloom"])
def test_padding_changes_nothing(name: str, running: Running) -> None:
    model = running(name)
    way = way_of(model)[0]
    together = measured(model, some(model, 21, 6, 13), way)
    random = np.random.default_rng(0)
    alone = sorted((random.integers(5, 64, n).tolist() for n in (21, 6, 13)), key=len)
    for i, ids in enumerate(alone):
        single = measured(model, next(batches(model, [ids])), way)
        for metric, values in single.items():
            np.testing.assert_allclose(together[metric][i], values[0], atol=2e-5, err_msg=metric)


def test_nulls_follow_the_window_of_a_layer(running: Running) -> None:
    model = running("mistral")
    window = model.network.config.sliding_window
    model.network.config.sliding_window = 4
    try:
        null = measured(model, some(model, 20), "streaming")["previous_token_null"]
    finally:
        model.network.config.sliding_window = window
    expected = np.mean([1 / min(i, 4) for i in range(2, 21)])
    np.testing.assert_allclose(null, expected, rtol=1e-5)


@pytest.fixture
def wrong_mask() -> Iterator[None]:
    """The mask of another implementation under our name: None where nothing is padded."""
    AttentionMaskInterface.register(STREAM, sdpa_mask)
    yield
    AttentionMaskInterface.register(STREAM, eager_mask)


@pytest.mark.usefixtures("wrong_mask")
def test_attention_that_sees_the_future_is_noticed(running: Running) -> None:
    way, why = way_of(running("llama"))
    assert way == "eager"
    assert "moves the last hidden states" in why


def test_the_encoder_and_the_decoder_do_not_collide(running: Running) -> None:
    found = attention(running("t5"), TEXTS)
    assert {(r.stack, r.layer, r.head) for r in found} == {
        (stack, layer, head)
        for stack in ("encoder", "decoder")
        for layer in range(2)
        for head in range(4)
    }
    assert {r.name for r in found if r.layer == 0} == {
        "encoder.block.0.layer.0.SelfAttention",
        "decoder.block.0.layer.0.SelfAttention",
    }
    looks_ahead = {r.stack: r.previous_token_null for r in found}
    assert looks_ahead["encoder"] < looks_ahead["decoder"]  # an encoder's rows see more keys


class Largest(TorchDispatchMode):
    """The largest result of any operation, in numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and "expand" not in str(function):
            self.numbers = max(self.numbers, out.untyped_storage().nbytes() // 4)
        return out


def shaped(layers: int, heads: int, tokens: int, vocabulary: int = 64) -> Model:
    """A GPT-2 of this shape that was never on disk."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=8 * heads,
        n_positions=tokens,
        vocab_size=vocabulary,
        bos_token_id=0,
        eos_token_id=0,
    )
    network = GPT2LMHeadModel(config).eval()
    return Model(
        checkpoint=open_checkpoint("demo:planted"),  # which nothing here looks at
        network=network,
        tokenizer=letters(),
        kind="causal",
        blocks=find_blocks(network),
        checks=(),
        findings=(),
    )


def test_no_map_is_ever_whole() -> None:
    model, tokens = shaped(2, 12, 384), 384
    ids = torch.randint(0, 64, (1, tokens))
    batch = Batch(ids=ids, real=torch.ones_like(ids, dtype=torch.bool))
    with Largest() as largest:
        show_rows(model, batch, "streaming", lambda _m, _r: None, 1 << 16)
    assert largest.numbers <= 2 * tokens * tokens  # the mask of one text; 12 heads would be 6 times
    with Largest() as largest:
        show_rows(model, batch, "eager", lambda _m, _r: None)
    assert largest.numbers >= 12 * tokens * tokens


def test_predicted_bytes_of_eager_maps_are_those_measured(running: Running) -> None:
    assert predicted_bytes(shaped(2, 4, 2048), 2048, 1, "eager") == 134_217_728
    for name in ("gpt2", "llama", "bert", "t5"):
        model = running(name)
        batch = some(model, 19, 19)
        seen: list[Tensor] = []

        def keep(_m: object, _i: object, out: Any, into: list[Tensor] = seen) -> None:
            for key in ("attentions", "encoder_attentions", "decoder_attentions"):
                into.extend(out.get(key) or ())
            into.extend(out.get("cross_attentions") or ())

        handle = model.network.base_model.register_forward_hook(keep)
        try:
            show_rows(model, batch, "eager", lambda _m, _r: None)
        finally:
            handle.remove()
        total = sum(one.nbytes for one in seen)
        assert predicted_bytes(model, 19, 2, "eager") == total


def test_over_the_limit_nothing_is_run(running: Running) -> None:
    model = running("gpt2")
    lengths: list[int] = []
    handle = model.network.get_input_embeddings().register_forward_pre_hook(
        lambda _m, given: lengths.append(given[0].shape[1])
    )
    try:
        with pytest.raises(BadOption, match=r"200 tokens needs 1280000 bytes .* limit of 1000"):
            attention(model, ["a b " * 100], way="eager", max_bytes=1000)
    finally:
        handle.remove()
    assert lengths == []


@pytest.mark.parametrize("ended", ["well", "by an error", "by being closed"])
def test_nothing_stays_behind(ended: str, running: Running) -> None:
    model = running("llama")
    before = model.network.config._attn_implementation
    batch = some(model, 8)
    plain = model.network(batch.ids).logits

    def receive(_module: nn.Module, _rows: Rows) -> None:
        if ended == "by an error":
            raise ZeroDivisionError

    def steps() -> Iterator[None]:
        modules = [block.attention for block in model.blocks]
        with streaming(model.network, modules, batch.ids, receive):
            model.network(batch.ids)
            yield

    work = steps()
    if ended == "by an error":
        with pytest.raises(ZeroDivisionError):
            next(work)
    else:
        next(work)
        assert model.network.config._attn_implementation == STREAM
        work.close()
    from inspector.model import attention_stream

    assert attention_stream._RUNS == {}
    assert model.network.config._attn_implementation == before
    assert torch.equal(model.network(batch.ids).logits, plain)


@pytest.mark.parametrize("given", [None, (), (None, None)])
def test_attentions_that_do_not_come_are_one_message(given: Any, running: Running) -> None:
    model = running("gpt2")

    def drop(_module: object, _inputs: object, out: Any) -> Any:
        out.attentions = given
        return out

    handle = model.network.base_model.register_forward_hook(drop)
    try:
        with pytest.raises(UnsupportedModel, match="0 attention maps for 2 blocks"):
            show_rows(model, some(model, 8), "eager", lambda _m, _r: None)
    finally:
        handle.remove()


def test_every_metric_is_a_field_with_its_range_and_null() -> None:
    fields = list(HeadAttention.__dataclass_fields__)
    ends = ("", "_low", "_high", "_null")
    expected = [f"{metric}{end}" for metric in ATTENTION_METRICS for end in ends]
    assert fields[-len(expected) :] == expected


def test_means_and_ranges_over_texts(running: Running) -> None:
    """Against each text measured alone, and Student's t with 5 degrees of freedom."""
    model = running("llama")
    found = attention(model, TEXTS)
    ids = [tuple(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    alone = [measured(model, next(batches(model, [one])), "streaming") for one in ids]
    for record in found:
        at = (0, record.layer, record.head)
        values = np.array([one["sink_mass"][at] for one in alone])
        reach = 2.570582 * values.std(ddof=1) / np.sqrt(len(TEXTS))
        assert record.sink_mass == pytest.approx(values.mean(), abs=1e-5)
        assert record.sink_mass_low == pytest.approx(max(values.mean() - reach, 0), abs=1e-5)
        assert record.sink_mass_high == pytest.approx(min(values.mean() + reach, 1), abs=1e-5)
        null = np.mean([one["sink_mass_null"][at[0], at[1], 0] for one in alone])
        assert record.sink_mass_null == pytest.approx(null)
        assert record.learned_sink is None
        assert record.induction_low <= record.induction <= record.induction_high


def test_the_same_again_is_the_same(running: Running) -> None:
    first, second = (attention(running("gpt2"), TEXTS, seed=3).to_dict() for _ in range(2))
    for found in (first, second):
        found["source"].pop("when")
    assert json.dumps(first) == json.dumps(second)
    other = attention(running("gpt2"), TEXTS, seed=4)
    assert [r.induction for r in other] != [r["induction"] for r in first["records"]]
    assert [r.entropy for r in other] == [r["entropy"] for r in first["records"]]


def test_a_learned_sink_is_shown(running: Running) -> None:
    for record in attention(running("gpt_oss"), TEXTS):
        assert 0 < record.learned_sink < 1
        assert record.learned_sink_null == pytest.approx(0, abs=1e-6)


def ids_of(found: Any) -> dict[str, str]:
    return {finding.id: finding.statement for finding in found.findings}


def test_texts_left_out_cut_or_repeated_are_told(running: Running) -> None:
    model = running("gpt2")
    found = attention(model, [*TEXTS, TEXTS[0], "", "a", "<pad> </s> <s>", "a b " * 250_000])
    limit = model.network.config.n_positions
    told = ids_of(found)
    assert told["AH-SHORT"].startswith("3 of 11")
    assert told["AH-TWICE"].startswith("1 of 11")
    assert told["AH-CUT"] == f"1 of 11 were cut to {limit} tokens"
    assert (found.summary["texts"], found.summary["longest"]) == (7, limit)
    once = attention(model, [*TEXTS, "a b " * limit])
    assert [r.entropy_low for r in once] == [r.entropy_low for r in found]


def test_few_texts_have_no_ranges(running: Running) -> None:
    found = attention(running("llama"), TEXTS[:1])
    assert "AH-FEW" in ids_of(found)
    assert all(r.entropy_low is None and r.entropy is not None for r in found)
    assert {r.label for r in found} <= {"unclear", "induction"}


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["<s> </s>", ""]])
def test_nothing_to_measure(texts: list[str], running: Running) -> None:
    with pytest.raises(NotEnoughData, match="2 tokens or more"):
        attention(running("llama"), texts)


def test_texts_that_are_no_text(running: Running) -> None:
    with pytest.raises(BadOption, match="Text 2 is no valid text: character 2"):
        attention(running("llama"), ["a b c", "a \ud83d b"])
    hostile = "<script>alert(1)</script> **b** [x](javascript:y) \u202e \x1b[31m a b"
    assert len(attention(running("llama"), [hostile])) == 8


def test_too_small_a_window_has_no_induction(running: Running) -> None:
    found = attention(running("llama"), TEXTS, max_tokens=12)
    assert "AH-INDUCTION" in ids_of(found)
    assert all(r.induction is None and r.induction_null is None for r in found)
    with pytest.raises(BadOption, match="--max-tokens 1"):
        attention(running("llama"), TEXTS, max_tokens=1)


def test_progress_counts_batches_and_may_end_the_work(running: Running) -> None:
    seen: list[tuple[int, int]] = []
    attention(running("gpt2"), TEXTS, progress=lambda done, total, _: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1] == (seen[-1][1], seen[-1][1])

    def stop(_done: int, _total: int, _label: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attention(running("gpt2"), TEXTS, progress=stop)


def test_lower_precision_streams_too() -> None:
    from inspector.model.load import load

    model = load("demo:planted", dtype="bfloat16")
    assert way_of(model)[0] == "streaming"
    text = ["the nurse said that he was tired", "the doctor said that she went home"]
    exact = attention(load("demo:planted"), text)
    for one, other in zip(attention(model, text), exact, strict=True):
        assert one.entropy == pytest.approx(other.entropy, abs=0.05)
        assert one.previous_token == pytest.approx(other.previous_token, abs=0.02)


def test_tried_tokens_fit_the_smallest_context() -> None:
    model = shaped(1, 2, 16)
    assert attention_rows.TRIED > 16
    assert way_of(model)[0] == "streaming"
