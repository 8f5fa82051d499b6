"""Pseudo-subclasses from k-means of a t-SNE map of the teacher's embedding."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import tsne_kmeans

METHOD = pseudo_subclass.method(
    name="tsne_kmeans",
    reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, section 4, 2024",
    projector=tsne_kmeans.PROJECTOR,
    # A hard assignment, the default, does not depend on beta.
    beta=settings.BETA.trying(1.0),
)
