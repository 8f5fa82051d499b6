"""CIFAR-100, odd or even class: the images of LELP's Table 1 (arXiv 2409.20449, section 4.1).

    python -m lelp_jax.main --config=configs/cifar100_bin.py
    python -m lelp_jax.main --config=configs/cifar100_bin.py:hub
    python -m lelp_jax.main --config=configs/cifar100_bin.py:files --config.data.file=cifar100.npz

The same as configs/cifar10_bin.py, with 50 original classes in each of the two. We have not run it.
"""

from ml_collections import ConfigDict

from configs import cifar10_bin


def get_config(argument: str = "") -> ConfigDict:
    config = cifar10_bin.get_config(argument)
    if argument == "hub":
        config.data.name = "uoft-cs/cifar100"
        config.data.label = "fine_label"  # the 100 classes; `coarse_label` has 20
    elif not argument:
        config.data.name = "cifar100"
        config.data.label = "label"
    return config
