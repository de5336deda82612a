"""A bias planted in one place: that place is found, as a rule (acceptance test 16)."""

import numpy as np
import pytest
from fairness.planting import (
    LAYERS,
    as_model,
    balanced,
    effects,
    leading,
    planted_in_block,
    planted_in_matrix,
    untrained,
)

from inspector.fairness.parts import writing
from inspector.fairness.uncertainty import wilson

FAMILIES = ("llama", "gpt2", "bert")
LEAST = 0.2  # nats of gap below which nothing was planted
STRENGTH = 3.0  # of the edit, in units of the stream


def planted_matrix(family, number, seed, folder):
    """The matrix that was edited, and the one that is ranked first."""
    model = as_model(untrained(family, seed), family, folder)
    name = writing(model)[number][0]
    planted_in_matrix(model, folder, name.removesuffix(".weight"), STRENGTH)
    gap, found = effects(model, folder, "matrices", "direction")
    return name, leading(found), gap


@pytest.mark.parametrize("family, number", [("llama", 3), ("gpt2", 2), ("bert", 5)])
def test_a_rank_one_edit_of_one_matrix_is_found(tmp_path, family, number):
    edited, first, gap = planted_matrix(family, number, 0, tmp_path)
    assert first == edited
    assert gap > LEAST


def planted_block(family, seed, block, folder, steps):
    """Gap, and the block without which the least of it is left."""
    network = balanced(family, seed, steps)
    planted_in_block(network, family, block, seed, steps)
    gap, found = effects(as_model(network, family, folder), folder, "layers", "write")
    return gap, int(np.abs(gap - np.array(list(found.values()))).argmin())


def test_the_block_that_was_trained_is_found(tmp_path):
    gap, block = planted_block("llama", 0, 1, tmp_path, 60)
    assert block == 1
    assert gap > LEAST


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_the_block_that_was_trained_is_found_over_seeds(tmp_path, family):
    runs = []
    for seed in range(20):
        gap, block = planted_block(family, seed, seed % LAYERS, tmp_path / str(seed), 100)
        runs.append((gap >= LEAST, block == seed % LAYERS))
    found = [hit for took, hit in runs if took]
    assert len(found) >= 10, runs
    assert wilson(sum(found), len(found)).low > 1 / LAYERS, runs


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_rank_one_edits_are_found_over_seeds(tmp_path, family):
    runs = []
    for seed in range(24):
        number = seed % (2 * LAYERS)
        edited, first, _ = planted_matrix(family, number, seed, tmp_path / str(seed))
        runs.append((edited, first))
    assert sum(edited == first for edited, first in runs) >= 22, runs
