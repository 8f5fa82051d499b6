"""Banks of several chunks although they are small."""

import pytest

from lelp_jax.bank import store
from tests.helpers.banks import CHUNK


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MOST_CHUNK_ROWS", CHUNK)
