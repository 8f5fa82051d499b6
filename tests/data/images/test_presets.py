"""Sections of config files for images."""

import dataclasses

import pytest

from lelp_jax import data, presets
from lelp_jax.core.fields import read_fields

# Those of sets that have no default name take one.
ARGUMENTS = {"image_hub": ("someone/shapes",), "image_tfds": ("cifar10",)}
COMMON = ("split", "split_seed", "transfer_size", "labelled_rows")


@pytest.mark.parametrize("name", [name for name in data.SOURCES if name.startswith("image_")])
def test_a_section_has_all_keys_with_their_defaults(name: str) -> None:
    section = getattr(presets, f"build_{name}")(*ARGUMENTS.get(name, ()))
    fields = read_fields(data.SOURCES[name])
    assert section.source == name
    assert set(section) - {"source", *COMMON} == set(fields)
    for key, field in fields.items():
        assert field.meaning, key
        if field.default is not dataclasses.MISSING:
            assert section[key] == field.default, key
