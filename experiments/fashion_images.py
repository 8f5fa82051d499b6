"""Parity of Fashion-MNIST with convolutional networks, for few and many images.

    python -m lelp_jax.main --config=experiments/fashion_images.py --config.data.file=fashion_mnist.npz
    python -m lelp_jax.main --config=experiments/fashion_images.py:online --config.data.file=fashion_mnist.npz
    python -m lelp_jax.main --config=experiments/fashion_images.py:views --config.data.file=fashion_mnist.npz

Data and teachers are those of configs/fashion_mnist_bin.py:files. In the first line, students see 300,
2,000 or 10,000 images as they are. In the others they see 2,000 images, moved and mirrored at random: the
teacher answers for the very images in every step, or a bank holds its outputs for 8 views of each image.
With the same --workdir, all three use the same teachers.
"""

from ml_collections import ConfigDict

from configs import fashion_mnist_bin


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "online", "views"):
        raise ValueError(f"unknown argument {argument!r}; known: online, views")
    config = fashion_mnist_bin.get_config("files")
    config.replicates = 8
    if argument:
        config.student.train.augmentation.crop = 2
        config.student.train.augmentation.flip = 0.5
    if argument == "online":
        config.student.teacher_outputs = "online"
    if argument == "views":
        config.bank.views = 8
    if not argument:
        config.sweep = ConfigDict({"key": "data.transfer_size", "values": (300, 2000, 10000)})
    return config
