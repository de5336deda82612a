"""All that can be wrong with a checkpoint: one stable id, severity and remedy per problem."""

from collections import Counter
from typing import Any

from inspector.results import Finding, Severity, show_plain

REFETCH = "Download the file again and compare its size and checksum with the source."
RESAVE = "Save the checkpoint again with safetensors' own save_file; do not use this file as it is."

PROBLEMS: dict[str, tuple[Severity, str]] = {
    # the file
    "ST-SMALL": ("error", REFETCH),
    "ST-LFS": ("error", "Fetch the real file: run `git lfs pull` in the repository it came from."),
    "ST-FOREIGN": ("error", "Convert it to safetensors with the tool that wrote it."),
    "ST-LENGTH": ("error", REFETCH),
    "ST-CAP": ("error", "If you trust the file, raise the limit with --max-header BYTES."),
    "ST-UTF8": ("error", RESAVE),
    "ST-BOM": ("error", RESAVE),
    "ST-JSON": ("error", RESAVE),
    "ST-NESTED": ("error", RESAVE),
    "ST-NUMBER": ("error", RESAVE),
    "ST-NOTOBJECT": ("error", RESAVE),
    "ST-SPACE": ("info", "Harmless: the format wants `{` first, its library accepts spaces."),
    "ST-META": ("error", RESAVE),
    "ST-META-NULL": ("info", "Harmless: the file states no metadata."),
    "ST-DUP": ("error", "The format forbids two entries of one name; find out which is meant."),
    "ST-ENTRY": ("error", RESAVE),
    "ST-EXTRA": ("info", "Harmless: fields the format does not know are not used."),
    "ST-OFFSETS": ("error", RESAVE),
    "ST-SHAPE": ("error", RESAVE),
    "ST-SIZE": ("error", RESAVE),
    "ST-DTYPE": ("error", "Save the tensor with a dtype the format knows."),
    "ST-RANK": ("error", "No real model has such a shape: do not load this file elsewhere."),
    "ST-NAME": ("warning", "Look at the name before you show it anywhere; rename the tensor."),
    "ST-OVERLAP": ("error", RESAVE),
    "ST-HOLE": ("error", RESAVE),
    "ST-TRAILING": ("error", "Bytes no tensor owns may hide another file: do not pass it on."),
    "ST-TRUNCATED": ("error", REFETCH),
    # pickles
    "PK-PICKLE": (
        "error",
        "A pickle can run code when opened: convert it to safetensors where it came from.",
    ),
    "PK-IGNORED": ("info", "Pickle files beside the safetensors are never opened."),
    # the index and the directory
    "IX-JSON": ("error", "Fetch the index again, or delete it if the shards are complete."),
    "IX-CAP": ("error", "No real index is so large: fetch it again."),
    "IX-MAP": ("error", "Fetch the index again: `weight_map` must map tensor names to file names."),
    "IX-TARGET": (
        "error",
        "Do not load this directory elsewhere: its index points outside itself.",
    ),
    "IX-PICKLE": ("error", "Convert the shards to safetensors where they came from."),
    "IX-UNREADABLE": (
        "error",
        "Mend the link or the permissions of the file; the others are shown.",
    ),
    "IX-MISSING-SHARD": ("error", "Fetch the missing files; the shards that are here are shown."),
    "IX-UNLISTED-SHARD": (
        "warning",
        "Delete the file if it is left over, or fetch the index again.",
    ),
    "IX-MISSING-TENSOR": (
        "error",
        "Fetch the shard and the index again: they do not belong together.",
    ),
    "IX-UNLISTED-TENSOR": (
        "warning",
        "Fetch the index again: loaders that follow it skip this tensor.",
    ),
    "IX-MOVED-TENSOR": (
        "error",
        "Fetch shards and index again: loaders that follow the index fail.",
    ),
    "IX-TWICE": ("error", "Two files hold the same name: find out which is meant."),
    "IX-TOTAL": ("warning", "Trust the totals shown here: they are summed from the headers."),
    "IX-NO-METADATA": ("info", "Harmless here; some loaders ask for `metadata.total_size`."),
    "IX-NONE": (
        "info",
        "The files are read together; loaders that need an index will not find one.",
    ),
    "IX-BOTH": ("warning", "Delete one: loaders take model.safetensors and pass over the shards."),
    # the configuration
    "CF-MISSING": ("info", "Put config.json beside the weights: roles and heads are then certain."),
    "CF-JSON": ("warning", "Fetch config.json again."),
    "CF-TARGET": (
        "warning",
        "Copy the file into the directory if you trust what the link leads to.",
    ),
    "CF-CAP": ("warning", "No real config is so large: fetch it again."),
    "CF-UNREADABLE": ("warning", "Mend its permissions, or wait for the server to be well again."),
    "CF-CODE": ("warning", "The config asks a loader to run code: read that code before loading."),
    "CF-RANGE": ("warning", "The config states sizes no model has: fetch it again."),
    # the values
    "RM-VERSION": ("info", "Fetch the files, or ask a server that states an ETag."),
    "WT-NAN": (
        "error",
        "Training diverged or the file is damaged: go back to an earlier checkpoint.",
    ),
    "WT-INF": ("error", "A value overflowed its dtype: go back, or save with a wider dtype."),
    "WT-CODES": (
        "warning",
        "A scan shows what is stored: `inspector quantize` reads codes through their scales.",
    ),
    "WT-CONSTANT": (
        "info",
        "Shape statistics need spread: skewness and kurtosis do not exist here.",
    ),
    "WT-EMPTY": ("info", "The tensor holds no values, so it has no statistics."),
    "WT-RANGE": (
        "warning",
        "Values near the limits of 64-bit floats are no weights: look at the file.",
    ),
    "WT-CHANGED": ("error", "Open the file again when nothing writes to it any more."),
    "WT-SAMPLED": ("info", "Scan without a sample where every value counts."),
    "WT-UNREAD": (
        "error",
        "Its bytes could not be read as numbers; the reason stands in the statement.",
    ),
    "WT-OUTLIER": (
        "info",
        "Its size or tails differ from tensors of the same role: look at it first.",
    ),
    # the spectra
    "SP-SKIPPED": (
        "error",
        "Look at the values first: `inspector tensor` shows where they are not finite.",
    ),
    # quantisation
    "QT-PACKED": ("info", "Its numbers are those of the values the codes stand for."),
    "QT-SCALE": (
        "error",
        "Fetch the missing tensors: codes without their scale are not weights.",
    ),
    "QT-OUTLIERS": (
        "info",
        "A few large weights stretch the scale: take a format with small groups for this matrix.",
    ),
    "QT-RANGE": ("warning", "Keep these weights in BF16: in FP16 they become infinite."),
    "QT-EXACT": ("info", "Nothing is lost, so there is no ratio of signal to noise to show."),
    "QT-LATTICE": (
        "info",
        "It was quantised before it was stored: errors shown here come on top of those.",
    ),
    "QT-UNREAD": ("warning", "Judge the checkpoint it was made from: these codes are not read."),
    # pruning
    "PR-NOENERGY": ("warning", "The matrix does nothing: find out whether it was ever trained."),
    "PR-NM": ("info", "Run it with kernels for that pattern: it has been pruned to it already."),
    "PR-NM-BROKEN": (
        "warning",
        "Prune those groups too: kernels for the pattern would drop values or refuse the matrix.",
    ),
    # comparing
    "CP-SKIPPED": ("warning", "Nothing is said about this tensor: see why, and look at it alone."),
    "CP-NOTFINITE": ("warning", "Only pairs of finite values are compared: look at the others."),
    "CP-BROKEN": (
        "error",
        "Do not use the tuned model: training or a cast to a narrower dtype broke these values.",
    ),
    "CP-SPECTRUM": ("warning", "Its other numbers hold; the rank of its change is not known."),
    "WT-UNTRAINED": (
        "warning",
        "Nothing was learnt here: train it, or do not use what it computes.",
    ),
    "WT-FRESH": ("warning", "Its answers are chance: load trained weights before you use it."),
    "WT-PADDED": (
        "info",
        "Rows of no word of their own: leave them out of statistics over the vocabulary.",
    ),
    "WT-SYMMETRY": (
        "warning",
        "Equal units get equal gradients and stay equal: draw them at random, then train.",
    ),
    # neurons and heads
    "NU-DEAD": ("warning", "They compute nothing: see whether pruning or a failed load left them."),
    "NU-CONSTANT": ("warning", "Constant initialisation that training never broke leaves these."),
    "NU-PARALLEL": ("warning", "They compute the same up to a factor: one of each would do."),
    "NU-CROWDED": ("warning", "It has nearly collapsed to one direction: see its spectrum."),
    "NU-DEAD-UNIT": (
        "warning",
        "These units can be removed; what a constant one adds belongs into the bias after it.",
    ),
    "NU-SATURATED": ("info", "Run the model on real inputs to see whether they ever change."),
    "NU-DEAD-HEAD": ("warning", "The head can be removed without any change of the outputs."),
    "NU-HEADS": ("info", "Put the right config.json beside the weights; matrices are judged."),
    "NU-COPY": ("warning", "Find out whether the model was meant to hold the same thing twice."),
    "NU-SUPER-WEIGHT": ("info", "Keep it exact when pruning or quantising; check what it does."),
    "NU-SKIPPED": ("error", "Look at the values first: `inspector tensor` shows what is wrong."),
    # the rules of health
    "HL-FILE": ("error", "Mend what the finding names, then judge the weights again."),
    "HL-UNREAD": ("error", "What was not read was not judged: see the reason."),
    "HL-SCALES": ("error", "Fetch the tensors that hold the scales; codes alone are no weights."),
    "HL-FINITE": ("error", "Go back to an earlier checkpoint, or save with a wider dtype."),
    "HL-DEAD": ("error", "Ask whether it was pruned or never loaded; a dead layer adds nothing."),
    "HL-UNITS": ("warning", "They cost time and add nothing: prune them, or find why they died."),
    "HL-COPIES": ("warning", "Expected after merging, upcycling or depth scaling; else a defect."),
    "HL-SYMMETRY": ("warning", "Draw the matrix from a random scheme: equal rows stay equal."),
    "HL-UNTRAINED": (
        "warning",
        "Do not rely on it: it was never trained, or was drawn anew when the model was loaded.",
    ),
    "HL-ROWS": ("info", "Leave them out of statistics of the vocabulary; they are no words."),
    "HL-SCALE": ("warning", "Compare it with the base model: training may have diverged there."),
    "HL-KURTOSIS": ("info", "Use a scale per row or group when you quantise it, not per tensor."),
    "HL-SUPERWEIGHT": ("info", "Keep these weights exact when you prune or quantise."),
    "HL-RANK": ("warning", "Expected of a merged or factored matrix; else directions collapsed."),
    "HL-DIRECTION": ("warning", "Look at the mean row and at outliers: one may carry it all."),
    "HL-OVERFLOW": ("warning", "Load the model in bf16 or fp32, not in fp16."),
    "HL-SUBNORMAL": ("warning", "Save with bf16 or fp32: small weights lose digits here."),
    "HL-BIAS": ("warning", "Compare with the base model; such a layer hardly listens to inputs."),
    "HL-SATURATED": ("info", "Look at the activations on real text: files alone only suggest it."),
    "HL-CONFIG": ("warning", "Put the config that belongs to these weights beside them."),
    "HL-SIGNAL": ("info", "A prediction for random inputs: run the model to see what happens."),
    # the model that is run
    "MD-FILE": ("warning", "Mend the files first: the model runs on what could be read."),
    "MD-MISSING": ("warning", "These tensors are not in the files and hold random values."),
    "MD-MISMATCHED": ("warning", "Their shape is not the model's: they hold random values."),
    "MD-UNEXPECTED": ("warning", "The files hold tensors that the model does not use."),
    "MD-NOTFINITE": ("warning", "Results may be NaN: find where training went wrong."),
    "MD-SELFTEST": ("warning", "What is shown may not be what the model does: see the checks."),
    # prompts
    "PR-FAILED": ("error", "Mend or remove the prompt; the others were asked."),
    "PR-EMPTY": ("warning", "Remove the empty lines, or fill them."),
    "PR-UNUSED": ("info", "Give --target and --versus where one answer is asked of all texts."),
    # attributions
    "AT-GAP": (
        "warning",
        "The scores do not add up: raise the steps or samples, or choose another baseline.",
    ),
    "AT-RANDOM": ("warning", "Do not read the order of these scores; try another method."),
    "AT-WORSE": ("warning", "Do not read the order of these scores; try another method."),
    "AT-NOTHING": ("info", "The answer does not hang on these words: there is nothing to explain."),
    "AT-FEW": ("info", "Chance cannot be excluded with so few words: give a longer text."),
    "AT-DTYPE": ("warning", "Gradients of 16 bits are coarse: load the model with dtype float32."),
    "AT-SEAM": ("warning", "Put the space before the target, not behind the text."),
    "AT-UNKNOWN": ("info", "The model cannot tell unknown words apart; use words it knows."),
    "AT-REUSE": ("info", "Nothing is lost but time."),
    "AT-NEURONS": ("info", "Look at the layer as a whole."),
    "AT-ATTENTION": ("info", "Compare the methods among themselves."),
    "AT-DISAGREE": ("warning", "Do not read attention as the reason for this answer."),
    # attention heads
    "AH-SHORT": ("warning", "They have no attention to speak of: give longer texts."),
    "AH-CUT": ("info", "What was cut is not measured: split the text, or raise --max-tokens."),
    "AH-TWICE": ("info", "Harmless: repeated texts would make ranges look narrower."),
    "AH-FEW": ("warning", "Ranges are wide and labels rare with so few: give more texts."),
    "AH-EAGER": ("info", "The numbers are the same; long texts need more memory."),
    "AH-INDUCTION": ("info", "No induction is measured: the model sees too few tokens at once."),
    "AH-VALUES": ("info", "Look at the raw map: the size of what heads pass on is not known."),
    # heads and what is switched off
    "HE-DIRECT": ("info", "Look at slopes and exact effects: they hold in every model."),
    "HE-SOFTCAP": ("info", "Take direct effects as slopes; exact effects are not touched by it."),
    "HE-NOBIAS": ("info", "Nothing to do: many models are made without."),
    "AC-FEW": ("info", "Give more text before you call a unit dead."),
    "AC-UNITS": ("info", "Sizes of the stream hold all the same."),
    "LN-GAP": ("warning", "Do not trust the lens here: the model does more after its last block."),
    "HE-SIGN": ("warning", "Believe the exact effect: the slope holds for small changes only."),
    # the material of probes
    "SM-EXCLUDED": ("warning", "Mend these rows if they are yours; no number counts them."),
    "SM-NOTED": ("info", "Look at these rows before you trust a number made from them."),
    # scores of sentences
    "SC-EXCLUDED": (
        "warning",
        "Use sentences that the model can read; no number counts those left out.",
    ),
    "SC-FIRST": ("info", "Compare sentences that begin alike, or give the tokenizer a bos_token."),
    "SC-DTYPE": ("warning", "Load the model with dtype float32: 16 bits make ties and noise."),
    "SC-WHOLE": ("info", "Nothing is lost but time."),
    "SC-GUARD": (
        "error",
        "Believe no bias number of this model and scorer: it cannot do the task.",
    ),
    # decisions of classifiers
    "CL-GUARD": (
        "error",
        "Believe no bias number of this classifier on these texts: it cannot do the task.",
    ),
    "CL-SMALL": ("warning", "Collect more texts of these groups before you say anything of them."),
    "CL-EXCLUDED": (
        "warning",
        "Use texts that the model can read; no number counts those left out.",
    ),
    "CL-UNKNOWN": ("warning", "Check that the texts are in the language the model was made for."),
    "CL-SWAPS": ("info", "Write such pairs of texts by hand where they matter."),
    # probes
    "PB-TASK": ("error", "Believe no verdict of this probe: the model cannot do what it asks."),
    "PB-FACTS": ("warning", "Read the numbers as leanings of a model that does not use the text."),
    # texts that a model wrote
    "CT-EXCLUDED": ("warning", "Look at what was written; no number counts what has no score."),
    "CT-DEGENERATE": (
        "warning",
        "Read some of these texts before you trust a number made from them.",
    ),
    "CT-CLASSIFIER": ("error", "Believe no number by this classifier: give one that was trained."),
    "CT-CONFOUND": (
        "warning",
        "Read numbers with the prompt only less the classifier's own, as they are given.",
    ),
    "CT-NAMES": ("warning", "Look whether the classifier reacts to who is named in these texts."),
    # vectors of words
    "WE-UNKNOWN": ("warning", "Use words that the vocabulary has; those left out do not count."),
    "WE-PIECES": ("info", "Look beside it at the numbers of words of one piece alone."),
    "WE-TIED": ("info", "Nothing to do: the embedding's numbers hold for both."),
    "WE-ROWS": ("warning", "Scan the table; what is not finite is in no number."),
    "WE-DIRECTION": ("error", "Give pairs of words that differ in one thing alone."),
    "WE-WRITES": ("warning", "Scan the matrix: it is zero, or holds what is not finite."),
    "WE-CONTROL": ("error", "Believe no association here: not even a known one is seen."),
    # where a gap sits
    "LO-EXCLUDED": ("warning", "Mend these contrasts if they are yours; no number counts them."),
    "LO-DRAWN": ("info", "Give one category, or fewer templates, to have all of them asked."),
    "LO-NOTHING": ("warning", "Read no part's number as the seat of a bias."),
    "LO-NONULL": ("warning", "Give control targets or pairs: what chance gives is unknown."),
    # the names
    "AR-OTHER": (
        "info",
        "The name follows no known scheme; it is measured under the role `other`.",
    ),
    "AR-TIED": ("info", "One matrix serves two roles; its parameters are counted once."),
    "AR-ABSENT": ("warning", "The config promises a tensor that no file holds: fetch the rest."),
    "AR-SPLIT": (
        "info",
        "Put the right config.json beside the weights; it is measured as one matrix.",
    ),
    # fine-tuning, what moved
    "FT-UNREACHED": (
        "warning",
        "Train for more epochs, or lower strategy.every, if these tensors are to move.",
    ),
    "FT-FROZEN": ("error", "Do not trust this run: what was to rest has moved. Report it."),
    "FT-STILL": (
        "error",
        "Look whether the rate is 0 or so low that steps are lost in rounding, or whether these "
        "tensors take part in the task at all; if not, leave them out.",
    ),
    "FT-UNCHANGED": (
        "warning",
        "Raise optimiser.learning_rate or train longer: most steps are lost in rounding, or most "
        "elements (such as vectors of words that no row has) get none.",
    ),
    # fine-tuning, where a run goes on
    "FT-CHECKPOINT": ("warning", "Nothing, if a run went on from an older one; else copy it anew."),
    "FT-RESUME": ("error", "Do not stop runs of this configuration; report it with the message."),
    "FT-ANEW": ("info", "Nothing: a run that was stopped before its first checkpoint begins anew."),
    "FT-VERSIONS": ("warning", "Go on with the versions it began with if bits matter."),
    # fine-tuning, before it starts
    "FT-EXCLUDED": ("warning", "Mend these rows if they matter; no number counts them."),
    "FT-LENGTH": ("warning", "Raise data.max_tokens, or be content with what is cut."),
    "FT-NOLABELS": ("warning", "Raise data.max_tokens: what was cut held all labels."),
    "FT-RARE": ("warning", "Give more rows of this label, or leave it out."),
    "FT-SKEWED": ("warning", "Read macro_f1 beside accuracy; think of class_weights: balanced."),
    "FT-GROUP-ABSENT": ("warning", "Give rows that name this group; nothing is learned of it."),
    "FT-GROUP-LABEL": ("warning", "Look at these rows: the model can learn to judge by the group."),
    "FT-LEAK": ("warning", "Take these rows out of validation and test, or state data.together."),
    "FT-SINGLE": ("info", "Give pairs of the words these rows hold in objective.pairs, if any do."),
    "FT-CONFLICT": ("warning", "Decide which answer is meant; both are learned from."),
    "FT-VANISHING": (
        "warning",
        "Higher layers learn, lower ones hardly do: try layerwise rates, or fewer layers.",
    ),
    "FT-EXPLODING": ("warning", "Clip harder, warm up longer, or lower optimiser.learning_rate."),
    "FT-SPIKE": ("warning", "Look at the rows of this update; lower optimiser.clip or the rate."),
    "FT-DEAD": (
        "warning",
        "Begin from another checkpoint or a lower rate: these units learn no more.",
    ),
    "FT-OVERFIT": (
        "warning",
        "Try early stopping, fewer epochs, weight_decay, l2_sp, or more rows.",
    ),
    "FT-UNDERFIT": ("warning", "Try a higher rate, more epochs, or a strategy that moves more."),
    "FT-NOGATE": (
        "info",
        "State a gate with probes, if bias matters where the model is to be used.",
    ),
    "FT-GATE": ("error", "Do not use this model in place of the one before; it is in candidate/."),
    "FT-GATE-OPEN": ("warning", "Give the gate more items, or a wider margin if that is honest."),
    "FT-ACCUMULATION": ("error", "Do not accumulate with this head: set training.accumulate to 1."),
}

