"""A GPT-2 whose four heads are made by hand: previous token, broad, induction, sink."""

from pathlib import Path

import torch
from model.conftest import WORDS, letters
from transformers import GPT2Config, GPT2LMHeadModel

PLACES = 128
SHARP = 4.0


def save(folder: Path) -> Path:
    """The stream holds one-hot token, one-hot place, and, after layer 0, the token before."""
    words = len(WORDS)
    width = words + PLACES + words
    config = GPT2Config(
        **{"n_layer": 2, "n_head": 2, "n_embd": width, "n_positions": PLACES, "n_inner": 4},
        **{"vocab_size": words, "bos_token_id": 1, "eos_token_id": 2},
    )
    network = GPT2LMHeadModel(config).eval()
    token, place, before = slice(words), slice(words, words + PLACES), slice(-words, None)
    dim = width // 2
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        network.transformer.wte.weight[:, token] = torch.eye(words)
        network.transformer.wpe.weight[:, place] = torch.eye(PLACES)
        first, second = (block.attn for block in network.transformer.h)
        # layer 0, head 0: a query asks for the place before its own, and passes the token on
        first.c_attn.weight[place, :PLACES] = SHARP * torch.eye(PLACES).roll(-1, 1)
        first.c_attn.weight[place, width : width + PLACES] = SHARP * torch.eye(PLACES)
        first.c_attn.weight[token, 2 * width : 2 * width + words] = torch.eye(words)
        first.c_proj.weight[:words, before] = torch.eye(words)
        # layer 1, head 0: a query asks for its own token among those before
        second.c_attn.weight[token, :words] = SHARP * torch.eye(words)
        second.c_attn.weight[before, width : width + words] = SHARP * torch.eye(words)
        # layer 1, head 1: every query asks for the first place; heads pass something on
        second.c_attn.bias[dim] = 4 * SHARP
        second.c_attn.weight[words, width + dim] = SHARP
        second.c_attn.weight[token, 2 * width : 2 * width + words] = torch.eye(words)
        second.c_proj.weight[:words, before] = 0.1 * torch.eye(words)
    network.save_pretrained(folder)
    letters().save_pretrained(folder)
    return folder
