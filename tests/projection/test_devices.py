"""Projections are the same on one device, on several, and in two processes."""

import sys

import numpy as np
import pytest

from tests.helpers.processes import finish_all, launch, launch_pair

COMMAND = [sys.executable, "-m", "tests.helpers.projection_process"]


def agree(first: dict, second: dict) -> None:
    for kind, entry in first.items():
        if isinstance(entry, dict):
            for name, values in entry.items():
                difference = np.abs(np.array(values) - np.array(second[kind][name])).max()
                assert difference < 1e-4, (kind, name, difference)


@pytest.fixture(scope="module")
def single() -> dict:
    (result,) = finish_all([launch(COMMAND, 1)])
    assert result is not None
    return result


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
def test_several_devices_fit_what_one_does(single, devices):
    (several,) = finish_all([launch(COMMAND, devices)])
    assert several is not None
    assert (single["devices"], several["devices"]) == (1, devices)
    agree(single, several)


@pytest.mark.slow
def test_two_processes_fit_what_one_does(single):
    first, second = finish_all(launch_pair(COMMAND))
    assert second is None
    assert first is not None
    assert (first["devices"], first["processes"]) == (4, 2)
    agree(single, first)
