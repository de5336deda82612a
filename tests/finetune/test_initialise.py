"""How new parts begin, and what beginning anew leaves alone."""

import pytest
import torch
import transformers
from transformers.pytorch_utils import Conv1D

from inspector.errors import BadOption
from inspector.finetune.data import read_splits
from inspector.finetune.initialise import SCHEMES, initialise, refuse_resting
from inspector.finetune.models import pretrained
from inspector.finetune.strategies import Plan
from tests.finetune.conftest import SMALL


def begun(made, family="bert", **more):
    config = made(family=family, **more)
    model = pretrained(config, read_splits(config).labels)
    before = {name: one.detach().clone() for name, one in model.network.named_parameters()}
    changed = initialise(model, config)
    return model, before, changed


def differing(model, before) -> set[str]:
    now = dict(model.network.named_parameters())
    return {name for name, one in before.items() if not torch.equal(now[name], one)}


@pytest.mark.parametrize(
    ("scheme", "rows", "columns", "std"),
    [("xavier", 768, 768, 0.03608), ("xavier", 3072, 768, 0.02282), ("he", 3072, 768, 0.05103)],
)
def test_matrices_have_the_published_spread(scheme, rows, columns, std):
    torch.manual_seed(0)
    matrix = torch.empty(rows, columns)
    SCHEMES[scheme](matrix)
    assert float(matrix.std()) == pytest.approx(std, rel=0.02)


def test_a_matrix_kept_in_out_has_the_spread_of_its_inputs(made):
    config = made(training={"initialisation": "he"})
    model = pretrained(config, read_splits(config).labels)
    for kept, shape in ((Conv1D(3072, 768), (768, 3072)), (torch.nn.Linear(768, 3072), None)):
        model.network.classifier = kept
        assert shape is None or tuple(kept.weight.shape) == shape
        assert set(initialise(model, config)) == {"classifier.weight"}
        assert float(kept.weight.detach().std()) == pytest.approx(0.05103, rel=0.02)


@pytest.mark.parametrize("scheme", ["zeros", "xavier", "he"])
def test_only_new_matrices_are_drawn_and_by_the_seed(made, scheme):
    training = {"initialisation": scheme}
    model, before, changed = begun(made, training=training)
    assert differing(model, before) == {"classifier.weight"} == set(changed)
    again = begun(made, training=training)[0]
    assert torch.equal(model.network.classifier.weight, again.network.classifier.weight)
    other = begun(made, training=training, seed=1)[0]
    same = torch.equal(model.network.classifier.weight, other.network.classifier.weight)
    assert same is (scheme == "zeros")


def test_two_matrices_of_zeros_are_refused(made):
    with pytest.raises(BadOption, match=r"2 new matrices, pre_classifier\.weight"):
        begun(made, "distilbert", training={"initialisation": "zeros"})


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_the_top_layers_begin_anew_and_no_others(made, family):
    model, before, changed = begun(made, family, training={"reinitialise": 1})
    top = {name for name in before if ".1." in name}
    assert set(changed) == top
    gains_and_biases = {name for name in top if before[name].ndim < 2}
    # a random model's gains and biases are what they begin as
    assert differing(model, before) == top - gains_and_biases
    std = float(torch.cat([before[n].flatten() for n in top - gains_and_biases]).std())
    now = dict(model.network.named_parameters())
    drawn = float(torch.cat([now[n].detach().flatten() for n in top - gains_and_biases]).std())
    assert drawn == pytest.approx(std, rel=0.1)
    fresh = begun(made, family, training={"reinitialise": 1})[0].network
    assert all(torch.equal(one, now[name]) for name, one in fresh.named_parameters())


def test_trained_gains_and_biases_begin_anew_too(made):
    config = made(training={"reinitialise": 1})
    network = transformers.AutoModel.from_pretrained(config.model)
    with torch.no_grad():
        for one in network.parameters():
            one += 0.5
    network.save_pretrained(config.model)
    model, before, _ = begun(made, training={"reinitialise": 1})
    top = {name for name in before if ".layer.1." in name}
    assert differing(model, before) == top
    norm = model.network.bert.encoder.layer[1].output.LayerNorm
    assert norm.weight.unique().tolist() == [1] and norm.bias.unique().tolist() == [0]
    assert model.network.bert.encoder.layer[0].output.LayerNorm.bias.unique().tolist() == [0.5]


def test_what_begins_anew_must_move_and_leave_something(made):
    assert SMALL["bert"]["num_hidden_layers"] == 2
    with pytest.raises(BadOption, match="2 of 2 layers"):
        begun(made, training={"reinitialise": 2})
    with pytest.raises(BadOption, match="b, would not move"):
        refuse_resting(["a", "b"], Plan(factors={"a": 1.0}))
