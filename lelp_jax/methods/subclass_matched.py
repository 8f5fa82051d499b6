"""Subclass Distillation from the very teacher that the other methods have.

Only a new output layer is trained, on the embedding of the experiment's teacher: what the student
gains then comes from the subclasses, not from another teacher.
"""

from lelp_jax.methods import subclass_distillation
from lelp_jax.methods.base import Method

METHOD = Method(
    name="subclass_matched",
    reference="Müller, Kornblith and Hinton, arXiv 2002.03936, with the teacher's trunk kept",
    settings=subclass_distillation.SETTINGS,
    loss=subclass_distillation.loss,
    prepare=subclass_distillation.prepare,
    readout=subclass_distillation.readout,
    teacher=subclass_distillation.own_teacher(frozen_trunk=True),
)
