"""Which norm feeds a projection, and the gains it multiplies its inputs by; from files alone.

Only for pre-norm blocks of families in FAMILIES, whose source (transformers 5.23) says which norm
comes before what and whether the stored number is the gain or the gain less one.
"""

import dataclasses
import re
import typing

import numba
import numpy as np
from jaxtyping import Float

from inspector.errors import CheckpointError
from inspector.results import show_plain
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.formats import UNREADABLE
from inspector.weights.matrices import Matrix
from inspector.weights.scan import read_values
from inspector.weights.sizes import known_type, stored_less_one, text_config

# Norms of one block: (before attention, before the feed-forward part: the first that is there).
PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "input_layernorm",
        ("pre_feedforward_layernorm", "pre_ff_layernorm", "post_attention_layernorm"),
    ),
    ("ln_1", ("ln_2",)),
    ("ln_attn", ("ln_mlp",)),
    ("norm_1", ("norm_2",)),
    ("attn_norm", ("mlp_norm",)),
    ("attention_norm", ("ffn_norm",)),
    ("operator_norm", ("ffn_norm",)),
    ("attention_layernorm", ("feedforward_layernorm",)),
    ("temporal_pre_norm", ("channel_pre_norm",)),
    ("self_attn_layer_norm", ("final_layer_norm",)),
)
ONE_NORM = ("falcon", "phi", "gptj", "codegen", "cohere", "cohere2", "stablelm")  # may feed both
LATENT = {"q_b_proj": "q_a_layernorm", "kv_b_proj": "kv_a_layernorm"}  # have one of their own
LAST_NORMS = (  # after the last block: only pre-norm models have one
    *("norm", "ln_f", "norm_f", "final_norm", "final_layernorm", "final_layer_norm", "layer_norm"),
    "embedding_norm",
)
ROWS = 2**22  # elements of the rows that are ordered at a time
ATTENTION = ("q", "k", "v", "qkv")
FEED_FORWARD = ("gate", "up", "gate_up", "expert_gate", "expert_up")
T5_PART = re.compile(r"(.*\.layer\.[0-9]+)\.")
OTHER_SOURCES = ("encoder_attn", "crossattention", "EncDecAttention")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gain:
    """The gains of the norm of that name, one per input of the projection it feeds.

    `values` are gains where the file holds them less one, too.
    """

    name: str
    values: Float[np.ndarray, " columns"]


