"""CIFAR-10, odd or even class: the images of LELP's Table 1 (arXiv 2409.20449, section 4.1).

    python -m lelp_jax.main --config=configs/cifar10_bin.py
    python -m lelp_jax.main --config=configs/cifar10_bin.py:hub
    python -m lelp_jax.main --config=configs/cifar10_bin.py:files --config.data.file=cifar10.npz

The class is whether the number of the original class, which is the fine label, is odd. A ResNet-92
teaches ResNets-56. The first line reads the images from TFDS, the second from the Hugging Face hub, the
third from an .npz file with x_train, y_train, x_test and y_test. All need an accelerator, and we have not
run them.
experiments/table1_images.py has the paper's other students, and its published values.

The paper does not say how its networks are trained. Here they are trained as usual for such images
(Zagoruyko and Komodakis, arXiv 1605.07146, section 3), with a cosine schedule. In every step the teacher
answers for the very crop that the student sees.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "hub", "files"):
        raise ValueError(f"unknown argument {argument!r}; known: hub, files")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 3

    if argument == "files":
        config.data = presets.build_image_arrays()
    elif argument == "hub":
        config.data = presets.build_image_hub("uoft-cs/cifar10")
    else:
        config.data = presets.build_image_tfds("cifar10")
    config.data.class_map = ("parity",)

    resnet = {"name": "resnet", "width": 16, "block": "basic", "normalization": "batch"}
    resnet["compute_dtype"] = "bfloat16"
    config.teacher = presets.build_image_teacher({**resnet, "depth": 92}, epochs=200, count=3)
    config.bank = presets.build_bank()
    config.student = presets.build_image_student({**resnet, "depth": 56}, epochs=200)
    for section in (config.teacher, config.student):
        section.train.augmentation.crop = 4
        section.train.augmentation.flip = 0.5
    config.student.teacher_outputs = "online"

    config.methods = methods.default_config(
        *("labels", "kd", "agglomerative", "kmeans", "tsne_kmeans", "lelp", "soft_kmeans"),
        *("oracle", "random_split"),
        trials=2,
    )
    presets.use_image_rates(config.methods)
    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 300.0})
    return config
