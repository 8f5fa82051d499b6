"""Fits projections in a process of its own and prints them; run by projection/test_devices.py."""

import json
import sys

import numpy as np

from lelp_jax.core import parallel

parallel.set_up()
parallel.join_processes()

import jax  # noqa: E402

from lelp_jax.projection import PROJECTORS, scoring  # noqa: E402
from lelp_jax.projection.engine import stream  # noqa: E402
from lelp_jax.projection.engine.rows import EmbeddedRows  # noqa: E402

# Several batches for every device and process.
stream._MOST_ROWS = 64

ROWS, DIMS, CLASSES = 1500, 12, 2
random = np.random.default_rng(0)
label = random.integers(-1, CLASSES, ROWS).astype(np.int32)
deviation = np.array([5, 4, 3, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
turn = np.linalg.qr(random.normal(size=(CLASSES + 1, DIMS, DIMS)))[0]
embedding = np.einsum("nd,nde->ne", random.exponential(size=(ROWS, DIMS)) * deviation, turn[label])
rows = EmbeddedRows((embedding + 30).astype(np.float32), np.arange(ROWS), label)
weights = random.normal(size=(DIMS, CLASSES)).astype(np.float32)

settings = {
    "num_subclasses": 3,
    "num_components": 4,
    "null_space": True,
    "rotate": True,
    "center": True,
    "standardize": True,
}
result: dict = {"devices": len(jax.devices()), "processes": jax.process_count()}
for kind, solver in (
    ("lelp", "covariance"),
    ("lelp", "randomized"),
    ("soft_kmeans", "covariance"),
    ("random_projection", "covariance"),
):
    projection = PROJECTORS[kind].fit(rows, weights, {**settings, "solver": solver}, 3)
    plain = PROJECTORS["lelp"].fit(
        rows, weights, {**settings, "solver": solver, "rotate": False}, 3
    )
    scores = scoring.collect(projection, rows)
    entry = {"scores": scores[::7].tolist(), "signed": plain.basis.tolist()}
    if kind == "lelp":
        basis = projection.basis
        entry["projectors"] = np.einsum("cds,ces->cde", basis, basis).tolist()
    result[f"{kind} {solver}"] = entry
if parallel.is_first_process():
    print(json.dumps(result))
parallel.wait_for_processes("end")
sys.stdout.flush()
