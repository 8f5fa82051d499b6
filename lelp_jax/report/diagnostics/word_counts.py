"""Texts as weighted counts of words and word pairs, the inputs of a probe without any model."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

# Japanese and Chinese are written without blanks, so each of their characters counts as a word.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+")


def compute_features(
    texts: Sequence[str], test_texts: Sequence[str], max_features: int, max_words: int
) -> tuple[np.ndarray, np.ndarray]:
    """Computes TF-IDF features of texts over the words and word pairs that most texts contain.

    Counts are weighted by 1 + log((1 + n) / (1 + m)) for a word or pair in m of the n texts (Sparck
    Jones, A Statistical Interpretation of Term Specificity, 1972; smoothed as in scikit-learn), and
    each text is scaled to length 1. Keeps the most frequent terms instead of hashing all of them:
    with so few features, hash collisions between frequent words would hide the informative ones.

    Args:
        texts: The texts to choose the terms from, [n].
        test_texts: Other texts, [m].
        max_features: The largest number of terms.
        max_words: The number of words that are read of each text.

    Returns:
        Features of both, [n, features] and [m, features] float32; all 0 for a text without any of
        the terms.
    """
    counts = [_count_terms(text, max_words) for text in texts]
    num_texts = Counter(term for count in counts for term in count)
    # Ties are broken alphabetically, so that the features do not depend on the order of the rows.
    terms = sorted(num_texts, key=lambda term: (-num_texts[term], term))[:max_features]
    column = {term: number for number, term in enumerate(terms)}
    frequency = np.array([num_texts[term] for term in terms], np.float64)
    weight = 1 + np.log((1 + len(texts)) / (1 + frequency))

    def weigh(counts: Sequence[Counter[str]]) -> np.ndarray:
        values = np.zeros((len(counts), len(terms)), np.float32)
        for row, count in zip(values, counts, strict=True):
            known = [term for term in count if term in column]
            row[[column[term] for term in known]] = [count[term] for term in known]
        values *= weight
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return values / np.where(length == 0, 1, length)

    return weigh(counts), weigh([_count_terms(text, max_words) for text in test_texts])


def _count_terms(text: str, max_words: int) -> Counter[str]:
    """Counts the first words of a text and the pairs of neighbours among them."""
    matches = itertools.islice(_WORD.finditer(text.lower()), max_words)
    words = [match[0] for match in matches]
    return Counter(itertools.chain(words, map(" ".join, itertools.pairwise(words))))
