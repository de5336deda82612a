"""What docs/numbers.md says of a real checkpoint is what is measured on it."""

import re
from pathlib import Path

import pytest

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.shape_noise import shape_noise
from inspector.weights.stored_judgements import stored_judgement

ROOT = Path(__file__).resolve().parents[1]
PAGE = " ".join((ROOT / "docs" / "numbers.md").read_text(encoding="utf-8").split())
FRAGILE = "encoder.layer.4.attention.self.value.weight"


@pytest.fixture(scope="module")
def measured(minilm):
    checkpoint = open_checkpoint(str(minilm))
    names = ("spectrum", "init", "prune", "quantize", "neurons")
    return {name: stored_judgement(checkpoint, name) for name in names}


def test_the_worked_example_of_alpha(measured):
    spectra = measured["spectrum"]
    record = next(r for r in spectra if r.name == FRAGILE)
    top = spectra.arrays[FRAGILE][0] ** 2
    assert f"384 x 384, trained, {record.mp_spikes} spikes" in PAGE
    first = f"all 384 | **{record.alpha:.2f}** | {record.alpha_xmin:.1f} | {record.alpha_tail} |"
    assert first in PAGE
    assert f"without the largest ({top:.1f}) | **{record.alpha_drop_1:.2f}** |" in PAGE
    assert f"without the largest 2 | {record.alpha_drop_2:.2f} |" in PAGE
    assert f"without the largest 5 | {record.alpha_drop_5:.2f} |" in PAGE
    assert f"gives {record.alpha_low:.2f} to {record.alpha_high:.2f}" in PAGE
    assert record.alpha > record.alpha_high
    assert f"({record.alpha_ks:.3f} against 0.114: " in PAGE
    assert f"noise of this shape gets {record.alpha_ks_noise:.3f}" in PAGE
    noise = shape_noise(384, 384)
    low, high, middle = noise.alpha_low, noise.alpha_high, noise.alpha
    assert f"give {low:.1f} to {high:.0f}, with a median of {middle:.1f}" in PAGE
    pooler = next(r for r in spectra if r.name == "pooler.dense.weight")
    assert f"Its alpha is {pooler.alpha:.1f};" in PAGE
    assert f'the largest two eigenvalues it is {pooler.alpha_drop_2:.1f}, "well trained"' in PAGE


def test_counts_and_ranges_of_spectra(measured):
    spectra = measured["spectrum"]
    readings = spectra.summary["alpha_readings"]
    assert f"Of MiniLM's {sum(readings.values())} matrices with an alpha" in PAGE
    assert f"{readings['no verdict: it crosses a threshold']} get **no verdict**" in PAGE
    assert f'one is noise; {readings["2 to 6"]} say "2 to 6"' in PAGE
    assert readings["noise"] == readings["below 2"] == 1
    inside = [r for r in spectra if r.layer is not None]
    spikes = [r.mp_spikes for r in inside]
    assert f"have {min(spikes)} to {max(spikes)} inside the layers" in PAGE
    queries = [r.stable_rank for r in inside if r.role == "q"]
    assert f"query matrices have {min(queries):.0f} to {max(queries):.0f}" in PAGE


def test_numbers_of_other_judgements(measured):
    inside = [r for r in measured["init"] if r.layer is not None and r.rows]
    ks = [r.ks for r in inside]
    assert f"have {min(ks):.2g} to {max(ks):.2g} where fresh ones" in PAGE
    gain = measured["init"].summary["predicted_signal"][0]
    told = f"{gain['forward_total']:.2f} forward, {gain['backward_total']:.2f} backward"
    assert told in PAGE
    (model,) = [g for g in measured["prune"].summary["groups"] if g["by"] == "model"]
    half, most = (measured["prune"].summary["sparsities"].index(s) for s in (0.5, 0.9))
    for curve, word in (("energy_global", "loses"), ("energy_global_noise", "would lose")):
        told = f"{word} {model[curve][half] * 100:.1f} % and {model[curve][most] * 100:.1f} %"
        assert told in PAGE
    lost = {f["format"]: f["db_lost_weighted"] for f in measured["quantize"].summary["formats"]}
    assert re.search(
        rf"{lost['int8-tensor']:.1f} dB in int8 with one scale a tensor, {lost['int8-row']:.1f} "
        rf"with one a row, {lost['int4-g128']:.1f} in int4", PAGE
    )  # fmt: skip
    heads = measured["neurons"].summary["heads"]
    ranks = [h["ov_effective_rank"] for h in heads]
    assert f"OV ranks are {min(ranks):.1f} to {max(ranks):.1f} of 32" in PAGE
    copying = [h["copying"] for h in heads]
    assert f"from {min(copying):.3f} to {max(copying):.3f}" in PAGE
    most = max(c["score"] for c in measured["neurons"].summary["composition"])
    assert f"its largest is {most:.2f}" in PAGE
