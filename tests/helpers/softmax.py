"""The softmax over the last axis, in NumPy and float64."""

import numpy as np


def log_softmax(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(values))
