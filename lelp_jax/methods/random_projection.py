"""Pseudo-subclasses from random directions of the teacher's embedding."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import random_projection

METHOD = pseudo_subclass.method(
    name="random_projection",
    reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, appendix C, 2024",
    projector=random_projection.PROJECTOR,
    beta=settings.BETA,
)