SHOWN_PER_ID = 100  # a file with a million bad entries must not become a million findings


class Log:
    """Collects findings; past SHOWN_PER_ID of one id the rest are counted, not listed."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._count: Counter[str] = Counter()

    def add(self, id: str, where: str, statement: str, **evidence: Any) -> None:
        """Note one problem; severity and remedy come from PROBLEMS."""
        self._count[id] += 1
        if self._count[id] <= SHOWN_PER_ID:
            self._findings.append(finding(id, where, statement, **evidence))

    def extend(self, findings: tuple[Finding, ...]) -> None:
        """Take over findings made elsewhere."""
        self._findings.extend(findings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings in the order they were made, then one line per id that overflowed."""
        more = [
            finding(
                id, "checkpoint", f"{count - SHOWN_PER_ID} more of {id} are not listed", count=count
            )
            for id, count in self._count.items()
            if count > SHOWN_PER_ID
        ]
        return (*self._findings, *more)


def finding(id: str, where: str, statement: str, **evidence: Any) -> Finding:
    """A finding of the given id with its severity and remedy from PROBLEMS."""
    severity, remedy = PROBLEMS[id]
    return Finding(
        id=id,
        severity=severity,
        where=show_plain(where, 1000),
        statement=statement,
        evidence=evidence,
        remedy=remedy,
    )
