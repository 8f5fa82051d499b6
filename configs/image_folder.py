"""Your own pictures: a folder per class of PNG, JPEG or other files.

    python -m lelp_jax.main --config=configs/image_folder.py --config.data.folder=pictures
    python -m lelp_jax.main --config=configs/image_folder.py:quick --config.data.folder=pictures
    python -m lelp_jax.main --config=configs/image_folder.py:table --config.data.train=pictures.parquet

The class of pictures/cat/0001.png is "cat". If there are pictures/train/cat/0001.png and so on, the folders
pictures/validation and pictures/test, where they exist, hold those rows; otherwise they are split off
the training rows. Each picture is scaled until it covers 32 x 32 pixels and cut to its middle; other
sizes are set with --config.data.size=(64,64). To merge classes, give --config.data.class_map="('wolf=wild','cat=pet','dog=pet')".

The third line reads the pictures from a column of a Parquet file, as the library `datasets` writes it,
with a column `label` beside it; --config.data.test=FILE names a file of test rows.

A small convolutional network teaches a smaller one. On a GPU, larger ones are an option:
--config.teacher.model.name=resnet.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "quick", "table"):
        raise ValueError(f"unknown argument {mode!r}; known: quick, table")
    quick = mode == "quick"
    config = ConfigDict()
    config.seed = 0
    config.replicates = 2 if quick else 6

    build = presets.build_image_table if mode == "table" else presets.build_image_folder
    config.data = build(size=(32, 32))

    config.teacher = presets.build_image_teacher(
        {"name": "small_cnn", "widths": (32, 64, 128), "normalization": "batch"},
        epochs=2 if quick else 30,
        count=1 if quick else 3,
    )
    config.bank = presets.build_bank()
    config.student = presets.build_image_student(
        {"name": "small_cnn", "widths": (8, 16, 32), "normalization": "batch"},
        epochs=2 if quick else 30,
    )
    for section in (config.teacher, config.student):
        # Batches are of all pictures at most: lower it if you have fewer than 32 for training.
        section.train.batch_size = 32
        section.train.augmentation.crop = 4
        section.train.augmentation.flip = 0.5
    config.student.teacher_outputs = "online"

    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=2
    )
    presets.use_image_rates(config.methods)
    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
