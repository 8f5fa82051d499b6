"""Fashion-MNIST, odd or even article: small convolutional networks on a CPU.

    python -m lelp_jax.main --config=configs/fashion_mnist_bin.py
    python -m lelp_jax.main --config=configs/fashion_mnist_bin.py:files --config.data.file=fashion_mnist.npz

The class is whether the article's number (t-shirt 0, ..., ankle boot 9) is odd; the article is the fine
label. The first line reads the images from TFDS, the second from an .npz file with x_train, y_train,
x_test and y_test, as Keras ships it.

Four teachers reach 97.64 % of test accuracy in 6 epochs, one in 10 epochs
(--config.teacher.train.epochs=10) 98.08. The students are two convolutions of 8 and 16 channels; their table is
in experiments/fashion_images.py.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "files"):
        raise ValueError(f"unknown argument {argument!r}; known: files")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 8

    config.data = (
        presets.build_image_arrays() if argument else presets.build_image_tfds("fashion_mnist")
    )
    config.data.class_map = ("parity",)
    config.data.transfer_size = 2000

    config.teacher = presets.build_image_teacher(
        {"name": "small_cnn", "widths": (32, 64, 128)}, epochs=6, count=4
    )
    config.teacher.train.augmentation.crop = 2
    config.teacher.train.augmentation.flip = 0.5
    config.bank = presets.build_bank()
    config.student = presets.build_image_student({"name": "small_cnn", "widths": (8, 16)}, epochs=0)
    config.student.train.update({"steps": 600, "batch_size": 64})
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "kmeans", "oracle", "random_split", trials=2
    )
    presets.use_image_rates(config.methods)
    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
