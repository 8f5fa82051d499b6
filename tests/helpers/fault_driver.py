"""Runs `lelp_jax.main` in this process and sends it a signal at a named point.

    python fault_driver.py POINT COUNT SIGNAL [main's arguments]

The process sends itself the signal (SIGKILL, SIGINT, ...) when the point is passed for the COUNT-th
time. Dispatches are cut to a few steps so that a small run has several of them.
"""

import importlib
import os
import signal
import sys
import threading
import time

from lelp_jax.bank import store
from lelp_jax.train import plan

STEPS_PER_DISPATCH = 20
CHUNK_ROWS = 256

# Point: module, attribute path, whether to kill before, during or after the call, and a test of
# its arguments.
POINTS = {
    "none": None,
    "teachers": (
        "lelp_jax.train.runner",
        "Runner.dispatch",
        "after",
        lambda runner, *_: runner.job.stage == "teachers",
    ),
    "students": (
        "lelp_jax.train.runner",
        "Runner.dispatch",
        "after",
        lambda runner, *_: runner.job.stage == "students",
    ),
    "checkpoint save": (
        "lelp_jax.core.checkpoint",
        "Checkpoints.save",
        "during",
        lambda *_: True,
    ),
    "fleet finish": (
        "lelp_jax.core.artifacts",
        "finish",
        "before",
        lambda folder, *_: folder.parent.name == "students",
    ),
    "after fleet finish": (
        "lelp_jax.core.artifacts",
        "finish",
        "after",
        lambda folder, *_: folder.parent.name == "students",
    ),
    "bank chunk": (
        "lelp_jax.bank.store",
        "_write_json",
        "after",
        lambda _, name, *__: name.startswith("chunks/"),
    ),
    "bank": (
        "lelp_jax.bank.store",
        "_write_json",
        "after",
        lambda _, name, *__: name == "manifest.json",
    ),
    "projection": ("lelp_jax.projection.base", "save", "after", lambda *_: True),
    "curve log": ("lelp_jax.core.curves", "CurveLog.write", "after", lambda *_: True),
    "evaluation": ("lelp_jax.deploy.export", "save", "after", lambda *_: True),
    "results written": (
        "lelp_jax.core.files",
        "write_atomic",
        "after",
        lambda path, *_: path.name == "results.jsonl" and path.parent.parent.name != "reports",
    ),
    "report published": (
        "lelp_jax.core.files",
        "write_atomic",
        "before",
        lambda path, *_: path.name == "report.md" and path.parent.name == "report",
    ),
}


def install(point: str, count: int, number: int) -> None:
    """Patches the point so that the signal is sent when it is passed for the `count`-th time."""
    if POINTS[point] is None:
        return
    module, path, when, matches = POINTS[point]
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    left = count

    def call(*arguments, **named):
        nonlocal left
        if not matches(*arguments, *named.values()):
            return original(*arguments, **named)
        left -= 1
        # The call may call itself: a log writes to its follower.
        last = left == 0
        if last and when == "before":
            os.kill(os.getpid(), number)
        if last and when == "during":
            folder = arguments[0]._folder
            watcher = threading.Thread(target=_kill_in_mid_save, args=[folder], daemon=True)
            watcher.start()
        result = original(*arguments, **named)
        if last:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, call)


def _kill_in_mid_save(folder) -> None:
    """Kills as soon as the temporary folder of a save is seen: data are being written to it."""
    while not any("tmp" in path.name for path in folder.glob("*")):
        time.sleep(1e-4)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    plan._MAX_STEPS = STEPS_PER_DISPATCH
    store._MOST_CHUNK_ROWS = CHUNK_ROWS
    # Tests may run in the background, where Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    install(sys.argv[1], int(sys.argv[2]), signal.Signals[sys.argv[3]])
    from lelp_jax.main import main

    sys.exit(main(["lelp_jax.main", *sys.argv[4:]]))
