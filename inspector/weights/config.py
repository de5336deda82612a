"""config.json read as data: never imported, never run, never believed about sizes."""

import json
from collections.abc import Mapping
from typing import Any

from inspector.results import show_plain
from inspector.weights.problems import Log
from inspector.weights.storage import Storage

CAP = 1_000_000  # bytes
MOST_LAYERS = 10_000
RUNS_CODE = ("auto_map", "trust_remote_code", "_attn_implementation_internal", "custom_pipelines")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")


def read_config(storage: Storage, log: Log) -> Mapping[str, Any] | None:
    """The object in config.json; None, with a finding, when there is none to be had."""
    if not storage.is_file("config.json"):
        log.add("CF-MISSING", "config.json", "there is no config.json: roles come from names alone")
        return None
    if storage.leads_out("config.json"):
        log.add("CF-TARGET", "config.json", "config.json is a link that leads out of the directory")
        return None
    try:
        size = storage.stamp("config.json").bytes
        if size > CAP:
            told = f"config.json has {size:,} bytes, the limit is {CAP:,}"
            log.add("CF-CAP", "config.json", told)
            return None
        config = json.loads(storage.read("config.json", 0, size))
    except OSError as error:
        log.add("CF-UNREADABLE", "config.json", f"config.json cannot be read: {error.strerror}")
        return None
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
