"""Every configuration that is shipped trains a tiny model, and says what it did."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inspector.errors import BadOption
from inspector.finetune.config import Config, Section, load_config
from inspector.finetune.run import finetune
from inspector.finetune.strategies import STRATEGIES
from tests.finetune.conftest import rows, saved, written

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
DOCS = Path(__file__).parents[2] / "docs" / "finetuning.md"


def sections(section: type[Section] = Config) -> list[type[Section]]:
    """A section with all that it may hold."""
    found = [section]
    for field in section.model_fields.values():
        kind = field.annotation
        kinds = (kind, *getattr(kind, "__args__", ()))
        for one in kinds:
            if isinstance(one, type) and issubclass(one, Section):
                found += sections(one)
    return found


def test_every_key_is_documented():
    for section in sections():
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            assert field.description.endswith("."), f"{section.__name__}.{name}"


def with_signal(folder: Path) -> Path:
    """The same model with a direction far above noise in each matrix of its middle layer."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name, one in tensors.items():
        if ".layer.1." in name and one.ndim == 2:
            one += 3 * one.std() / one.shape[0] ** 0.5 * torch.outer(*map(torch.ones, one.shape))
    save_file(tensors, file, {"format": "pt"})
    return folder


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_train(path, tmp_path):
    settings = [f"run={tmp_path / 'run'}", "training.max_steps=2", "training.device=cpu"]
    settings += ["diagnostics.every=1", "training.batch=4"]
    config = load_config(path)
    if not config.model.startswith("demo:"):
        train, test = (written(tmp_path / f"{n}.jsonl", rows(24, n)) for n in (1, 2))
        model = with_signal(saved(tmp_path / "model", "bert", num_hidden_layers=3))
        settings += [f"model={model}", f"data.train={train}", f"data.test={test}"]
        settings += ["data.label=label", "strategy.share=0.4"]
    else:
        settings += ["data.rows=40"]
        if config.data.validation:
            settings += ["data.validation=null", "data.test=null"]
    found = finetune(load_config(path, settings))
    assert found.summary["steps"] == 2
    assert 0 < found.summary["trained_parameters"] <= found.summary["parameters"]
    assert config.strategy.name in STRATEGIES
    for name in ("result.json", "metrics.jsonl", "health.jsonl", "drift.json"):
        assert (tmp_path / "run" / name).stat().st_size
    assert (tmp_path / "run" / "gate.json").exists() == (config.gate is not None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: a\ntask: causal-lm\nrun: b\n", "data is missing"),
        (
            "model: a\ntask: causal-lm\nrun: b\ndata: {train: c, max_tokns: 3}\n",
            "row 4: data.max_tokns is no key of the configuration; did you mean max_tokens",
        ),
        ("model: a\ntask: sing\nrun: b\ndata: {train: c}\n", "row 2: task should be 'sequence-cl"),
        (
            "model: a\ntask: causal-lm\nrun: b\ndata: {train: c}\ntraining:\n  epochs: no\n",
            "row 6: training.epochs should be a valid number",
        ),
        (
            "model: a\ntask: causal-lm\nrun: b\ndata: {train: c}\ntraining:\n  epochs: -1\n",
            "row 6: training.epochs should be greater than 0, not '-1'",
        ),
        ("model: a\nmodel: b\n", "row 2: the key 'model' stands twice"),
        ("- a\n", "a configuration is keys with values"),
        ("a: &x 1\n", "anchors and aliases are not read"),
    ],
)
def test_wrong_configurations_are_told_by_row(text, told, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(BadOption, match="c.yaml") as caught:
        load_config(path)
    assert told in str(caught.value)


def test_settings_go_over_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model: a\ntask: causal-lm\nrun: b\ndata: {train: c}\n")
    given = ["optimiser.learning_rate=1e-4", "strategy.layers=[a, b]", "gate.utility_loss=0.5"]
    config = load_config(path, given)
    assert config.optimiser.learning_rate == 1e-4
    assert config.strategy.layers == ("a", "b")
    assert config.gate is not None
    assert config.gate.utility_loss == 0.5
    assert load_config(path).gate is None
    for wrong in ("training.epochs", "=3", "model.x=1", "training.epochs=x"):
        with pytest.raises(BadOption, match="set|training.epochs"):
            load_config(path, [wrong])


def documented() -> str:
    """The keys as a table a section."""
    parts = []
    for section in dict.fromkeys(sections()):
        name = section.__name__.lower() if section is not Config else "top level"
        parts.append(f"\n### {name}\n\n| key | default | what it is |\n|---|---|---|\n")
        for key, field in section.model_fields.items():
            default = "" if field.is_required() else f"`{shown(field.default)}`"
            told = " ".join(str(field.description).split()).replace("|", "\\|")
            parts.append(f"| `{key}` | {default} | {told} |\n")
    return "".join(parts)


def shown(value: object) -> str:
    if isinstance(value, Section):
        return "below"
    return "none" if value is None else str(value)


def test_docs_hold_every_key():
    text = DOCS.read_text()
    start, end = "<!-- keys -->\n", "<!-- end of keys -->"
    assert text.split(start)[1].split(end)[0] == documented()
