"""Published super weights: single numbers whose removal breaks the model, as known answers."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuperWeight:
    """One weight of `layers.LAYER.mlp.down_proj`: [row, column] = [output, input], from 0.

    `rows` and `columns` are the shape of that matrix in that model.
    """

    model: str
    layer: int
    row: int
    column: int
    rows: int
    columns: int


# Model, shape of down_proj, (layer, row, column)...; github.com/mengxiayu/LLMSuperWeight, the code
# of "The Super Weight in Large Language Models" (arXiv 2411.07191).
_PUBLISHED: tuple[tuple[str, tuple[int, int], tuple[tuple[int, int, int], ...]], ...] = (
    ("llama-7B", (4096, 11008), ((2, 3968, 7003),)),
    ("llama-13B", (5120, 13824), ((2, 2231, 2278), (2, 2231, 6939))),
    ("llama-30B", (6656, 17920), ((3, 5633, 12817), (3, 5633, 17439), (10, 5633, 14386))),
    ("Mistral-7B-v0.1", (4096, 14336), ((1, 2070, 7310),)),
    ("Meta-Llama-3-8B", (4096, 14336), ((1, 788, 2427), (1, 1384, 2427), (1, 4062, 2427))),
    ("OLMo-1B-0724", (2048, 8192), ((1, 1764, 1710), (2, 1764, 8041))),
    (
        "OLMo-7B-0724",
        (4096, 11008),
        ((1, 269, 7467), (2, 269, 8275), (7, 269, 453), (24, 269, 2300)),
    ),
    (
        "Phi-3-mini-4k",
        (3072, 8192),
        (
            *((2, 525, 808), (2, 1693, 808), (2, 1113, 808)),
            *((4, 525, 2723), (4, 1113, 2723), (4, 1693, 2723)),
        ),
    ),
)
SUPER_WEIGHTS: tuple[SuperWeight, ...] = tuple(
    SuperWeight(model=model, layer=layer, row=row, column=column, rows=shape[0], columns=shape[1])
    for model, shape, places in _PUBLISHED
    for layer, row, column in places
)


def published(layer: int | None, row: int, column: int, shape: tuple[int, int]) -> tuple[str, ...]:
    """Models of which this weight of a down projection of that shape is a published super weight.

    Empty where none is. Models of one shape share nothing else, so a match is a lead, no proof.
    """
    place = (layer, row, column, *shape)
    return tuple(
        weight.model
        for weight in SUPER_WEIGHTS
        if (weight.layer, weight.row, weight.column, weight.rows, weight.columns) == place
    )
