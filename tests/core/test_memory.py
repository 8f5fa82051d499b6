"""Memory that is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

from lelp_jax.core import memory

# A thread, since programs run in those of a pool; 64 MiB, since no heap but the first grows beyond.
FAULTS = """
import resource, sys, threading
import numpy as np
from lelp_jax.core import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def later():
    faults()
    print(faults())

if "kept" in sys.argv:
    memory.keep_freed_memory()
thread = threading.Thread(target=later)
thread.start()
thread.join()
"""


def faults(*arguments):
    """Returns page faults of the second time that as much memory is used."""
    command = [sys.executable, "-c", FAULTS, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="options of glibc")
def test_freed_memory_is_taken_again():
    # Pages may be huge: then there are few faults, but more than none.
    assert faults() > 10
    assert faults("kept") < 10


def test_other_libraries_are_left_alone(monkeypatch):
    opened = []
    # A library without mallopt: calling what it lacks would raise.
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: opened.append(name) or object())
    monkeypatch.setattr(sys, "platform", "darwin")
    memory.keep_freed_memory()
    assert opened == []
    monkeypatch.setattr(sys, "platform", "linux")
    memory.keep_freed_memory()
    assert opened == [None]
