"""Pseudo-subclasses at random: shows what the wide head alone does."""

from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import random_split

METHOD = pseudo_subclass.method(
    name="random_split",
    reference="control of this project",
    projector=random_split.PROJECTOR,
    beta=pseudo_subclass.HARD_SPLIT,
)
