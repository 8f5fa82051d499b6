"""Pseudo-subclasses from the true fine labels: what perfect knowledge of them would give."""

from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import oracle

METHOD = pseudo_subclass.method(
    name="oracle",
    reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, section 4",
    projector=oracle.PROJECTOR,
    beta=pseudo_subclass.HARD_SPLIT,
)
