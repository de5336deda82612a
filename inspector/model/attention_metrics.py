"""What is measured on rows of attention: one pure function per metric, and the table of them."""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LEAST_MASS = 1e-12  # of a row, so that one given wholly to a learned sink divides by something


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Attention of consecutive queries: `weights` over the keys from `first_key` on.

    Keys outside that range got nothing. `scratch`, where given, has the shape of `weights` and
    may be overwritten by whoever holds the rows; `weights` may not. `seen` counts the keys that
    each query may see. `layout` numbers the masks of one forward; `visible` says which keys those
    are, given once for each layout.
    """

    weights: Float[Tensor, "batch heads queries keys"]
    tokens: Int[Tensor, "batch tokens"]
    seen: Int[Tensor, "#batch queries"]
    first_query: int = 0
    first_key: int = 0
    layout: int = 0
    visible: Bool[Tensor, "#batch 1 queries keys"] | None = None
    values: Float[Tensor, "batch groups tokens dim"] | None = None
    scratch: Float[Tensor, "batch heads queries keys"] | None = None

    @cached_property
    def queries(self) -> Int[Tensor, " queries"]:
        """Positions of the queries, from 0."""
        size = self.weights.shape[2]
        return torch.arange(size, device=self.weights.device) + self.first_query

    @cached_property
    def keys(self) -> Int[Tensor, " keys"]:
        """Positions of the keys, from 0."""
        size = self.weights.shape[3]
        return torch.arange(size, device=self.weights.device) + self.first_key

    @cached_property
    def spread(self) -> Float[Tensor, "batch heads queries"]:
        """Entropy of each row scaled to sum 1, in nats."""
        mass = self.mass.clamp_min(LEAST_MASS)
        terms: Tensor = torch.special.entr(self.weights, out=self.scratch)
        return terms.sum(-1) / mass + mass.log()

    @cached_property
    def mass(self) -> Float[Tensor, "batch heads queries"]:
        """Sum of each row: 1, or less where a learned sink takes a share."""
        return self.weights.sum(-1)

    @cached_property
    def reach(self) -> Float[Tensor, "batch heads queries"]:
        """Sum over keys of attention times distance in tokens."""
        return self.within((self.queries[:, None] - self.keys).abs()[None].to(self.weights.dtype))

    def within(
        self, pattern: Float[Tensor, "#batch queries keys"]
    ) -> Float[Tensor, "batch heads queries"]:
        """Sum over keys of attention times a pattern, which all heads share."""
        return torch.mul(self.weights, pattern[:, None], out=self.scratch).sum(-1)

    def at(self, keys: Int[Tensor, " queries"]) -> Float[Tensor, "batch heads queries"]:
        """Attention of each query to one key; 0 where that key is outside the range."""
        column = keys - self.first_key
        inside = (column >= 0) & (column < self.weights.shape[3])
        row = torch.arange(len(column), device=column.device)
        found: Tensor = self.weights[:, :, row, column.clamp(0, self.weights.shape[3] - 1)]
        return found * inside

    def follows(self, back: int) -> Float[Tensor, "batch queries keys"]:
        """1 where an earlier key stands `back` places after a token equal to the query's."""
        return self._matches(self.keys, back).to(self.weights.dtype)

    def has(self, back: int) -> Float[Tensor, "batch 1 queries"]:
        """1 for queries of which some earlier key in the text follows so, in sight or not."""
        every = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return self._matches(every, back).any(-1).to(self.weights.dtype)[:, None]

    def _matches(self, keys: Int[Tensor, " k"], back: int) -> Bool[Tensor, "batch queries k"]:
        before = self.tokens[:, (keys - back).clamp_min(0)]
        same = self.tokens[:, self.queries, None] == before[:, None]
        return same & (keys >= back) & (keys < self.queries[:, None])


Values = Float[Tensor, "batch heads queries"]
Counts = Float[Tensor, "batch #heads queries"]


def uniform(rows: Rows) -> Rows:
    """The same queries with attention spread evenly over what they see: the null of each metric."""
    assert rows.visible is not None
    even = rows.visible.float()
    even = even / even.sum(-1, keepdim=True).clamp_min(1)
    return dataclasses.replace(
        rows, weights=even.expand(len(rows.tokens), -1, -1, -1), scratch=None, values=None
    )


