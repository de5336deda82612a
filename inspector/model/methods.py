"""What the methods of attribution are and promise: plain data, naming them loads nothing."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Mapping
from typing import Final, Literal

LIBRARIES = ("captum", "scikit-learn", "torch", "transformers")
_version = functools.cache(importlib.metadata.version)  # it reads a file
SUMS = "promised", "in expectation", "not promised"  # whether scores sum to F(x) - F(x')


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """By what a method works, whether its scores sum to F(x) - F(x'), and what it does.

    `samples` is its default number of steps or samples, 0 where it takes none.
    """

    title: str
    by: Literal["gradient", "replacing"]
    sums: str
    samples: int
    about: str


METHODS: Final[Mapping[str, About]] = {
    "integrated-gradients": About(
        title="Integrated Gradients",
        by="gradient",
        sums=SUMS[0],
        samples=50,
        about="gradients along the straight way from the baseline's embeddings (Sundararajan 2017)",
    ),
    "gradient-x-activation": About(
        title="Gradient x Activation",
        by="gradient",
        sums=SUMS[2],
        samples=0,
        about="the gradient at the text times its embeddings: one step, no baseline",
    ),
    "gradient-shap": About(
        title="GradientShap",
        by="gradient",
        sums=SUMS[1],
        samples=50,
        about="gradients at random points of the way from the baseline (Lundberg 2017)",
    ),
    "feature-ablation": About(
        title="Feature Ablation",
        by="replacing",
        sums=SUMS[2],
        samples=0,
        about="what is lost when each word alone is replaced",
    ),
    "shapley-sampling": About(
        title="Shapley sampling",
        by="replacing",
        sums=SUMS[0],
        samples=25,
        about="what each word adds, over random orders in which words come (Castro 2009)",
    ),
    "kernel-shap": About(
        title="Kernel SHAP",
        by="replacing",
        sums=SUMS[0],
        samples=200,
        about="Shapley values by a weighted regression on random sets of words (Lundberg 2017)",
    ),
    "lime": About(
        title="LIME",
        by="replacing",
        sums=SUMS[2],
        samples=200,
        about="a sparse linear model of the answer around the text (Ribeiro 2016)",
    ),
}
"""Every method by its name; what runs each one stands in `attribution.RUN`."""


def versions() -> dict[str, str]:
    """Versions of the libraries that answers of models hang on."""
    return {name: _version(name) for name in LIBRARIES}
