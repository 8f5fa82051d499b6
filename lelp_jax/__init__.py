"""Knowledge distillation for few-class problems through pseudo-subclasses (LELP) in JAX."""

from lelp_jax.version import __version__ as __version__
