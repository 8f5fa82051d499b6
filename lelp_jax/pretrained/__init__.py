"""Pretrained transformer encoders of the Hugging Face hub, read without PyTorch."""

from lelp_jax.pretrained.checkpoint import Pretrained as Pretrained
from lelp_jax.pretrained.checkpoint import cut as cut
from lelp_jax.pretrained.checkpoint import load as load
