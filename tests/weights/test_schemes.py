"""Every scheme is recovered from fresh draws of torch's own, and what was trained is not."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from jaxtyping import Float
from torch import nn

from inspector.weights import draws, noise, schemes
from inspector.weights.judging import TIE, TOO_SMALL, TRAINED, Verdict, judge, judge_vector
from inspector.weights.matrices import one_blas_thread
from inspector.weights.schemes import SHAPES, TRUNCATED_SD, Setting, setting_of

LAYERS, WIDTH = 8, 1024
SINGLE, HALF, BRAIN = 2.0**-23, 2.0**-10, 2.0**-7  # spacing of F32, F16, BF16
SIZES = [(512, 1024), (512, 512), (64, 64)]


def normal(std):
    return lambda w: nn.init.normal_(w, std=std)


def truncated(std, bound):
    return lambda w: nn.init.trunc_normal_(w, std=std, a=-bound * std, b=bound * std)


def drawn_by(name, width=WIDTH, layers=LAYERS):
    """What torch, or the formula of the paper, does under that name."""
    return {
        "N(0, 0.02)": normal(0.02),
        "N(0, initializer_range)": normal(0.006),
        "scaled residual 0.02/√(2L)": normal(0.02 / math.sqrt(2 * layers)),
        "scaled residual initializer_range/√(2L)": normal(0.006 / math.sqrt(2 * layers)),
        "Xavier normal": nn.init.xavier_normal_,
        "Xavier uniform": nn.init.xavier_uniform_,
        "He normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "He uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "LeCun normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
        "LeCun uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
        "torch Linear default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
        "torch Embedding N(0, 1)": nn.init.normal_,
        "small-init": normal(math.sqrt(2 / (5 * width))),
        "Wang": normal(2 / (layers * math.sqrt(width))),
        "truncated normal (2 sd)": truncated(0.02, 2),
        "truncated normal (3 sd)": truncated(0.02, 3),
        "orthogonal": nn.init.orthogonal_,
        "identity": nn.init.eye_,
        "zeros": nn.init.zeros_,
        "ones": nn.init.ones_,
        "constant": lambda w: nn.init.constant_(w, 0.1),
        "normal, other scale": normal(0.0091),
        "uniform, other scale": lambda w: nn.init.uniform_(w, -0.0123, 0.0123),
    }[name]


NAMES = [
    *(s.name for s in schemes.SCHEMES if "fused" not in s.name),
    *TRUNCATED_SD,
    *("orthogonal", "identity", "zeros", "ones", "constant"),
    *("normal, other scale", "uniform, other scale"),
]


def fresh(name: str, size: tuple[int, int], seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    return drawn_by(name)(torch.empty(size)).numpy()


def verdict_on(
    values: np.ndarray, rounding: float = SINGLE, spread: float = 0.006, fused: int = 0
) -> Verdict:
    rows, columns = values.shape
    tall = values if rows >= columns else values.T
    blocks = np.array_split(np.ascontiguousarray(tall, dtype=np.float64), 3)
    setting = Setting(
        inputs=columns,
        outputs=rows,
        fused_outputs=fused or rows,
        width=WIDTH,
        layers=LAYERS,
        spread=spread,
    )
    with one_blas_thread():
        return judge(
            draws.read_draw(blocks, values.size, rows >= columns),
            rounding,
            setting,
            lambda: np.linalg.svd(values.astype(np.float64), compute_uv=False),
        )


def recovered(name: str, found: Verdict) -> bool:
    names = {found.scheme, *found.ties}
    return name in names and found.untrained is True


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_each_scheme_is_recovered_or_listed_as_a_tie(name, size):
    found = verdict_on(fresh(name, size, seed=len(name)))
    assert recovered(name, found), found


@pytest.mark.soak
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_each_scheme_is_recovered_in_95_of_100_draws(name, size):
    hits = sum(recovered(name, verdict_on(fresh(name, size, seed))) for seed in range(100))
    assert hits >= 95


@pytest.mark.parametrize(("to", "rounding"), [(torch.bfloat16, BRAIN), (torch.float16, HALF)])
@pytest.mark.parametrize("name", NAMES)
def test_a_scheme_is_recovered_from_a_rounded_tensor(name, to, rounding):
    torch.manual_seed(3)
    values = drawn_by(name)(torch.empty(256, 512)).to(to).float().numpy()
    assert recovered(name, verdict_on(values, rounding))


@pytest.mark.parametrize("name", ["N(0, 0.02)", "torch Linear default", "Xavier uniform"])
def test_a_scheme_drawn_in_bfloat16_is_recovered(name):
    torch.manual_seed(4)
    values = drawn_by(name)(torch.empty(256, 512, dtype=torch.bfloat16)).float().numpy()
    assert recovered(name, verdict_on(values, BRAIN))


def test_schemes_that_coincide_are_all_named():
    square = verdict_on(fresh("Xavier normal", (512, 512), 0))
    assert square.verdict == TIE
    assert {"Xavier normal", "LeCun normal"} <= set(square.ties)
    wide = verdict_on(fresh("Xavier normal", (512, 1024), 0))
    assert (wide.verdict, wide.ties) == ("Xavier normal", ())


def test_a_part_is_recognised_by_the_fan_of_the_tensor_it_was_drawn_with():
    torch.manual_seed(0)
    whole = nn.init.xavier_uniform_(torch.empty(3 * 256, 256)).numpy()
    found = verdict_on(whole[256:512], fused=3 * 256)
    assert found.verdict == "Xavier uniform (of the fused tensor)"
    assert verdict_on(whole[256:512]).verdict == "uniform, other scale"


def test_truncation_in_absolute_units_is_none():
    torch.manual_seed(0)
    loose = nn.init.trunc_normal_(torch.empty(512, 1024), std=0.02)  # bounds -2, 2: never reached
    assert verdict_on(loose.numpy()).verdict == "N(0, 0.02)"
    tight = nn.init.trunc_normal_(torch.empty(512, 1024), std=0.02, a=-0.04, b=0.04)
    found = verdict_on(tight.numpy())
    assert found.verdict == "truncated normal (2 sd)"
    assert "sd 0.02" in found.reason
    assert float(tight.std()) == pytest.approx(0.0176, rel=0.01)


def trained_like(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n, m = 512, 1024
    plain = rng.normal(0, 0.02, (n, m))
    if kind == "heavy tails":
        return 0.02 * rng.standard_t(3, (n, m))
    if kind == "a spike":
        u, v = rng.normal(size=n), rng.normal(size=m)
        strength = 1.5 * noise.visible(n, m, 0.02)
        return plain + strength * np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
    if kind == "rows of many sizes":
        return plain * rng.uniform(0.9, 1.1, (n, 1))
    if kind == "columns of many sizes":
        return plain * rng.uniform(0.9, 1.1, m)
    if kind == "one outlier":
        plain[3, 5] = 0.2
        return plain
    if kind == "flat spectrum":  # what orthogonalised updates leave; its values are normal
        u, _, vt = np.linalg.svd(plain, full_matrices=False)
        return 0.02 * math.sqrt(m) * (u * np.linspace(0.9, 1.1, n)) @ vt
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("heavy tails", "KS distance"),
        ("a spike", "singular values beyond those of noise: 1"),
        ("rows of many sizes", "sizes of its rows"),
        ("columns of many sizes", "sizes of its columns"),
        ("one outlier", "the largest is 9.99 standard"),
        ("flat spectrum", ""),
    ],
)
def test_what_was_trained_fits_no_scheme_and_the_reason_says_why(kind, why):
    found = verdict_on(trained_like(kind))
    assert (found.verdict, found.scheme, found.ties, found.untrained) == (TRAINED, None, (), False)
    assert found.reason.startswith("None of these: trained.")
    assert why in found.reason


def test_fresh_tensors_are_called_trained_less_than_once_in_a_hundred():
    rng = np.random.default_rng(5)
    verdicts = [verdict_on(rng.normal(0, 0.02, (48, 64))).verdict for _ in range(200)]
    assert verdicts.count(TRAINED) <= 2  # measured: 2 of 5940


def test_few_values_give_no_verdict():
    found = verdict_on(np.random.default_rng(0).normal(size=(2, 384)))
    assert (found.verdict, found.untrained, found.scheme) == (TOO_SMALL, None, None)


@pytest.mark.parametrize("name", ["normal", "uniform", *TRUNCATED_SD])
def test_shapes_are_those_of_scipy(name):
    bound = {"truncated normal (2 sd)": 2, "truncated normal (3 sd)": 3}.get(name)
    if bound:
        sd = TRUNCATED_SD[name]
        assert sd == pytest.approx(scipy.stats.truncnorm(-bound, bound).std(), rel=1e-9)
        oracle = scipy.stats.truncnorm(-bound, bound, scale=1 / sd)
    elif name == "uniform":
        oracle = scipy.stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))
    else:
        oracle = scipy.stats.norm()
    shape = SHAPES[name]
    at = np.linspace(-4, 4, 81)
    np.testing.assert_allclose(shape.below(at), oracle.cdf(at), atol=1e-12)
    for x in (0.1, 1.0, 1.7, 2.2, 3.0, 3.5):
        assert shape.beyond(x) == pytest.approx(2 * oracle.sf(x), abs=1e-12)
    assert oracle.var() == pytest.approx(1)
    assert shape.kurtosis == pytest.approx(float(oracle.stats("k")) + 3, abs=5e-4)


@pytest.mark.parametrize("n", [50, 4000])
def test_the_ks_distance_is_scipys(n):
    values = np.sort(np.random.default_rng(n).normal(0.05, 1.1, n))
    oracle = scipy.stats.kstest(values, "norm").statistic
    assert schemes.ks_distance(values, SHAPES["normal"]) == pytest.approx(oracle, abs=1.01 / n)


def test_the_ks_distance_of_a_rounded_sample_is_that_of_the_sample():
    values = np.random.default_rng(1).normal(size=200_000)
    coarse = torch.from_numpy(values).to(torch.bfloat16).double().numpy()
    exact = schemes.ks_distance(np.sort(values), SHAPES["normal"])
    assert schemes.ks_distance(np.sort(coarse), SHAPES["normal"]) <= exact + 2e-5
    assert scipy.stats.kstest(coarse, "norm").statistic > exact + 5e-4  # what is avoided


def test_the_level_of_the_ks_distance_is_kolmogorovs():
    assert schemes.ks_noise(10_000) == pytest.approx(
        scipy.stats.kstwo(10_000).isf(2 * schemes.CHANCE), rel=0.01
    )


@pytest.mark.parametrize(("n", "median"), [(10**4, 3.98), (10**6, 4.96), (10**7, 5.39)])
def test_the_largest_of_many_normal_values(n, median):
    fits = [schemes.extreme_fits(SHAPES["normal"], median * by, n, 0.0) for by in (0.8, 1, 1.6)]
    assert fits == [False, True, False]


@pytest.mark.parametrize(
    ("model", "width", "std"), [("pythia-1.4b", 2048, 0.013975), ("pythia-2.8b", 2560, 0.0125)]
)
def test_small_init_is_that_of_published_models(model, width, std):
    small = next(s for s in schemes.SCHEMES if s.name == "small-init")
    config = {"hidden_size": width, "num_hidden_layers": 24}
    assert small.std(setting_of(config)) == pytest.approx(std, rel=1e-4)


def test_a_config_of_nonsense_gives_no_setting():
    for config in (None, {}, {"hidden_size": "x", "n_layer": True, "initializer_range": math.nan}):
        setting = setting_of(config)
        assert (setting.width, setting.layers, setting.spread) == (None, None, None)


def vector(values: list[float] | Float[np.ndarray, " n"], **more) -> Verdict:
    given = {"kind": "bias", "inputs": 64, "rounding": SINGLE, "less_one": False, **more}
    return judge_vector(np.asarray(values, dtype=np.float64), **given)


def test_vectors():
    assert vector([0.0] * 8).verdict == "zeros"
    assert vector([1.0] * 8, kind="norm").verdict == "ones"
    assert vector([0.5] * 8).verdict == "constant"
    assert vector([0.0] * 8, kind="norm", less_one=True).verdict == "identity"
    assert vector([0.0] * 8, kind="norm").verdict == "zeros"
    assert vector([0.9, 1.1], kind="norm").verdict == TRAINED
    assert vector([0.9, 1.1]).verdict == TOO_SMALL
    torch.manual_seed(0)
    linear = nn.Linear(64, 512)
    bias = linear.bias.detach().double().numpy()
    assert vector(bias).verdict == "torch Linear default"
    assert vector(bias * 1.5).verdict == TRAINED
    assert vector(bias, inputs=128).verdict == TRAINED
    assert vector(np.random.default_rng(0).normal(0, 0.05, 512)).verdict == TRAINED
    assert vector(np.random.default_rng(0).normal(0, 1e-200, 512)).verdict == TRAINED
    assert vector(bias, kind="other").verdict == TOO_SMALL


def test_nothing_but_matrices_is_called_untrained():
    assert vector([0.0] * 8).untrained is None
    assert vector([1.0] * 8, kind="norm").untrained is None
