"""Sections of config files for images."""

import dataclasses
import inspect

import pytest

from lelp_jax import data, presets
from lelp_jax.core.fields import read_fields

BUILDERS = {
    name.removeprefix("build_"): build
    for name, build in inspect.getmembers(presets, inspect.isfunction)
    if name.startswith("build_image_")
}


def test_every_source_of_images_has_a_section() -> None:
    assert set(BUILDERS) == {name for name in data.SOURCES if name.startswith("image_")}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_section_has_all_keys_with_their_defaults(name: str) -> None:
    section = BUILDERS[name]("x") if name in ("image_hub", "image_tfds") else BUILDERS[name]()
    fields = read_fields(data.SOURCES[name])
    common = {"source", "split", "split_seed", "transfer_size"}
    assert set(section) - common == set(fields)
    for key, field in fields.items():
        assert field.meaning, key
        if field.default is not dataclasses.MISSING:
            assert section[key] == field.default, key
