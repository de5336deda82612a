"""Calibrate probes on models of known bias: `python benchmarks/calibration.py [--balanced 200]`.

Trains small models from scratch, each from a seed of its own, and asks the probes about them. Every
model is a line of FILE as soon as it is probed, so that the campaign can be stopped and goes on.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from inspector.demo.recipes import Recipe
from inspector.fairness.calibration import AGAINST, CHEAP, calibrated, recipe_of
from inspector.fairness.calibration_summary import Calibration, summarised
from inspector.fairness.calibration_table import table

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)
SEED = 1000  # far from the seeds of the shipped models


def campaign(balanced: int, models: int, kinds: list[str]) -> Iterator[Recipe]:
    """All recipes, each from a seed of its own, those of all strengths among the balanced ones."""
    for kind in kinds:
        for i in range(max(balanced, models)):
            if i < balanced:
                yield recipe_of(kind, max(STRENGTHS), SEED + i, balanced=True)
            for place, strength in enumerate((*STRENGTHS, AGAINST) if i < models else ()):
                yield recipe_of(kind, strength, (2 + place) * SEED + i)


def name(recipe: Recipe) -> str:
    """What the recipe is, as one word of the file."""
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def read(file: Path) -> dict[str, list[Calibration]]:
    """What was found before, by recipe; a line that was cut off is left out, and closed."""
    found = {}
    text = file.read_text() if file.exists() else ""
    for line in text.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        found[one["recipe"]] = [Calibration(**record) for record in one["records"]]
    if text and not text.endswith("\n"):
        file.write_text(f"{text}\n")
    return found


def main() -> None:
    """Run the campaign and print its table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--file", type=Path, default=Path("calibration.jsonl"))
    arguments.add_argument("--balanced", type=int, default=4)
    arguments.add_argument("--models", type=int, default=2)
    arguments.add_argument("--kinds", nargs="+", default=list(CHEAP), choices=list(CHEAP))
    arguments.add_argument("--seconds", type=float, default=float("inf"))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    known = read(given.file)
    records = []
    for recipe in campaign(given.balanced, given.models, given.kinds):
        key = name(recipe)
        if key not in known:
            if time.monotonic() - start > given.seconds:
                continue
            known[key] = list(calibrated(recipe))
            line = {"recipe": key, "records": [dataclasses.asdict(one) for one in known[key]]}
            with given.file.open("a") as out:
                out.write(json.dumps(line) + "\n")
            print(len(known), recipe.kind, recipe.seed, recipe.beta, file=sys.stderr)
        records += known[key]
    print(table(summarised(records)))


if __name__ == "__main__":
    main()
