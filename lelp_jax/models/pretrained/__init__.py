"""Pretrained transformer encoders of the Hugging Face hub, read without PyTorch."""

from lelp_jax.models.pretrained.checkpoint import Pretrained as Pretrained
from lelp_jax.models.pretrained.checkpoint import cut_architecture as cut_architecture
from lelp_jax.models.pretrained.checkpoint import cut_parameters as cut_parameters
from lelp_jax.models.pretrained.checkpoint import load as load
from lelp_jax.models.pretrained.pooling import PoolingChoice as PoolingChoice
