"""Processes of a test's own: several devices, several processes, settings read only once."""

import json
import os
import socket
import subprocess
import sys

from tests.helpers.paths import ROOT


def launch(command: list[str], devices: int = 1, **environment: str) -> subprocess.Popen:
    """Starts a process that sees a number of CPU devices and imports this checkout."""
    own = {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        command,
        env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch_pair(command: list[str]) -> list[subprocess.Popen]:
    """Starts two processes with two devices each, which find one another."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    common = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [launch(command, 2, **common, JAX_PROCESS_ID=str(number)) for number in range(2)]


def finish(process: subprocess.Popen) -> dict | None:
    """Waits for a process that must succeed; returns the JSON that it printed, if any."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    # The library that connects processes prints lines of its own.
    lines = [line for line in out.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else None


def finish_all(processes: list[subprocess.Popen]) -> list[dict | None]:
    """Waits for processes; returns the JSON that each printed."""
    return [finish(process) for process in processes]


def run_script(script: str, *arguments: str, devices: int = 1) -> dict:
    """Runs Python source in a process of its own; returns the JSON that it printed."""
    result = finish(launch([sys.executable, "-c", script, *arguments], devices))
    assert result is not None
    return result
