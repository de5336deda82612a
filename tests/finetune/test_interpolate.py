"""Models between two, and means of several: the bits of either end, closed forms, refusals."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from inspector.errors import BadOption, UnsupportedModel
from inspector.finetune.interpolate import interpolate, soup
from tests.finetune.conftest import saved


@pytest.fixture
def ends(tmp_path):
    """A body without a head, and a model with a head that another training might have made."""
    base = saved(tmp_path / "base", "bert", seed=1)
    tuned = tmp_path / "tuned"
    torch.manual_seed(2)
    config = transformers.AutoConfig.from_pretrained(base, num_labels=3)
    network = transformers.AutoModelForSequenceClassification.from_config(config)
    network.save_pretrained(tuned)
    return base, tuned


def tensors(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one.view(torch.uint8) == other.view(torch.uint8)).all())


def test_the_ends_are_the_files(ends, tmp_path):
    base, tuned = ends
    made = [interpolate(base, tuned, weight, tmp_path / f"w{weight}") for weight in (0, 1)]
    first, last = (tensors(tmp_path / f"w{weight}") for weight in (0, 1))
    before, after = tensors(base), tensors(tuned)
    assert all(same_bits(last[name], after[name]) for name in after)
    assert last.keys() == first.keys() == after.keys()
    heads = {"classifier.weight", "classifier.bias"}
    assert {*made[0].kept} == heads
    assert {*made[0].mixed} == {*after} - heads
    assert made[0].left == ()
    for name, tensor in first.items():
        was = after[name] if name in heads else before[name.removeprefix("bert.")]
        assert same_bits(tensor, was)


def test_between_them_values_lie_on_the_line(ends, tmp_path):
    base, tuned = ends
    interpolate(base, tuned, 0.25, tmp_path / "w")
    before, after, found = tensors(base), tensors(tuned), tensors(tmp_path / "w")
    for name in found:
        if name.startswith("bert."):
            wanted = 0.75 * before[name[5:]].double() + 0.25 * after[name].double()
            assert torch.equal(found[name], wanted.float())
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "w")
    assert network.config.num_labels == 3
    assert {one.name for one in (tmp_path / "w").iterdir()} == {
        *("config.json", "model.safetensors", "manifest.json"),
    }


def test_a_base_in_bfloat16_is_widened_exactly(ends, tmp_path):
    base, tuned = ends
    small = {name: tensor.bfloat16() for name, tensor in tensors(base).items()}
    save_file(small, base / "model.safetensors", metadata={"format": "pt"})
    interpolate(base, tuned, 0, tmp_path / "w")
    found = tensors(tmp_path / "w")
    assert all(torch.equal(found[f"bert.{name}"], one.float()) for name, one in small.items())


def test_other_bodies_are_refused(ends, tmp_path):
    base, tuned = ends
    held = tensors(base)
    lacking = {n: t for n, t in held.items() if n != "encoder.layer.1.output.dense.weight"}
    save_file(lacking, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"layer\.1\.output\.dense\.weight \(in one only"):
        interpolate(base, tuned, 0.5, tmp_path / "w")
    wide = saved(tmp_path / "wide", "bert", intermediate_size=32)
    with pytest.raises(UnsupportedModel, match="not of one body"):
        interpolate(wide, tuned, 0.5, tmp_path / "w")
    with pytest.raises(UnsupportedModel, match="not of one body"):
        interpolate(saved(tmp_path / "gpt2", "gpt2"), tuned, 0.5, tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_is_a_share(ends, tmp_path, weight):
    with pytest.raises(BadOption, match="between 0, the base, and 1"):
        interpolate(*ends, weight, tmp_path / "w")


def test_nothing_is_written_over(ends, tmp_path):
    with pytest.raises(BadOption, match="something already"):
        interpolate(*ends, 0.5, ends[0])
    with pytest.raises(BadOption, match="at least two"):
        soup([ends[0]], tmp_path / "w")


def test_a_soup_is_the_mean(tmp_path):
    folders = [saved(tmp_path / f"m{i}", "gpt2", seed=i, kind="causal") for i in range(3)]
    soup(folders, tmp_path / "soup")
    found, parts = tensors(tmp_path / "soup"), [tensors(one) for one in folders]
    for name in found:
        mean = torch.stack([one[name].double() for one in parts]).mean(dim=0)
        assert torch.allclose(found[name].double(), mean, atol=1e-7)
    with pytest.raises(UnsupportedModel, match="not of one body"):
        soup(
            [folders[0], saved(tmp_path / "wide", "gpt2", kind="causal", n_inner=8)], tmp_path / "o"
        )
