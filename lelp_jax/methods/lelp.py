"""LELP, Learning Embedding Linear Projections."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import lelp

METHOD = pseudo_subclass.method(
    name="lelp",
    reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, 2024",
    projector=lelp.PROJECTOR,
    beta=settings.BETA,
)
