"""The projections beside scikit-learn and faiss, and how they grow with the number of rows.

    make bench-projection

One run: on one core and on all of them, principal components and k-means of each class against
scikit-learn's, in turns, medians of ratios; then the peak memory of each in a process of its own;
then rows from 10^4 to 10^6 read from a bank on disk, twice, the first time to compile. On an
accelerator the same program says what share of the measured peak of a matrix product the pass over
the rows reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine

ROWS, DIMS, CLASSES, SUBCLASSES = 50_000, 768, 2, 10
ROUNDS = 9
GROWTH = (10_000, 100_000, 1_000_000)
# What this benchmark is to show.
MOST_PCA, MOST_KMEANS, MOST_GROWTH = 1.3, 1.4, 100
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def deviation(dims: int) -> np.ndarray:
    """Returns the standard deviation of each principal coordinate: a slowly falling spectrum."""
    return (np.arange(1, dims + 1) ** -0.5).astype(np.float32)


def stretch(start: int, stop: int, dims: int) -> np.ndarray:
    """Returns rows of an endless table, the same whatever stretches it is made in."""
    parts = []
    size = 1000
    for number in range(start // size, -(-stop // size)):
        random = np.random.default_rng(number)
        rows = random.standard_normal((size, dims), np.float32) * deviation(dims)
        # Clusters, so that k-means has something to find.
        rows[:, :8] += 3 * np.eye(8, dtype=np.float32)[random.integers(0, 8, size)]
        parts.append(rows)
    first = start // size * size
    return np.concatenate(parts)[start - first : stop - first] + 1


def labels(rows: int) -> np.ndarray:
    return (np.arange(rows) % CLASSES).astype(np.int32)


def tasks(embedding: Any, label: np.ndarray) -> Mapping[str, Mapping[str, Callable[[], Any]]]:
    """Returns what is measured: ours and theirs of each task, each giving what it optimised.

    Args:
        embedding: [rows, dims] in memory.
        label: [rows].
    """
    from lelp_jax.projection.engine import clusters, pca
    from lelp_jax.projection.engine.rows import EmbeddedRows

    rows = EmbeddedRows(embedding, np.arange(len(label)), label)
    dims = embedding.shape[1]
    none = np.zeros((dims, CLASSES), np.float32)

    def our_pca() -> float:
        found = pca.fit(rows, none, null_space=False, count=SUBCLASSES, solver="covariance")
        return float(found.variance[:, :SUBCLASSES].sum())

    def their_pca() -> float:
        from sklearn.decomposition import PCA

        total = 0.0
        for index in range(CLASSES):
            fitted = PCA(SUBCLASSES, svd_solver="covariance_eigh").fit(embedding[label == index])
            total += float(fitted.explained_variance_.sum())
        return total

    mean = np.stack([embedding[label == index].mean(axis=0) for index in range(CLASSES)])

    def our_kmeans(seed: int) -> float:
        found = clusters.fit(rows, mean, clusters.Options(SUBCLASSES, seed, restarts=1))
        return float(found.inertia.sum())

    def their_kmeans(seed: int) -> float:
        from sklearn.cluster import KMeans

        total = 0.0
        for index in range(CLASSES):
            own = embedding[label == index]
            total += KMeans(SUBCLASSES, n_init=1, random_state=seed).fit(own).inertia_
        return total

    found = {
        "pca": {"lelp_jax": our_pca, "scikit-learn": their_pca},
        "k-means": {"lelp_jax": seeded(our_kmeans), "scikit-learn": seeded(their_kmeans)},
    }
    try:
        import faiss
    except ImportError:
        return found

    def faiss_kmeans(seed: int) -> float:
        total = 0.0
        for index in range(CLASSES):
            own = np.ascontiguousarray(embedding[label == index])
            # Its own limit on rows per centre and its own number of iterations would do less work.
            fitted = faiss.Kmeans(
                dims, SUBCLASSES, niter=25, seed=seed + 1, max_points_per_centroid=len(own)
            )
            fitted.train(own)
            total += float(fitted.index.search(own, 1)[0].sum())
        return total

    found["k-means"]["faiss"] = seeded(faiss_kmeans)
    return found


def seeded(function: Callable[[int], float]) -> Callable[[], float]:
    """Returns a function that calls another one with the seeds 0, 1, ... in turn."""
    calls = iter(range(1 << 30))
    return lambda: function(next(calls))


def compare() -> dict[str, Any]:
    """Times ours and theirs in turns; returns seconds and what was optimised, by task and name."""
    embedding, label = stretch(0, ROWS, DIMS), labels(ROWS)
    result: dict[str, Any] = {}
    for task, candidates in tasks(embedding, label).items():
        result[task] = {name: {"seconds": [], "value": []} for name in candidates}
        for turn in range(ROUNDS + 1):
            for name, run in candidates.items():
                start = time.perf_counter()
                value = run()
                taken = time.perf_counter() - start
                if turn == 0:
                    result[task][name]["first"] = taken
                    continue
                result[task][name]["seconds"].append(taken)
                result[task][name]["value"].append(value)
    return result


def memory(task: str, name: str) -> dict[str, Any]:
    """Does one thing once and returns the peak memory above that of data and imports, in MiB."""
    embedding, label = stretch(0, ROWS, DIMS), labels(ROWS)
    run = tasks(embedding, label)[task][name]
    # Imports and the start of the devices.
    tasks(embedding[:400], label[:400])[task][name]()
    before = peak()
    run()
    return {"mib": peak() - before}


def peak() -> float:
    """Returns the largest memory that this process ever held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [x for x in status.read_text().splitlines() if x.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def grow(rows: int, folder: str) -> dict[str, Any]:
    """Fits projections from a bank on disk; returns seconds and peak memory in MiB."""
    from lelp_jax.bank import store
    from lelp_jax.projection import PROJECTORS
    from lelp_jax.projection.engine.rows import EmbeddedRows

    label = labels(rows)
    weights = np.eye(DIMS, CLASSES, dtype=np.float32)

    def answers(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        embeddings = stretch(int(index[0]), int(index[-1]) + 1, DIMS)
        return embeddings @ weights, embeddings

    of = {"teacher": "benchmark", "data": str(rows)}
    start = time.perf_counter()
    contents = store.Contents(
        of, np.arange(rows), answers, lambda: weights, (CLASSES, DIMS), "float32"
    )
    store.write(folder, contents, check=lambda: None)
    result: dict[str, Any] = {"write": {"seconds": time.perf_counter() - start, "mib": peak()}}
    for name in ("lelp", "soft_kmeans", "kmeans"):
        projector = PROJECTORS[name]
        settings = {key: setting.default[0] for key, setting in projector.search_space.items()}
        bank = store.read(folder, "benchmark", of, np.arange(rows))
        table = EmbeddedRows(bank.embeddings, np.arange(rows), label)
        start = time.perf_counter()
        projector.fit(table, weights, settings, 0)
        result[name] = {"seconds": time.perf_counter() - start, "mib": peak()}
    return result


def accelerator() -> dict[str, Any]:
    """Returns the speed of a large matrix product and of the pass over rows, in operations/s."""
    import jax
    import jax.numpy as jnp

    from lelp_jax.projection.engine import moments

    size = 8192
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    product(matrix).block_until_ready()
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        product(matrix).block_until_ready()
        spent.append(time.perf_counter() - start)
    best = 2 * size**3 / statistics.median(spent)
    rows = jnp.ones((8192, DIMS), jnp.float32)
    state = moments.Moments(
        jnp.zeros(CLASSES),
        jnp.zeros((CLASSES, DIMS)),
        jnp.zeros((CLASSES, DIMS, DIMS)),
        jnp.zeros(CLASSES),
    )
    step = jax.jit(moments.add, donate_argnums=0)
    origin, removed = jnp.zeros((CLASSES, DIMS)), jnp.zeros((DIMS, CLASSES))
    with jax.default_matmul_precision("highest"):
        state = step(state, rows, 0, 8192, origin, removed)
        jax.block_until_ready(state)
        spent, repeats = [], 50
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(repeats):
                state = step(state, rows, 0, 8192, origin, removed)
            jax.block_until_ready(state)
            spent.append((time.perf_counter() - start) / repeats)
    reached = 2 * 8192 * DIMS**2 / statistics.median(spent)
    return {"matmul": best, "pass": reached}


def worker(cores: int, *arguments: str) -> Any:
    """Runs one of the functions above in a process of its own, on so many cores."""
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    environment |= {name: str(cores) for name in _THREADS}
    command = [sys.executable, "-m", "benchmarks.projection", f"--cores={cores}", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cores", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.what:
        _work(parsed.cores, *parsed.what)
        return
    from lelp_jax.core import parallel

    everything = parallel.count_cores()
    print(
        machine.describe("jax", "jaxlib", "scikit-learn", "numpy", *machine.installed("faiss-cpu"))
    )
    print(
        f"{ROWS:,} rows of {DIMS} dims in {CLASSES} classes, {SUBCLASSES} components or centres; "
        f"median [least - largest] of {ROUNDS} rounds in turns\n"
    )
    for cores in sorted({1, everything}):
        _print_comparison(worker(cores, "compare"), cores)
    _print_memory()
    _print_growth()
    speeds = worker(everything, "accelerator")
    reached, most = speeds["pass"] / 1e9, speeds["matmul"] / 1e9
    print(
        f"the pass over the rows: {reached:,.0f} billion operations a second, {reached / most:.0%} "
        f"of the {most:,.0f} of a large float32 matrix product"
    )


def _work(cores: int, what: str, *arguments: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])
    from lelp_jax.core import parallel
    from lelp_jax.core.memory import keep_freed_memory

    keep_freed_memory()
    parallel.set_up()
    functions: Mapping[str, Callable[..., Any]] = {
        "compare": compare,
        "memory": memory,
        "grow": lambda rows, folder: grow(int(rows), folder),
        "accelerator": accelerator,
    }
    print(json.dumps(functions[what](*arguments)))


def _print_comparison(measured: Mapping[str, Any], cores: int) -> None:
    rows = [[f"{cores} core(s)", "seconds", "first", "times ours", "optimised / ours"]]
    for task, results in measured.items():
        ours = results["lelp_jax"]
        for name, result in results.items():
            ratio = [b / a for a, b in zip(result["seconds"], ours["seconds"], strict=True)]
            value = statistics.median(result["value"]) / statistics.median(ours["value"])
            rows.append(
                [
                    f"{task}, {name}",
                    machine.spread(result["seconds"], 3),
                    f"{result['first']:.2f}",
                    f"{1 / statistics.median(ratio):.2f}",
                    f"{value:.4f}",
                ]
            )
    print(machine.table(rows))
    for task, most in (("pca", MOST_PCA), ("k-means", MOST_KMEANS)):
        pairs = zip(
            measured[task]["lelp_jax"]["seconds"],
            measured[task]["scikit-learn"]["seconds"],
            strict=True,
        )
        ratio = statistics.median(a / b for a, b in pairs)
        met = "met" if ratio <= most else "MISSED"
        print(f"{task}: {ratio:.2f} times scikit-learn's time (goal: at most {most}; {met})")
    print()


def _print_memory() -> None:
    rows = [["peak memory above data and imports", "MiB"]]
    for task, name in (
        ("pca", "lelp_jax"),
        ("pca", "scikit-learn"),
        ("k-means", "lelp_jax"),
        ("k-means", "scikit-learn"),
    ):
        rows.append([f"{task}, {name}", f"{worker(1, 'memory', task, name)['mib']:,.0f}"])
    print(machine.table(rows) + "\n")


def _print_growth() -> None:
    measured = {}
    # The second time, the programs are compiled.
    for count in (*GROWTH, *GROWTH):
        with tempfile.TemporaryDirectory() as folder:
            measured[count] = worker(1, "grow", str(count), str(Path(folder) / "bank"))
    rows = [["rows from a bank on disk, 1 core", *(f"{count:,}" for count in GROWTH)]]
    for name in ("write", "lelp", "soft_kmeans", "kmeans"):
        rows.append([f"{name}, seconds", *(f"{measured[n][name]['seconds']:.2f}" for n in GROWTH)])
    for name in ("write", "lelp", "soft_kmeans", "kmeans"):
        rows.append(
            [f"peak after {name}, MiB", *(f"{measured[n][name]['mib']:,.0f}" for n in GROWTH)]
        )
    print(machine.table(rows))
    for name in ("lelp", "kmeans"):
        more = measured[GROWTH[-1]][name]["mib"] - measured[GROWTH[-2]][name]["mib"]
        met = "met" if more <= MOST_GROWTH else "MISSED"
        print(
            f"{name}: {more:,.0f} MiB more for {GROWTH[-1]:,} rows than for {GROWTH[-2]:,} "
            f"(goal: at most {MOST_GROWTH}; {met})"
        )
    print()


if __name__ == "__main__":
    main()
