"""The tests' own fences hold."""

import asyncio
import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

FAR = "192.0.2.1"  # an address kept for documentation: nobody has it


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_far_addresses_cannot_be_reached(method):
    with socket.socket() as near, pytest.raises(RuntimeError, match=FAR):
        getattr(near, method)((FAR, 80))


def test_nor_by_the_usual_helpers():
    with pytest.raises(RuntimeError, match=FAR):
        socket.create_connection((FAR, 80), timeout=1)
    # in a thread: the browser's tests may have left an event loop running in this one
    with pytest.raises(RuntimeError, match=FAR), ThreadPoolExecutor(1) as pool:
        pool.submit(_open_far).result()


def _open_far() -> None:
    asyncio.run(asyncio.wait_for(asyncio.open_connection(FAR, 80), 1))


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_nothing_is_kept_in_the_users_folders():
    from huggingface_hub import constants

    assert os.environ["INSPECTOR_CACHE"].startswith(tempfile.gettempdir())
    assert constants.HF_HUB_CACHE.startswith(tempfile.gettempdir())
    assert constants.HF_HUB_OFFLINE


def test_types_and_axes_are_checked_in_every_call():
    import numpy as np
    from beartype.roar import BeartypeException
    from jaxtyping import TypeCheckError

    from inspector.fairness.sentences import Sentence
    from inspector.model.agreement import spearman
    from inspector.weights.hub import is_hub_id

    three, four = np.zeros(3), np.zeros(4)
    assert spearman(three, three) is None
    with pytest.raises(TypeCheckError):
        spearman(three, four)
    with pytest.raises(BeartypeException):
        is_hub_id(3)
    with pytest.raises(BeartypeException):
        Sentence(text=3)
