"""Weights laid out by oneDNN: the same results, and all as it was afterwards."""

import pytest
import torch
from fairness.talkers import saved
from torch import nn

from inspector.fairness import batching
from inspector.fairness.packing import packed
from inspector.fairness.scoring import score
from inspector.model.load import load

GIB = 2**30
TEXTS = ["a bc d .", "a ed d .", "abcde f g h i j a b c .", "hij gfe 1 2 3 ."]
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)


def is_changed(layer):
    return "forward" in layer.__dict__


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(300, 48), (1, 48), (3, 9, 48), (48,), (0, 48)])
def test_results_are_those_of_the_layer(shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(48, 70, bias=bias)
    given = torch.randn(shape)
    exact = given.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    with torch.inference_mode(), packed(layer, 300, GIB):
        assert is_changed(layer)
        assert torch.allclose(layer(given).double(), exact, atol=1e-5)
        turned = torch.randn(48, 5).T  # not as memory lies
        assert torch.allclose(layer(turned), layer(turned.contiguous()))
    assert not is_changed(layer)


def test_all_is_as_it_was_when_something_fails():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(KeyboardInterrupt), packed(network, 8, GIB):
        assert all(map(is_changed, network))
        raise KeyboardInterrupt
    assert not any(map(is_changed, network))


def test_what_is_not_plain_is_left_alone():
    """Other numbers, other classes of layers, layers that were changed, and too many of them."""

    class Other(nn.Linear):
        pass

    own = nn.Linear(4, 4)
    own.forward = plain = own.forward
    network = nn.Sequential(nn.Linear(4, 4).double(), Other(4, 4), own)
    with packed(network, 8, GIB):
        assert [is_changed(layer) for layer in network] == [False, False, True]
        assert own.forward is plain
    assert own.forward is plain
    layer = nn.Linear(8, 8)
    with packed(layer, 8, memory=8 * 8 * 4 - 1):
        assert not is_changed(layer)


@pytest.mark.parametrize(("name", "scorer"), [("bert", "pll"), ("llama", "causal-sum")])
def test_scores_are_the_same(name, scorer, tmp_path, monkeypatch):
    model = load(saved(name, tmp_path))
    seen = []
    layer = model.network.get_output_embeddings()
    hook = layer.register_forward_pre_hook(lambda *_: seen.append(is_changed(layer)))
    try:
        plain = score(model, scorer, TEXTS)
        assert not any(seen)  # so few tokens are not worth it
        monkeypatch.setattr(batching, "WORTH_PACKING", 0)
        seen.clear()
        found = score(model, scorer, TEXTS)
        assert seen[-1]
    finally:
        hook.remove()
    assert not is_changed(layer)
    for one, other in zip(plain, found, strict=True):
        assert other.score == pytest.approx(one.score, abs=1e-5 * one.tokens)
