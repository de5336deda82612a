"""The rules of health in plain words: a title, what is looked at and what noise would give."""

WORDS: dict[str, tuple[str, str]] = {  # id of a rule -> (title, what it is about)
    "HL-FILE": (
        "Files",
        "A checkpoint is a list of names, shapes and places, followed by the numbers. When the "
        "list and the numbers disagree, every number below may be read from the wrong place.",
    ),
    "HL-UNREAD": (
        "Unread tensors",
        "What could not be read was not judged: a pass elsewhere says nothing about it.",
    ),
    "HL-SCALES": (
        "Scales of codes",
        "Quantised weights are small whole numbers, each worth code times scale. Without its scale "
        "a matrix may seem a thousand times too large.",
    ),
    "HL-FINITE": (
        "NaN and infinity",
        "NaN or infinity arises when training diverges or a value does not fit its dtype. One is "
        "enough: whatever it touches becomes NaN too. A fresh draw has none.",
    ),
    "HL-DEAD": (
        "Dead matrices",
        "A matrix of zeros passes nothing on. A fresh draw has no exact zeros; a share of 50 % is "
        "what 2:4 pruning leaves.",
    ),
    "HL-UNITS": (
        "Dead units and heads",
        "A unit is one row on its way in and one column on its way out; if either is zero, the "
        "unit does nothing. A fresh draw has none.",
    ),
    "HL-COPIES": (
        "Copies",
        "Two units that point the same way compute the same thing. Random rows of a few hundred "
        "numbers have a cosine near 0; here 0.999 counts as a copy.",
    ),
    "HL-SYMMETRY": (
        "Symmetry",
        "Rows that start equal get equal gradients and stay equal: that is why weights are drawn "
        "at random. A random draw never repeats a row.",
    ),
    "HL-UNTRAINED": (
        "Untrained matrices",
        "Training leaves directions that stand out from noise. A matrix with no such direction, "
        "whose values look like a random generator's, was never trained or was drawn anew.",
    ),
    "HL-ROWS": (
        "Padded vocabulary",
        "Each row of the embedding stands for a token. Rows that are zero, equal to the mean or "
        "copies stand for none: vocabularies are padded to round sizes. Often harmless; "
        "the one row that the config keeps for padding is meant to be zero.",
    ),
    "HL-SCALE": (
        "Size across layers",
        "The same matrix has a similar size (root mean square) in all layers. One that is "
        "several times larger or smaller may have diverged, or faded.",
    ),
    "HL-KURTOSIS": (
        "Extreme outliers",
        "Excess kurtosis says how heavy the tails are: 0 for normal values (noise), above 100 when "
        "a few values dwarf the rest. Such matrices lose most when rounded to few bits.",
    ),
    "HL-SUPERWEIGHT": (
        "Super weights",
        "In some models one single number, removed, breaks everything. Candidates lie much further "
        "out than chance reaches (about 5 standard deviations). Many good models have some.",
    ),
    "HL-RANK": (
        "Rank",
        "The rank is how many independent directions a matrix has. Noise has all of them; a "
        "lower rank means that directions collapsed, or that the matrix is a product of thin ones.",
    ),
    "HL-DIRECTION": (
        "One direction",
        "The largest of all directions of a matrix carries a share of its size: of noise at most "
        "about 4 / n on n rows. When it is nine tenths, nearly all inputs end up on one line.",
    ),
    "HL-OVERFLOW": (
        "Range of half precision",
        "fp16 ends at 65504. Values beyond it become infinite when the model is loaded in fp16; "
        "weights of a trained model are usually below 10.",
    ),
    "HL-SUBNORMAL": (
        "Digits of small values",
        "Close to zero a dtype runs out of digits (subnormal numbers). Of normal values with "
        "sd 0.02 about 1 in 400 lies there in fp16, which costs nothing; half of them does.",
    ),
    "HL-BIAS": (
        "Overpowering biases",
        "A bias is added whatever the input. If it is far larger than what inputs of variance 1 "
        "contribute, the layer says the same to everything.",
    ),
    "HL-SATURATED": (
        "Stuck units",
        "A unit whose bias is 4 times the length of its row is on, or off, for all but about 1 in "
        "30,000 random inputs: it cannot tell inputs apart.",
    ),
    "HL-CONFIG": (
        "Config",
        "config.json says how the numbers are to be used. If it does not fit them, a library may "
        "fill what is missing with random numbers.",
    ),
    "HL-SIGNAL": (
        "Signal through depth",
        "From layer to layer a signal is multiplied. If the product of all gains is tiny or huge, "
        "signals or gradients vanish or explode. 1 is ideal.",
    ),
}

MEASUREMENTS: dict[str, tuple[str, str]] = {  # what the rules rest on -> (title, what it reads)
    "scan": ("Scan", "every value of every tensor"),
    "spectrum": ("Spectrum", "directions of every matrix; vectors have none"),
    "init": ("Initialisation", "shape of the values of weights, biases and norms"),
    "neurons": ("Neurons", "rows and columns of every matrix; vectors have none"),
}