def entropy(rows: Rows) -> Values:
    """-sum A ln A in nats, of the row scaled to sum 1; ln i for a uniform causal row i."""
    return rows.spread


def entropy_normalised(rows: Rows) -> Values:
    """Entropy over ln of the number of keys in sight; 1 for a uniform row, 0 for one key."""
    return rows.spread / rows.seen[:, None].clamp_min(2).log() * has_choice(rows)


def has_choice(rows: Rows) -> Counts:
    """1 for queries that see two keys or more; others have no normalised entropy."""
    return (rows.seen > 1).to(rows.weights.dtype)[:, None]


def sink_mass(rows: Rows) -> Values:
    """Attention to the first token (Xiao 2023); 1 is a head that only parks its attention."""
    return rows.at(torch.zeros_like(rows.queries))


def learned_sink(rows: Rows) -> Values:
    """What a row lacks to 1: the share of a sink logit that is no token (gpt-oss)."""
    return 1 - rows.mass


def previous_token(rows: Rows) -> Values:
    """Attention to the token before; 1 for a perfect previous-token head."""
    return rows.at(rows.queries - 1)


def own_token(rows: Rows) -> Values:
    """Attention of a token to itself."""
    return rows.at(rows.queries)


def confidence(rows: Rows) -> Values:
    """The largest attention in the row (Voita 2019)."""
    return rows.weights.amax(-1)


def duplicate_token(rows: Rows) -> Values:
    """Attention to earlier occurrences of the same token (Wang 2022)."""
    return rows.within(rows.follows(0))


def has_duplicate(rows: Rows) -> Counts:
    """1 for queries whose token occurred before; the others are not counted."""
    return rows.has(0)


def induction(rows: Rows) -> Values:
    """Attention to what followed earlier occurrences of the same token (Olsson 2022)."""
    return rows.within(rows.follows(1))


def induction_neighbours(rows: Rows) -> Values:
    """Attention one place before or after where induction looks, the mean of both."""
    return rows.within((rows.follows(0) + rows.follows(2)) / 2) * has_repeat(rows)


def has_repeat(rows: Rows) -> Counts:
    """1 for queries with an earlier token for induction to look at; others are not counted."""
    return rows.has(1)


def mean_distance(rows: Rows) -> Values:
    """Attention times |query - key| in tokens, over the mass (Vig & Belinkov 2019)."""
    return rows.reach


def mean_distance_without_sink(rows: Rows) -> Values:
    """The same without the first token, over the mass that is left."""
    return rows.reach - sink_mass(rows) * rows.queries


def mass(rows: Rows) -> Counts:
    """What a row gives to tokens."""
    return rows.mass


def mass_without_sink(rows: Rows) -> Counts:
    """What a row gives to tokens other than the first."""
    return (rows.mass - sink_mass(rows)).clamp_min(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A mean over rows: the sum of `of` over that of `over`, which if None is 1 for every row.

    It lies between 0 and `high`; `repeated` ones are measured on repeated random blocks.
    """

    of: Callable[[Rows], Values]
    over: Callable[[Rows], Counts] | None = None
    unit: str = "fraction"
    high: float | None = 1.0
    repeated: bool = False


ATTENTION_METRICS: dict[str, Metric] = {
    "entropy": Metric(of=entropy, unit="nats", high=None),
    "entropy_normalised": Metric(
        of=entropy_normalised, over=has_choice, unit="fraction of ln(keys in sight)"
    ),
    "sink_mass": Metric(of=sink_mass),
    "learned_sink": Metric(of=learned_sink),
    "previous_token": Metric(of=previous_token),
    "own_token": Metric(of=own_token),
    "confidence": Metric(of=confidence),
    "duplicate_token": Metric(of=duplicate_token, over=has_duplicate),
    "induction": Metric(of=induction, over=has_repeat, repeated=True),
    "induction_neighbours": Metric(of=induction_neighbours, over=has_repeat, repeated=True),
    "mean_distance": Metric(of=mean_distance, over=mass, unit="tokens", high=None),
    "mean_distance_without_sink": Metric(
        of=mean_distance_without_sink, over=mass_without_sink, unit="tokens", high=None
    ),
}
