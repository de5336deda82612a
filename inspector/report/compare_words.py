"""One tensor of a comparison in plain words: each number, what rounding gives, what it says."""

from inspector.weights.tensor_change import TensorChange

CLASS_TITLES = {
    "identical": "Identical",
    "rounding_only": "Rounding only",
    "extended": "Extended",
    "rearranged": "Rearranged",
    "requantised": "Quantised",
    "architecture_change": "Another architecture",
    "lora_like": "Merged low-rank updates",
    "targeted": "Part of the model",
    "continued_pretraining": "Trained on",
    "full_retrain": "Trained anew",
}
STATUSES = {
    "identical": "The bytes are the same.",
    "changed": "Same name and shape, other values.",
    "retyped": "Kept in another dtype.",
    "reshaped": "Kept in another shape.",
    "renamed": "Found under another name, by its bytes or its place.",
    "added": "Only the open model has it.",
    "removed": "Only the baseline has it.",
}


def lines(record: TensorChange) -> list[tuple[str, str, str, str]]:
    """(number, its value, what rounding alone would give, what it says) for all that is known."""
    found = [
        _relative(record),
        _cosine(record),
        _changed(record),
        _largest(record),
        *_steps(record),
        _shift(record),
        _rows(record),
        *_ranks(record),
        _not_finite(record),
    ]
    return [line for line in found if line is not None]


Line = tuple[str, str, str, str]


def _relative(r: TensorChange) -> Line | None:
    if r.relative_change is None:
        return None
    noise = r.relative_change_noise
    says = "Length of the difference over the length of the baseline's tensor."
    if r.relative_change and noise:
        ratio = r.relative_change / noise
        beyond = f"{ratio:.3g} times what rounding gives"
        says += f" Here {beyond}." if ratio > 1 else " Here no more than rounding gives."
    return "relative change", f"{r.relative_change:.4g}", _or_blank(noise), says


def _cosine(r: TensorChange) -> Line | None:
    if r.cosine is None:
        return None
    says = "1: both point the same way, only the length may differ; 0: nothing in common."
    return "cosine", f"{r.cosine:.6g}", "1", says


def _changed(r: TensorChange) -> Line | None:
    if r.changed_fraction is None:
        return None
    says = "Share of values that are not exactly the same. Saving in another dtype changes most."
    return "values that differ", f"{r.changed_fraction:.2%}", "", says


def _largest(r: TensorChange) -> Line | None:
    if r.max_abs_change is None:
        return None
    return "largest change", f"{r.max_abs_change:.4g}", "", "Of a single value, whatever its sign."


def _steps(r: TensorChange) -> list[Line]:
    if r.ulp_dtype is None:
        return []
    says = f"Numbers of {r.ulp_dtype} from the old to the new value; half of all values move less."
    found = []
    if r.ulp_median is not None:
        found.append(("median step (ULP)", f"{r.ulp_median:,.0f}", "at most 1", says))
    if r.ulp_max is not None:
        most = "The same for the value that moved furthest. A change of sign counts through zero."
        found.append(("largest step (ULP)", f"{r.ulp_max:.4g}", "at most 1", most))
    return found


def _shift(r: TensorChange) -> Line | None:
    if r.bias_shift is None:
        return None
    says = "Mean of the difference: whether all values moved the same way."
    return "mean shift", f"{r.bias_shift:.3g}", "about 0", says


def _rows(r: TensorChange) -> Line | None:
    if r.rows_changed is None or not r.tuned_shape:
        return None
    says = "Rows (outputs, or tokens of an embedding) in which any value differs."
    return "rows that differ", f"{r.rows_changed:,} of {r.tuned_shape[0]:,}", "", says


def _ranks(r: TensorChange) -> list[Line]:
    if r.delta_rank_estimate is None:
        return []
    if not r.delta_rank_estimate:
        says = "No direction of the difference stands out from what rounding can do."
        return [("rank of the difference", "0", "0", says)]
    says = "Directions of the difference that rounding cannot explain"
    if r.delta_rank_energy is not None:
        says += f"; they hold {r.delta_rank_energy:.1%} of it"
    found = [("rank of the difference", f"{r.delta_rank_estimate:,}", "0", f"{says}.")]
    if r.delta_rank_99 is not None:
        says = "Directions that together hold 99 % of the difference, rounding included."
        found.append(("rank for 99 %", f"{r.delta_rank_99:,}", "", says))
    if r.delta_stable_rank is not None:
        says = "How many directions carry its size: 1 when one rules, near the rank when all do."
        found.append(("stable rank of the difference", f"{r.delta_stable_rank:.4g}", "", says))
    return found


def _not_finite(r: TensorChange) -> Line | None:
    if not r.not_finite:
        return None
    says = "NaN or infinite in either model: left out of all numbers above."
    return "values that are no numbers", f"{r.not_finite:,}", "0", says


def _or_blank(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
