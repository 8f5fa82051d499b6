"""LELP without its rotation: the principal components in the null space, as they are."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import lelp

METHOD = pseudo_subclass.method(
    name="lelp_unrotated",
    reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, appendix C, 2024",
    projector=lelp.PROJECTOR,
    beta=settings.BETA,
    pinned={"rotate": settings.fixed(False, "as method 'lelp' is the one that rotates")},
)