class Gains:
    """Finds the norms of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint.config or {}
        self._checkpoint = checkpoint
        self._family = known_type(text_config(config)) or known_type(config)
        self._norms: dict[tuple[str | None, int | None], dict[str, str]] = {}
        self._of_stack: dict[str | None, set[str]] = {}
        for placement in checkpoint.architecture.placements.values():
            if placement.kind == "norm":
                module = placement.name.rpartition(".")[0]
                block = self._norms.setdefault((placement.stack, placement.layer), {})
                block[module.rpartition(".")[2]] = placement.name
                block[module] = placement.name
                if placement.layer is not None:
                    self._of_stack.setdefault(placement.stack, set()).update(block)

    def before(self, matrix: Matrix, reader: Reader) -> Gain | str:
        """The gains of the norm that feeds a matrix, or why there are none to be had."""
        try:
            name = self._name(matrix.placement)
            entry = self._checkpoint.tensor(name)
            if why := entry.unreadable or UNREADABLE.get(entry.dtype):
                return f"{show_plain(name)} cannot be read: {why}"
            if entry.parameters != matrix.columns:
                return (
                    f"{show_plain(name)} has {entry.parameters} gains, it {matrix.columns} inputs"
                )
            values = read_values(entry, reader, 0, entry.parameters)
        except _NoNorm as why:
            return str(why)
        except CheckpointError as error:
            return f"its norm cannot be read: {error}"
        if not np.isfinite(values).all():
            return f"{show_plain(name)} holds NaN or infinite values"
        less_one = stored_less_one(name, self._checkpoint.config, self._family)
        return Gain(name=name, values=values + less_one)

    def _name(self, placement: Placement) -> str:
        """The name of the norm; raises _NoNorm with the reason where none is known."""
        if placement.role not in (*ATTENTION, *FEED_FORWARD):
            raise _NoNorm("no norm feeds it directly")
        if self._family is None:
            raise _NoNorm("no config.json of a known model type says how its norms are stored")
        if placement.stack in ("vision", "audio") or placement.layer is None:
            raise _NoNorm("it is outside the blocks of the language model")
        parts = placement.name.split(".")
        norms = self._norms.get((placement.stack, placement.layer), {})
        if own := next((LATENT[part] for part in parts if part in LATENT), None):
            return self._known(norms, (own,))
        if (t5 := T5_PART.match(placement.name)) and f"{t5[1]}.layer_norm" in norms:
            if "EncDecAttention" in parts and placement.role != "q":
                raise _NoNorm("its inputs come from the encoder")
            return norms[f"{t5[1]}.layer_norm"]
        if any(part in OTHER_SOURCES for part in parts):
            raise _NoNorm("of attention to the encoder it is not looked for")
        # a block may lack its first norm, as that of ModernBERT does: all blocks tell the pair
        pair = next((p for p in PAIRS if p[0] in self._of_stack.get(placement.stack, ())), None)
        last = self._norms.get((placement.stack, None), {}) | self._norms.get((None, None), {})
        if pair is None or not any(name in last for name in LAST_NORMS):
            raise _NoNorm("no norm right before it is known: post-norm, or norms without gains")
        if placement.role in ATTENTION:
            return self._known(norms, (pair[0],))
        if placement.role.startswith("expert") or placement.experts:
            pair = (pair[0], ("pre_feedforward_layernorm_2", *pair[1]))
        return self._known(norms, (*pair[1], *((pair[0],) if self._family in ONE_NORM else ())))

    def _known(self, norms: dict[str, str], names: tuple[str, ...]) -> str:
        for name in names:
            if name in norms:
                return norms[name]
        raise _NoNorm(f"its block has no {names[0]}")


class _NoNorm(Exception):
    """Why no norm is known to feed a matrix."""


def row_losses(
    values: Float[np.ndarray, "rows columns"], gains: Float[np.ndarray, " columns"]
) -> tuple[float, float, float | None, float | None]:
    """Fraction of the energy lost when half of each row goes, by |w| and by |w| |gain|.

    First both of ||W||^2, then both of the same weighted with squared gains (None where that is
    zero or past the range of float64). Of an odd number of columns the larger part stays; ties go
    in proportion. Not all values may be zero.
    """
    gains = np.abs(gains).astype(values.dtype)
    lost, whole = np.zeros((2, 2)), np.zeros(2)  # of W and of the outputs, by |w| and by the proxy
    half = values.shape[1] // 2
    step = max(ROWS // values.shape[1], 1)
    for start in range(0, len(values), step):
        sizes = np.abs(values[start : start + step])
        with np.errstate(over="ignore"):  # gains no norm has: what overflows is kept
            proxy = sizes * gains
        for way, scores in enumerate((sizes, proxy)):
            ends = np.partition(scores, half - 1, axis=1)[:, half - 1] if half else scores[:, 0] - 1
            sums = _energies(scores, ends, half, sizes, gains)
            lost[:, way] += sums[:2]
        whole += sums[2:]
    weights, outputs = (
        (pair / total).tolist() if 0 < total < np.inf else (None, None)
        for pair, total in zip(lost, whole.tolist(), strict=True)
    )
    return (*weights, *outputs)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _energies(scores, ends, half, sizes, gains):
    """Energy of the `half` lowest scores of each row, of which ends[row] is the last; and of all.

    Both of the weights and weighted with squared gains. No branch in the inner loop: half of them
    would be guessed wrong.
    """
    weights = outputs = all_weights = all_outputs = 0.0
    for row in range(len(scores)):
        end = ends[row]
        below = ties = 0
        w = w_ties = w_all = out = out_ties = out_all = 0.0
        for column in range(scores.shape[1]):
            score = scores[row, column]
            square = np.float64(sizes[row, column]) ** 2
            weighted = square * np.float64(gains[column]) ** 2
            less, same = score < end, score == end
            below += less
            ties += same
            w += square if less else 0.0
            w_ties += square if same else 0.0
            w_all += square
            out += weighted if less else 0.0
            out_ties += weighted if same else 0.0
            out_all += weighted
        share = (half - below) / ties if ties else 0.0
        weights += w + share * w_ties
        outputs += out + share * out_ties
        all_weights += w_all
        all_outputs += out_all
    return weights, outputs, all_weights, all_outputs
