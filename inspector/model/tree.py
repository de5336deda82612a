"""Many continuations of shared beginnings in one forward: each shared token is read once."""

import dataclasses
import inspect
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inspector.model.targets import Scorer

NODES = 512  # tokens of one forward, past which looking at each other costs more than is saved
ABSENT = -1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """Rows of ids as a tree in which equal beginnings are one; what is remembered is not in it.

    `depth` is a node's position in its row, `start` how many remembered tokens lie before its
    branch, `sees` which nodes (itself among them) lie on its way. `node_of` is ABSENT where a row
    has ended or is remembered.
    """

    ids: Int[np.ndarray, " nodes"]
    depth: Int[np.ndarray, " nodes"]
    start: Int[np.ndarray, " nodes"]
    sees: Bool[np.ndarray, "nodes nodes"]
    node_of: Int[np.ndarray, "rows tokens"]


def grow(rows: Int[np.ndarray, "rows tokens"], known: Int[np.ndarray, " known"]) -> Tree:
    """The tree of rows (ABSENT behind their end), of which `known` is a remembered beginning."""
    node_of = np.full(rows.shape, ABSENT)
    parent = np.full(len(rows), ABSENT)
    start = np.zeros(len(rows), dtype=int)
    on_path = np.ones(len(rows), dtype=bool)
    nodes: list[tuple[int, int, int, int]] = []  # id, depth, start, parent
    for depth in range(rows.shape[1]):
        on_path &= depth < len(known) and rows[:, depth] == known[min(depth, len(known) - 1)]
        start[on_path] = depth + 1
        new: dict[tuple[int, int], int] = {}
        for row in np.flatnonzero(~on_path & (rows[:, depth] != ABSENT)):
            key = (int(parent[row]), int(rows[row, depth]))
            if key not in new:
                new[key] = len(nodes)
                nodes.append((key[1], depth, int(start[row]), key[0]))
            parent[row] = node_of[row, depth] = new[key]
    sees = np.eye(len(nodes), dtype=bool)
    for node, (_, _, _, above) in enumerate(nodes):
        if above != ABSENT:
            sees[node] |= sees[above]
    ids, depths, starts, _ = (np.array(column, dtype=int) for column in zip(*nodes, strict=True))
    return Tree(ids=ids, depth=depths, start=starts, sees=sees, node_of=node_of)


def can_grow(scorer: Scorer) -> bool:
    """Whether a network takes positions and a mask of its own; a short window would be ignored."""
    given = inspect.signature(scorer.network.forward).parameters
    config = scorer.network.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    tokens = len(scorer.question.ids) + max(map(len, scorer.question.answers))
    return (
        scorer.reuse
        and {"position_ids", "logits_to_keep"} <= given.keys()
        and not getattr(config, "alibi", False)
        and (window is None or tokens <= window)
    )


def by_tree(
    scorer: Scorer,
    prompts: Int[Tensor, "rows tokens"],
    remembered: int,
    noise: Float[Tensor, "tokens width"] | None,
    most: int = NODES,
) -> Iterator[tuple[Int[np.ndarray, " part"], Float[Tensor, "part answers"]]]:
    """Which rows, and the log-probability of each answer after them, forward by forward.

    The first `remembered` tokens of the prompt are read from memory where a row begins with them.
    """
    answers = scorer.question.answers
    fed = list(dict.fromkeys(answer[:-1] for answer in answers))
    ids = prompts.cpu().numpy()
    known = scorer.question.ids[:remembered].cpu().numpy()
    longest = max(map(len, fed))
    for part in _parts(ids, known, len(fed) * (longest + 1), most):
        rows = np.full((len(part), len(fed), ids.shape[1] + longest), ABSENT)
        rows[:, :, : ids.shape[1]] = ids[part][:, None]
        for i, one in enumerate(fed):
            rows[:, i, ids.shape[1] : ids.shape[1] + len(one)] = one
        tree = grow(rows.reshape(-1, rows.shape[-1]), known)
        node_of = tree.node_of.reshape(rows.shape)[:, :, ids.shape[1] - 1 :]
        wanted, place = np.unique(node_of, return_inverse=True)
        place = place.reshape(node_of.shape) - int(wanted[0] == ABSENT)
        values = _logits(scorer, tree, wanted[wanted != ABSENT], remembered, noise).float()
        values = values.log_softmax(-1)
        columns = []
        for answer in answers:
            at = torch.from_numpy(place[:, fed.index(answer[:-1]), : len(answer)]).to(values.device)
            token = torch.tensor(answer, device=values.device)
            columns.append(values[at, token].sum(-1))
        yield part, torch.stack(columns, 1)


def _parts(
    ids: Int[np.ndarray, "rows tokens"], known: Int[np.ndarray, " known"], after: int, most: int
) -> Iterator[Int[np.ndarray, " part"]]:
    """Rows as a dictionary orders them, so that neighbours share most; `most` nodes in a part."""
    order = np.lexsort(ids.T[::-1])
    begin, nodes = 0, 0
    for i, row in enumerate(order):
        beside = ids[order[i - 1]] if i > begin else ids[row, :0]
        more = ids.shape[1] - max(_shared(ids[row], beside), _shared(ids[row], known)) + after
        if i > begin and nodes + more > most:
            yield order[begin:i]
            begin, nodes = i, 0
            more = ids.shape[1] - _shared(ids[row], known) + after
        nodes += more
    yield order[begin:]


def _shared(one: Int[np.ndarray, " a"], other: Int[np.ndarray, " b"]) -> int:
    """How many first tokens two rows have in common."""
    length = min(len(one), len(other))
    same = one[:length] == other[:length]
    return length if same.all() else int(same.argmin())


def _logits(
    scorer: Scorer,
    tree: Tree,
    wanted: Int[np.ndarray, " wanted"],
    remembered: int,
    noise: Float[Tensor, "tokens width"] | None,
) -> Float[Tensor, "wanted vocabulary"]:
    device = scorer.model.device
    seen = np.arange(remembered)[None] < tree.start[:, None]
    allowed = torch.from_numpy(np.concatenate([seen, tree.sees], 1)).to(device)
    mask = torch.zeros(allowed.shape, dtype=scorer.model.dtype, device=device)
    mask.masked_fill_(~allowed, torch.finfo(mask.dtype).min)
    depth = torch.from_numpy(tree.depth).to(device)
    embeds = scorer.embed(torch.from_numpy(tree.ids).to(device))
    if noise is not None:
        padded = torch.cat([noise, torch.zeros_like(noise[:1])])  # none behind the prompt
        embeds = embeds + padded[depth.clamp_max(len(noise))]
    cache = scorer.remembered(remembered, 1)
    out = scorer.run(
        inputs_embeds=embeds[None],
        attention_mask=mask[None, None],
        position_ids=depth[None],
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=torch.from_numpy(wanted).to(device),
    )
    found: Tensor = out.logits[0]
    return found
