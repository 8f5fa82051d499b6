"""Texts as counts of words and pairs of neighbouring words, for a probe without any model."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

# Japanese syllables and Chinese characters are written without blanks: each is a word.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+")


def features(
    seen: Sequence[str], unseen: Sequence[str], most: int, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how often texts hold the words and pairs that are in most of the seen ones.

    Each count is weighted by 1 + log((1 + n) / (1 + m)), where m of the n seen texts hold the word
    or pair (Sparck Jones, A Statistical Interpretation of Term Specificity, 1972; smoothed as in
    scikit-learn), and each text is scaled to length 1. The most frequent ones are taken rather than
    hashes of all: the frequent ones that share a place would drown the telling ones. Ties go by the
    characters, so that the features do not depend on the order of the rows.

    Args:
        seen: Texts that the words are chosen from, [n].
        unseen: Other texts, [m].
        most: How many words and pairs at most.
        longest: How many words of a text are read.

    Returns:
        Features of the two, [n, features] and [m, features] float32. A text without any of the
        words is all 0.
    """
    counts = [_count(text, longest) for text in seen]
    holding = Counter(term for count in counts for term in count)
    chosen = sorted(holding, key=lambda term: (-holding[term], term))[:most]
    place = {term: number for number, term in enumerate(chosen)}
    rows_with = np.array([holding[term] for term in chosen], np.float64)
    weight = 1 + np.log((1 + len(seen)) / (1 + rows_with))

    def weighted(counts: Sequence[Counter[str]]) -> np.ndarray:
        values = np.zeros((len(counts), len(chosen)), np.float32)
        for row, count in zip(values, counts, strict=True):
            known = [term for term in count if term in place]
            row[[place[term] for term in known]] = [count[term] for term in known]
        values *= weight
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return values / np.where(length == 0, 1, length)

    return weighted(counts), weighted([_count(text, longest) for text in unseen])


def _count(text: str, longest: int) -> Counter[str]:
    found = itertools.islice(_WORD.finditer(text.lower()), longest)
    words = [match[0] for match in found]
    return Counter(itertools.chain(words, map(" ".join, itertools.pairwise(words))))
