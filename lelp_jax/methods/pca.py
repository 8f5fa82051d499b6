"""Pseudo-subclasses from plain principal components of the teacher's embedding."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import lelp

METHOD = pseudo_subclass.method(
    name="pca",
    reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, appendix C, 2024",
    projector=lelp.PROJECTOR,
    beta=settings.BETA,
    pinned={
        "null_space": settings.fixed(False, "as the components are those of the embedding itself"),
        "rotate": settings.fixed(False, "as the directions are the components themselves"),
    },
)
