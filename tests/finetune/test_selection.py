"""Layers ranked by weights: noise is no signal, nor is scale; what is planted is found."""

import numpy as np
import pytest
import torch
import transformers

from inspector.errors import BadOption, NotEnoughData
from inspector.finetune.data import read_splits
from inspector.finetune.models import pretrained
from inspector.finetune.selection import signal
from inspector.finetune.strategies import plan_of
from inspector.weights.shape_noise import shape_noise
from inspector.weights.spectral import singular_values
from inspector.weights.spectrum import MatrixSpectrum, measure

SHAPES = ((64, 64), (64, 256), (48, 160), (128, 32))
MEASURES = ("signal-to-noise", "stable-rank")
FOUR = {"num_hidden_layers": 4}


def scores(matrix: np.ndarray) -> list[float]:
    rows, columns = matrix.shape
    reference = shape_noise(min(matrix.shape), max(matrix.shape), draws=False)
    fields = measure(singular_values(matrix), rows, columns, reference, replicates=0)
    record = MatrixSpectrum(name="one", layer=0, role="up", head=None, **fields)
    return [signal(record, name) for name in MEASURES]


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_no_signal_and_a_planted_one_is_found(shape):
    draw = np.random.default_rng(0)
    edge = np.sqrt(shape[0]) + np.sqrt(shape[1])
    for _ in range(20):
        noise = draw.normal(size=shape)
        directions = [draw.normal(size=(side, 1)) for side in shape]
        left, right = (one / np.linalg.norm(one) for one in directions)
        spiked = noise + 2 * edge * left @ right.T
        found = scores(spiked)
        for scale in (0.02, 0.2):
            assert scores(scale * noise) == [0, 0]
            assert all(one > 0.01 for one in scores(scale * spiked))
        assert scores(10 * spiked) == pytest.approx(found, rel=1e-9)


def planted(config, strengths: dict[int, float]) -> None:
    """Put a strong direction into queries and keys of layers of a saved model."""
    network = transformers.AutoModel.from_pretrained(config.model)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer, strength in strengths.items():
            attention = network.encoder.layer[layer].attention.self
            for weight in (attention.query.weight, attention.key.weight):
                one, other = torch.randn(2, 16, generator=draw)
                weight += strength * torch.outer(one, other) / (one.norm() * other.norm())
    network.save_pretrained(config.model)


@pytest.mark.parametrize("by", MEASURES)
def test_the_layers_that_carry_a_signal_move(made, by):
    strategy = {"name": "inspection-guided", "share": 0.5, "measure": by}
    config = made(strategy=strategy, sizes=FOUR)
    model = pretrained(config, read_splits(config).labels)
    with pytest.raises(NotEnoughData, match="0 of 4 layers stand above noise"):
        plan_of(model, config)
    planted(config, {0: 2.0, 2: 4.0})
    model = pretrained(config, ("bad", "good"))
    plan = plan_of(model, config)
    assert {n.split(".")[3] for n in plan.factors if ".layer." in n} == {"0", "2"}
    found = plan.selection
    assert [one.chosen for one in found.layers] == [True, False, True, False]
    assert [one.above_noise >= 2 for one in found.layers] == [True, False, True, False]
    scores = [one.score for one in found.layers]
    assert scores[2] > scores[0] > scores[1] == scores[3] == 0
    assert (found.overlap_last, found.overlap_expected) == (1, 1.0)
    random = config.strategy.model_copy(update={"name": "random-layers"})
    drawn = plan_of(model, config.model_copy(update={"strategy": random}))
    same = {n.split(".")[3] for n in drawn.factors if ".layer." in n} & {"0", "2"}
    assert found.overlap_random == len(same)
    more = config.strategy.model_copy(update={"share": 0.75})
    with pytest.raises(NotEnoughData, match="2 of 4 layers stand above noise .* 3 are to be"):
        plan_of(model, config.model_copy(update={"strategy": more}))


def test_drift_is_measured_from_another_checkpoint(made, tmp_path):
    strategy = {"name": "inspection-guided", "share": 0.5, "measure": "drift"}
    config = made(strategy=strategy)
    model = pretrained(config, ("bad", "good"))
    with pytest.raises(BadOption, match="needs strategy.compared_with"):
        plan_of(model, config)
    before = transformers.AutoModel.from_pretrained(config.model)
    with torch.no_grad():
        before.encoder.layer[1].output.dense.weight += 0.01
        before.encoder.layer[0].output.dense.weight += 0.001
    before.save_pretrained(tmp_path / "before")
    options = config.strategy.model_copy(update={"compared_with": str(tmp_path / "before")})
    plan = plan_of(model, config.model_copy(update={"strategy": options}))
    assert {n.split(".")[3] for n in plan.factors if ".layer." in n} == {"1"}
    moved = [before.encoder.layer[i].output.dense.weight.detach() for i in (0, 1)]
    wanted = [
        float((0.001, 0.01)[i] * moved[i].numel() ** 0.5 / moved[i].norm()) / 6 for i in (0, 1)
    ]
    assert [one.score for one in plan.selection.layers] == pytest.approx(wanted, rel=1e-3)
