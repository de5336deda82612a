"""What parts carry of a gap: laws, and runs by hand."""

import numpy as np
import pytest
import torch
from fairness.contrasting import (
    ADDED,
    ALL,
    BEHIND,
    EVEN,
    LONGER,
    PATHS,
    PIECES,
    contrast,
    gap,
    log_odds,
    one_row,
    rows_of,
)
from fairness.talkers import precise, saved

from inspector.engine import no_progress
from inspector.fairness.carried import Asked, Carried, carried
from inspector.fairness.contrasts import Reading, read_contrasts
from inspector.fairness.localize_records import WHAT
from inspector.fairness.patching import batches, put, put_before, run, see, writers
from inspector.fairness.sentences import Excluded
from inspector.model.gates import sites
from inspector.model.load import load

STEP = 1e-3  # Llama's norms compute in float32 whatever the model is in


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """Tiny random models in float64, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = precise(load(saved(name, tmp_path_factory.mktemp(name))))
        return made[name]

    return get


def asked(model, contrasts):
    read = read_contrasts(model, contrasts)
    owned = [(n, r) for n, one in enumerate(read) if not isinstance(one, Excluded) for r in one]
    return Asked(
        readings=tuple(r for _, r in owned),
        owners=np.array([n for n, _ in owned]),
        weights=np.ones(len(read)),
    )


def column(found: Carried, quantity: str, name: str) -> np.ndarray:
    (number,) = [
        n for n, one in enumerate(found.parts) if (one.quantity, one.name) == (quantity, name)
    ]
    return found.effects[:, number]


def usable(name):
    """All sorts of contrasts for some models, for others those that are the hardest to align."""
    if name in ("gpt2", "bert"):
        return [one for one in ALL if name == "bert" or one is not BEHIND]
    return [PIECES, LONGER]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "distilbert", "gemma2", "opt"])
def test_everything_and_nothing(talker, name):
    """All that blocks add, with what the first is given: the neutral reading. Own values: none."""
    model = talker(name)
    given = usable(name)
    one = asked(model, given)
    modules = {module for block in model.blocks for module in writers(block)}
    with torch.no_grad():
        found = carried(model, one, ("layers",), no_progress)
        for batch in batches(model, one.readings):
            target = see(model, batch.target, tuple(modules))
            neutral = see(model, batch.neutral, tuple(modules))
            everywhere = torch.ones(batch.target.ids.shape, dtype=torch.bool)
            begin = put_before(model.blocks[0].module, batch.faced(neutral.begin), everywhere)
            every = [put(m, batch.faced(neutral.given[m])) for m in modules]
            same = [put(m, target.given[m]) for m in modules]
            assert torch.equal(run(model, batch.target, same), target.value)
            torch.testing.assert_close(
                run(model, batch.target, [begin, *every]), neutral.value, rtol=1e-9, atol=1e-9
            )
    expected = [gap(model, each) for each in given]
    last = f"layer {len(model.blocks) - 1}"
    assert np.abs(found.gaps).max() > 1e-4
    np.testing.assert_allclose(found.gaps, expected, atol=1e-9)
    for quantity in ("lens", "stream-here"):
        np.testing.assert_allclose(column(found, quantity, last), expected, atol=1e-9)
    np.testing.assert_allclose(column(found, "stream-elsewhere", last), 0, atol=1e-12)


@pytest.mark.parametrize(
    "name, one",
    [("gpt2", LONGER), ("llama", EVEN), ("bert", EVEN), ("roberta", LONGER)],
    ids=["gpt2", "llama", "bert", "roberta"],
)
def test_effects_equal_runs_by_hand(talker, name, one):
    """Patched by plain hooks in whole runs, with the alignment written out."""
    model = talker(name)
    blocks, attention, mlp = PATHS[name]
    found = carried(model, asked(model, [one]), ("layers", "blocks"), no_progress)
    (ids, place), (other, across) = rows_of(model, one)
    shift = len(other) - len(ids)
    assert across == place + shift
    first = 2 if one is EVEN else 4  # <s> and the target; then shared tokens
    faced = [0, *[1] * (first - 1), *range(first + shift, len(other))]
    own = one_row(model, ids, place, one.words)

    def given(path):
        seen = []
        one_row(model, other, across, one.words, {path: lambda out: seen.append(out) or out})
        return seen[0][:, faced]

    def lost(*paths, only=slice(None)):
        changes = {}
        for path in paths:
            new = given(path)

            def change(out, new=new):
                out = out.clone()
                out[:, only] = new[:, only]
                return out

            changes[path] = change
        return own - one_row(model, ids, place, one.words, changes)

    for layer in range(len(model.blocks)):
        at, name_of = f"{blocks}.{layer}", f"layer {layer}"
        elsewhere = [i for i in range(len(ids)) if i != place]
        for quantity, name_of_part, expected in (
            ("write", name_of, lost(f"{at}.{attention}", f"{at}.{mlp}")),
            ("write", f"{name_of} attention", lost(f"{at}.{attention}")),
            ("write", f"{name_of} mlp", lost(f"{at}.{mlp}")),
            ("stream-here", name_of, lost(at, only=[place])),
            ("stream-elsewhere", name_of, lost(at, only=elsewhere)),
        ):
            got = column(found, quantity, name_of_part)[0]
            assert got == pytest.approx(expected, abs=1e-9), (quantity, name_of_part)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_heads(talker, name):
    """Taking a head out equals zeroing its rows of the projection; slopes are differences."""
    model = talker(name)
    one = asked(model, [PIECES])
    found = carried(model, one, ("heads",), no_progress)
    assert len(found.parts) == sum(site.heads for site in sites(model))
    for site, head in ((sites(model)[0], 1),):
        weight = site.output.weight
        width = (weight.shape[0] if name == "gpt2" else weight.shape[1]) // site.heads
        own = slice(head * width, (head + 1) * width)
        part = weight[own] if name == "gpt2" else weight[:, own]

        def scaled(by, part=part):
            before = part.detach().clone()
            with torch.no_grad():
                part.mul_(by)
                value = gap(model, PIECES)
                part.copy_(before)
            return value

        (number,) = [n for n, p in enumerate(found.parts) if p.name == f"{site.name} head {head}"]
        lost = found.gaps[0] - scaled(0)
        assert found.effects[0, number] == pytest.approx(lost, abs=1e-9)
        slope = (scaled(1 + STEP) - scaled(1 - STEP)) / (2 * STEP)
        assert found.slopes[0, number] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def slope_by_steps(model, path, ids, place, words):
    """How the log-odds rise with each coordinate of what a module gives at a place."""
    slope = []
    for axis in STEP * torch.eye(32, dtype=torch.float64):
        ends = []
        for sign in (1, -1):

            def nudged(out, move=sign * axis):
                out = out.clone()
                out[0, place] += move
                return out

            ends.append(one_row(model, ids, place, words, {path: nudged}))
        slope.append(ends[0] - ends[1])
    return torch.tensor(slope, dtype=torch.float64)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_matrices_along_the_direction_of_the_words(talker, name):
    """The direction is what the unembedding reads, through the norm's weights; BERT's the slope."""
    model = talker(name)
    found = carried(model, asked(model, [EVEN]), ("matrices",), no_progress)
    blocks, attention, mlp = PATHS[name]
    (ids, place), (other, across) = rows_of(model, EVEN)
    if name == "bert":
        path = f"{blocks}.{len(model.blocks) - 1}"
        toward = slope_by_steps(model, path, ids, place, EVEN.words)
    else:
        one, two = model.tokenizer.convert_tokens_to_ids(list(EVEN.words))
        rows = model.network.get_output_embeddings().weight.detach()
        norm = model.network.get_submodule("transformer.ln_f" if name == "gpt2" else "model.norm")
        toward = (rows[one] - rows[two]) * norm.weight.detach()
        toward = toward - toward.mean() if name == "gpt2" else toward
    toward /= toward.norm()
    by_path = {
        f"{blocks}.{layer}.{end}": (layer, role)
        for layer in range(len(model.blocks))
        for end, role in ((attention, "o"), (mlp, "down"))
    }
    assert [(p.layer, p.role) for p in found.parts] == list(by_path.values())
    for path, effect in zip(by_path, found.effects[0], strict=True):
        seen = []

        def watch(out, seen=seen):
            seen.append(out)
            return out

        one_row(model, other, across, EVEN.words, {path: watch})

        def put_along(out, seen=seen):
            return out + ((seen[0] - out) @ toward)[..., None] * toward

        lost = one_row(model, ids, place, EVEN.words) - one_row(
            model, ids, place, EVEN.words, {path: put_along}
        )
        assert effect == pytest.approx(lost, abs=1e-4), path


def test_facing():
    def facing(ids, neutral, place, across):
        one = Reading(
            ids=ids,
            neutral=neutral,
            places=(place,),
            neutral_places=(across,),
            wanted=(0,),
            signs=(1,),
        )
        found = one.facing()
        np.testing.assert_allclose(found.sum(1), 1)
        return [{int(j): float(row[j]) for j in row.nonzero()[0]} for row in found]

    assert facing((1, 2, 3, 4), (1, 5, 3, 4), 3, 3) == [{0: 1.0}, {1: 1.0}, {2: 1.0}, {3: 1.0}]
    half = {1: 0.5, 2: 0.5}
    assert facing((1, 2, 3, 4), (1, 5, 6, 3, 4), 3, 4) == [{0: 1.0}, half, {3: 1.0}, {4: 1.0}]
    assert facing((1, 2, 6, 3, 4), (1, 3, 4), 4, 2) == [
        {0: 1.0},
        {0: 1.0},
        {0: 1.0},
        {1: 1.0},
        {2: 1.0},
    ]
    # the place that is read is the target's last token
    assert facing((1, 2, 3), (1, 5), 2, 1) == [{0: 1.0}, {1: 1.0}, {1: 1.0}]
    # no token before: the first shared one
    assert facing((7, 2, 3), (2, 3), 2, 1) == [{0: 1.0}, {0: 1.0}, {1: 1.0}]


def test_what_cannot_be_read_says_why(talker):
    model = talker("llama")
    unknown = contrast("a", "zebra", ("f", "g"))
    found = read_contrasts(model, [BEHIND, unknown, ADDED])
    assert isinstance(found[0], Excluded) and found[0].reason == "words first"
    assert isinstance(found[1], Excluded) and found[1].reason == "unknown"
    assert not isinstance(found[2], Excluded)
    assert len(read_contrasts(talker("bert"), [BEHIND])[0]) == 1


def test_the_model_is_as_it_was(talker):
    model = talker("gpt2")
    before = {name: p.clone() for name, p in model.network.named_parameters()}
    own = log_odds(model, "a c ", " d", ("f", "g"))
    asks = [p.requires_grad for p in model.network.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.network.modules()]
    carried(model, asked(model, [EVEN, PIECES]), WHAT, no_progress)
    assert log_odds(model, "a c ", " d", ("f", "g")) == own
    assert all(torch.equal(p, before[name]) for name, p in model.network.named_parameters())
    assert [p.requires_grad for p in model.network.parameters()] == asks
    assert hooks == [
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.network.modules()
    ]
