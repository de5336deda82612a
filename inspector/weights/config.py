"""config.json read as data: never imported, never run, never believed about sizes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspector.results import show_plain
from inspector.weights.index import stays_inside
from inspector.weights.problems import Log

CAP = 1_000_000  # bytes
MOST_LAYERS = 10_000
RUNS_CODE = ("auto_map", "trust_remote_code", "_attn_implementation_internal", "custom_pipelines")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")


def read_config(folder: Path, log: Log) -> Mapping[str, Any] | None:
    """The object in `folder`/config.json; None, with a finding, when there is none to be had."""
    path = folder / "config.json"
    if not path.is_file():
        log.add("CF-MISSING", "config.json", "there is no config.json: roles come from names alone")
        return None
    if not stays_inside(path):
        log.add("CF-TARGET", "config.json", "config.json is a link that leads out of the directory")
        return None
    if (size := path.stat().st_size) > CAP:
        log.add("CF-CAP", "config.json", f"config.json has {size:,} bytes, the limit is {CAP:,}")
        return None
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        log.add("CF-JSON", "config.json", f"config.json is not JSON: {show_plain(str(error))}")
        return None
    if not isinstance(config, dict):
        log.add(
            "CF-JSON", "config.json", f"config.json is a {type(config).__name__}, not an object"
        )
        return None
    for key in RUNS_CODE:
        if config.get(key):
            log.add("CF-CODE", "config.json", f"`{key}` is set", value=show_plain(str(config[key])))
    for key in LAYER_KEYS:
        layers = config.get(key)
        if layers is not None and not (type(layers) is int and 0 <= layers <= MOST_LAYERS):
            shown = show_plain(str(layers), 30)
            log.add(
                "CF-RANGE",
                "config.json",
                f"`{key}` is {shown}, at most {MOST_LAYERS:,} expected",
                value=shown,
            )
    return config
