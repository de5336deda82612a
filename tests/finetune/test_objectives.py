"""Every term: its closed form, the same gradient however an update is parted, and its refusals."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from inspector.errors import BadOption, NotEnoughData
from inspector.finetune.config import Objective
from inspector.finetune.objectives import OBJECTIVES, group_gap, terms_of
from inspector.finetune.run import prepare
from inspector.finetune.train import Finetuner
from inspector.finetune.weighting import balanced, reweighed

ADDITIVE = [
    ("sequence-classification", {"l2_sp": 0.7, "l2_new": 0.3}),
    ("sequence-classification", {"r_drop": 0.7}),
    ("sequence-classification", {"reweighing": True, "logit_pairing": 0.7}),
    ("regression", {"logit_pairing": 0.7}),
    ("token-classification", {"r_drop": 0.7}),
    ("causal-lm", {"r_drop": 0.7, "label_smoothing": 0.2}),
    ("multi-label-classification", {"label_smoothing": 0.2}),
]
FAMILY = {"causal-lm": "gpt2"}


class ByTurns(torch.nn.Dropout):
    """Stands for dropout that is the same however rows are parted: every other pass is halved."""

    def __init__(self) -> None:
        super().__init__(p=0.0)
        self.passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return x / (1 + self.passes % 2)


def without_chance(network: torch.nn.Module, by_turns: bool) -> None:
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, ByTurns() if by_turns else torch.nn.Dropout(0.0))


def trainer_of(config, batch: int = 16, accumulate: int = 1) -> Finetuner:
    """A trainer of one update, its weights a little away from where they began."""
    training = config.training.model_copy(
        update={"batch": batch, "accumulate": accumulate, "max_steps": 1}
    )
    config = config.model_copy(update={"training": training})
    ready = prepare(config)
    without_chance(ready.model.network, by_turns=bool(config.objective.r_drop))
    trainer = Finetuner(ready.config, ready.model, ready.plan, ready.rows)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.moving.values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return trainer


def gradients(config, batch: int, accumulate: int) -> tuple[torch.Tensor, float]:
    """All gradients of the first update in one row, and its logged loss."""
    trainer = trainer_of(config, batch, accumulate)
    found = {}
    for name, parameter in trainer.moving.items():
        parameter.register_post_accumulate_grad_hook(
            lambda one, name=name: found.__setitem__(name, one.grad.clone())
        )
    trainer.train()
    loss = next(line["loss"] for line in trainer.state.log_history if "loss" in line)
    return torch.cat([found[name].flatten() for name in sorted(found)]), loss


def config_of(made, task: str, objective: dict, **more):
    return made(
        task,
        FAMILY.get(task, "bert"),
        count=16,
        optimiser={"clip": 0.0},
        data={"group": "group"},
        objective=objective,
        **more,
    )


@pytest.mark.parametrize(("task", "objective"), ADDITIVE)
def test_the_parting_of_an_update_changes_nothing(made, task, objective):
    whole, loss = gradients(config_of(made, task, objective), 16, 1)
    parted, parted_loss = gradients(config_of(made, task, objective), 4, 4)
    assert (whole - parted).norm() < 1e-5 * whole.norm()
    assert parted_loss == pytest.approx(loss, rel=1e-5)


def first(trainer: Finetuner) -> tuple[dict, float]:
    """The first batch and its loss."""
    collate = trainer.data_collator
    rows = trainer.rows["train"]
    batch = collate([rows[i] for i in range(len(rows))])
    with torch.no_grad():
        return batch, float(trainer.compute_loss(trainer.model, batch))


def added(made, objective: dict, task: str = "sequence-classification"):
    """What a term of weight 1 adds to the loss of a batch, and the trainer and batch."""
    trainer = trainer_of(config_of(made, task, objective))
    batch, loss = first(trainer)
    _, plain = first(trainer_of(config_of(made, task, {})))
    return trainer, batch, loss - plain


def logits_of(trainer: Finetuner, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return trainer.model(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("objective", [{"reweighing": True}, {"class_weights": "balanced"}])
def test_rows_count_by_their_weight(made, objective):
    trainer = trainer_of(config_of(made, "sequence-classification", objective))
    batch, loss = first(trainer)
    logits, labels = (
        logits_of(trainer, batch["input_ids"], batch["attention_mask"]),
        batch["labels"],
    )
    keys = [*zip(batch["group"].tolist(), labels.tolist(), strict=True)]
    found = reweighed(keys) if "reweighing" in objective else balanced(labels.tolist())
    errors = torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
    assert loss == pytest.approx(np.average(errors, weights=found), rel=1e-5)
    assert loss != pytest.approx(errors.mean(), rel=1e-6)


def test_distance_from_the_beginning_is_half_its_square(made):
    trainer, _, term = added(made, {"l2_sp": 1.0})
    again = prepare(trainer.config).model.network  # as it was before it was moved
    was = {name: one.detach() for name, one in again.named_parameters()}
    moved = {name: one.detach() for name, one in trainer.model.named_parameters()}
    new = {"classifier.weight", "classifier.bias"}
    wanted = sum(float((moved[n] - was[n]).square().sum()) for n in was if n not in new) / 2
    assert {*trainer.start} == {*was} - new
    assert term == pytest.approx(wanted, rel=1e-3)


def test_new_parts_are_pulled_to_zero(made):
    trainer, _, term = added(made, {"l2_new": 1.0})
    head = [p.detach() for n, p in trainer.model.named_parameters() if n.startswith("classifier")]
    assert term == pytest.approx(sum(float(p.square().sum()) for p in head) / 2, rel=1e-3)


def test_answers_are_paired_with_those_to_counterfactuals(made):
    trainer, batch, term = added(made, {"logit_pairing": 1.0})
    names = trainer.pretrained.tokenizer.convert_ids_to_tokens
    pair = {"he": "she", "she": "he"}
    ids = batch["input_ids"]
    other = torch.tensor(
        [
            trainer.pretrained.tokenizer.convert_tokens_to_ids([pair.get(w, w) for w in names(row)])
            for row in ids.tolist()
        ]
    )
    mask = batch["attention_mask"]
    apart = logits_of(trainer, ids, mask) - logits_of(trainer, other, mask)
    assert bool((ids != other).any(dim=1).all())
    assert term == pytest.approx(float(apart.abs().mean(dim=1).mean()), rel=1e-3)


def test_two_passes_diverge_by_the_mean_of_both_ways(made):
    trainer = trainer_of(config_of(made, "sequence-classification", {"r_drop": 1.0}))
    batch, loss = first(trainer)
    given = batch["input_ids"], batch["attention_mask"]
    one, two = (logits_of(trainer, *given).log_softmax(dim=-1) for _ in range(2))
    kl = torch.nn.functional.kl_div
    both = (
        kl(one, two, log_target=True, reduction="none")
        + kl(two, one, log_target=True, reduction="none")
    ).sum(dim=1)
    labels = batch["labels"]
    errors = [torch.nn.functional.nll_loss(p, labels) for p in (one, two)]
    assert float(both.mean()) > 1e-6
    assert loss == pytest.approx(float(sum(errors) / 2 + both.mean() / 2), rel=1e-4)


@pytest.mark.parametrize("key", ["demographic_parity", "equalised_odds"])
def test_gaps_of_groups_are_counted_by_hand(made, key):
    trainer, batch, term = added(made, {key: 100.0})
    likely = logits_of(trainer, batch["input_ids"], batch["attention_mask"]).softmax(dim=-1)
    p, groups, labels = likely[:, 1].numpy(), batch["group"].numpy(), batch["labels"].numpy()
    strata = [labels == y for y in (0, 1)] if key == "equalised_odds" else [labels >= 0]
    gaps = [
        sum(abs(p[s & (groups == a)].mean() - p[s].mean()) for a in {*groups[s]}) for s in strata
    ]
    assert float(np.mean(gaps)) > 1e-5  # of probabilities, themselves good to 1e-7
    assert term == pytest.approx(100 * float(np.mean(gaps)), rel=3e-3)


def test_no_gap_where_groups_are_answered_alike():
    p = torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
    assert float(group_gap(p, torch.tensor([0, 0, 1, 1]))) == pytest.approx(0, abs=1e-7)
    assert float(group_gap(p, torch.tensor([0, 1, 0, 1]))) == pytest.approx(0.4)


@pytest.mark.parametrize("key", ["demographic_parity", "equalised_odds"])
def test_what_does_not_add_up_is_refused_in_parts(made, key):
    config = config_of(made, "sequence-classification", {key: 1.0}, training={"accumulate": 2})
    with pytest.raises(BadOption, match=rf"{key}.*accumulate to 1"):
        prepare(config)
    whole = config_of(made, "sequence-classification", {key: 1.0})
    assert [*terms_of(whole)] == [key]
    with pytest.raises(BadOption, match="2 processes"):
        terms_of(whole, processes=2)


@pytest.mark.parametrize("key", ["demographic_parity", "equalised_odds", "reweighing"])
def test_groups_must_be_known(made, key):
    with pytest.raises(BadOption, match=rf"objective.{key}: groups are not known.*data.group"):
        prepare(made(objective={key: 1}))


@pytest.mark.parametrize(
    ("task", "objective"),
    [
        ("causal-lm", {"logit_pairing": 1.0}),
        ("regression", {"r_drop": 1.0}),
        ("regression", {"label_smoothing": 0.1}),
        ("token-classification", {"demographic_parity": 1.0}),
        ("causal-lm", {"class_weights": "balanced"}),
        ("sequence-classification", {"class_weights": "balanced", "reweighing": True}),
    ],
)
def test_what_a_task_does_not_know_is_refused(made, task, objective):
    with pytest.raises(BadOption, match="objective"):
        prepare(config_of(made, task, objective))


def test_every_weight_of_the_configuration_is_a_term_or_has_a_place():
    elsewhere = {"label_smoothing", "l1", "mixout", "counterfactuals", "reweighing"}
    elsewhere |= {"pairs", "class_weights"}
    assert {*Objective.model_fields} == {*OBJECTIVES} | elsewhere


def test_labels_weigh_the_same_as_sklearn_has_it():
    labels = ["a"] * 5 + ["b"] * 2 + ["c"]
    found = dict(zip(labels, balanced(labels), strict=True))
    wanted = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=labels)
    assert [found[k] for k in "abc"] == pytest.approx(list(wanted))


def test_weights_make_group_and_label_independent():
    draw = np.random.default_rng(0)
    pairs = [(int(a), int(a) ^ int(b)) for a, b in zip(*draw.integers(0, 2, (2, 40)), strict=True)]
    pairs += [(0, 0)] * 30 + [(1, 1)] * 5
    weights = np.array(reweighed(pairs))
    table = np.zeros((2, 2))
    for (a, y), weight in zip(pairs, weights, strict=True):
        table[a, y] += weight / len(pairs)
    counts = np.array([[pairs.count((a, y)) for y in (0, 1)] for a in (0, 1)]) / len(pairs)
    assert np.allclose(table, np.outer(counts.sum(axis=1), counts.sum(axis=0)))
    assert reweighed([(a, y) for a in "ab" for y in "xyz"]) == pytest.approx([1.0] * 6)
    with pytest.raises(NotEnoughData, match="'a' has the label 'y'"):
        reweighed([("a", "x"), ("b", "x"), ("b", "y")])
