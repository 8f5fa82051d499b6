"""Projections are the same on one device, on several, and in two processes."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import tiny

COMMAND = [sys.executable, "-m", "tests.helpers.projection_process"]


def launch(command: list[str], devices: int, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=tiny.ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch_pair(command: list[str]) -> list[subprocess.Popen]:
    """Starts two processes with two devices each, which find one another."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    return [
        launch(
            command,
            2,
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]


def finish_all(processes: list[subprocess.Popen]) -> list[dict | None]:
    """Waits for processes; returns the JSON that each printed."""
    results = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        # The library that connects processes prints lines of its own.
        lines = [line for line in out.splitlines() if line.startswith("{")]
        results.append(json.loads(lines[-1]) if lines else None)
    return results


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
