"""LELP with several rotations at once, each taught to a head of its own."""

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import lelp_ensemble

METHOD = pseudo_subclass.method(
    name="lelp_ensemble",
    reference="this project; one rotation: LELP, section 3",
    projector=lelp_ensemble.PROJECTOR,
    beta=settings.BETA,
)
