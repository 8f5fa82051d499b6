"""Pseudo-subclasses from soft k-means clusters of the teacher's embedding."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import soft_kmeans

METHOD = pseudo_subclass.method(
    name="soft_kmeans",
    reference="this project; hard k-means splits: LELP, section 4",
    projector=soft_kmeans.PROJECTOR,
    beta=settings.BETA,
)
