"""Attention through all layers: rollout and flow; both ignore values, MLPs and norms."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow

MOST_FLOW = 64  # tokens: each key takes a maximum flow through T^2 L edges
WHOLE = 1 << 30  # capacity of a row in integers, to which rounding adds 1e-9


def mixed(mean: Float[np.ndarray, "queries keys"]) -> Float[np.ndarray, "queries keys"]:
    """Half the attention averaged over heads, scaled to rows of 1, half the residual stream.

    Abnar & Zuidema 2020: 0.5 A + 0.5 I.
    """
    total = mean.sum(-1, keepdims=True)
    rows = np.divide(mean, total, out=np.zeros_like(mean), where=total > 0)
    return np.asarray(0.5 * rows + (1 - 0.5 * rows.sum(-1, keepdims=True)) * np.eye(len(mean)))


def rollout(
    layers: Sequence[Float[np.ndarray, "queries keys"]],
) -> Float[np.ndarray, "queries keys"]:
    """Product of the mixed attention of each layer, the first one rightmost; rows sum to 1."""
    found = np.eye(len(layers[0]))
    for mean in layers:
        found = mixed(mean) @ found
    return found


def flow(
    layers: Sequence[Float[np.ndarray, "queries keys"]], query: int
) -> Float[np.ndarray, " keys"]:
    """Maximum flow from a query above the last layer to each token below the first.

    Capacities are the mixed attentions (Abnar & Zuidema 2020). Between 0 and 1; flows to
    different tokens share edges, so they need not sum to 1.
    """
    size = len(layers[0])
    starts, ends, room = [], [], []
    for depth, mean in enumerate(layers, 1):
        capacity = np.rint(mixed(mean) * WHOLE).astype(np.int32)
        query_at, key_at = capacity.nonzero()
        starts.append(depth * size + query_at)
        ends.append((depth - 1) * size + key_at)
        room.append(capacity[query_at, key_at])
    nodes = (len(layers) + 1) * size
    place = (np.concatenate(starts), np.concatenate(ends))
    graph = coo_array((np.concatenate(room), place), shape=(nodes, nodes)).tocsr()
    top = len(layers) * size + query
    return np.array([maximum_flow(graph, top, key).flow_value / WHOLE for key in range(size)])
