"""Parity of Fashion-MNIST with convolutional networks, for few and many images.

    python -m lelp_jax.main --config=experiments/fashion_images.py --config.data.file=fashion_mnist.npz
    python -m lelp_jax.main --config=experiments/fashion_images.py:online --config.data.file=fashion_mnist.npz
    python -m lelp_jax.main --config=experiments/fashion_images.py:views --config.data.file=fashion_mnist.npz

Data and teachers are those of configs/fashion_mnist_bin.py:files. In the first line, students see 300,
2,000 or 10,000 images as they are. In the others they see 2,000 images, moved and mirrored at random: the
teacher answers for the very images in every step, or a bank holds its outputs for 8 views of each image.
With the same --workdir, all three use the same teachers.

Results of the first line: test accuracy in percent, difference to kd [95 % interval], from 8 replicates with
4 teachers; the intervals are for new students, new teachers and new test images.

                  300                         2000                        10000
    kd            94.06                       94.27                       94.27
    labels        93.45 -0.61 [-1.14, -0.07]  94.15 -0.12 [-0.78, +0.55]  94.16 -0.10 [-0.32, +0.11]
    lelp          93.97 -0.09 [-0.57, +0.40]  94.33 +0.06 [-0.97, +1.08]  94.25 -0.01 [-0.82, +0.80]
    soft_kmeans   94.29 +0.23 [-0.53, +1.00]  94.80 +0.53 [-0.28, +1.33]  94.72 +0.46 [+0.00, +0.91]
    kmeans        92.56 -1.50 [-2.61, -0.39]  93.34 -0.93 [-1.66, -0.20]  93.45 -0.81 [-1.17, -0.46]
    oracle        92.08 -1.98 [-2.74, -1.21]  92.40 -1.86 [-3.04, -0.69]  92.46 -1.80 [-2.37, -1.24]
    random_split  93.08 -0.98 [-1.64, -0.33]  94.01 -0.26 [-1.13, +0.61]  94.28 +0.02 [-0.81, +0.85]
    linear        94.59 +0.54 [-0.07, +1.14]  95.70 +1.43 [+0.43, +2.44]  95.95 +1.68 [+1.11, +2.26]

The teachers reach 97.64. No method is ahead of kd beyond chance after correction for six; at 10,000 images
`kmeans` and `oracle` are behind (p 0.002). Two convolutions of 8 and 16 channels with an average over all
places are too small a network: more images hardly help, and logistic regression on pixels (`linear`) is
better. The report warns of both.

Results of the third line, with 8 views of each of 2,000 images. So small a network does not learn moved and
mirrored images in 600 steps: all methods are about two points worse than with the images as they are. (The
labels alone saw images that changed anew in every step, as an earlier version did.)

    kd            92.22
    labels        92.58 +0.36 [-1.94, +2.66]
    lelp          92.33 +0.11 [-2.67, +2.89]
    soft_kmeans   93.12 +0.90 [-1.44, +3.24]
    kmeans        91.59 -0.63 [-3.53, +2.27]
    oracle        90.52 -1.70 [-4.21, +0.82]
    random_split  92.31 +0.09 [-2.77, +2.94]

Results of the second line:

    kd            92.93
    labels        92.58 -0.35 [-1.80, +1.10]
    lelp          92.50 -0.43 [-1.77, +0.91]
    soft_kmeans   92.95 +0.02 [-1.54, +1.59]
    kmeans        91.56 -1.38 [-2.59, -0.16]
    oracle        90.52 -2.42 [-3.53, -1.30]
    random_split  92.02 -0.91 [-2.66, +0.83]

With 2 CPU cores to itself (AMD EPYC) the first line takes about half an hour, the third 11 minutes.
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
