"""Mistakes in image files and their settings, with the words that the answer must hold."""

import io

import numpy as np
from PIL import Image

from tests.helpers import pictures
from tests.helpers.bad_cases import CONFIGS, Case

PIXELS, LABELS = pictures.draw(200, 2, 8)


def encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write_config(builder: str, argument: str) -> dict[str, str]:
    """Writes the config of the digits with images in their place."""
    return {
        "c.py": "import runpy\n"
        "from lelp_jax import presets\n"
        "def get_config():\n"
        f"    config = runpy.run_path({str(CONFIGS / 'digits.py')!r})['get_config']('quick')\n"
        f"    config.data = presets.{builder}({argument!r})\n"
        "    return config\n"
    }


FOLDER = write_config("build_image_folder", "p")
ARRAYS = write_config("build_image_arrays", "a.npz")
RIGHT = {
    f"p/{pictures.CLASSES[label]}/{row:03}.png": encode(image)
    for row, (image, label) in enumerate(zip(PIXELS[:40], LABELS, strict=False))
}


def folder(name: str, files: dict, *words: str) -> Case:
    """A folder of images with a mistake in it."""
    return Case(f"images_{name}", ("--config=c.py",), words, {**FOLDER, **RIGHT, **files})


def setting(key: str, value: str, *words: str) -> Case:
    """A wrong value of a key, beside a right folder."""
    flags = ("--config=c.py", f"--config.data.{key}={value}")
    return Case(f"images_{key}={value}", flags, words, {**FOLDER, **RIGHT})


def arrays(name: str, *words: str, flags: tuple[str, ...] = (), **changed: object) -> Case:
    """An .npz file of images with a mistake in it."""
    files = {"a.npz": {"x_train": PIXELS, "y_train": LABELS, **changed}}
    return Case(f"images_{name}", ("--config=c.py", *flags), words, {**ARRAYS, **files})


AUGMENTATION = "student.train.augmentation"


def train(name: str, *words: str, flags: tuple[str, ...]) -> Case:
    """Flags that do not fit the images of a right folder, or one another."""
    model = {"name": "small_cnn"}
    files = {
        "c.py": FOLDER["c.py"].replace(
            "    return config\n",
            f"    config.teacher = presets.build_image_teacher({model!r}, epochs=1, count=1)\n"
            f"    config.student = presets.build_image_student({model!r}, epochs=1)\n"
            "    config.teacher.train.batch_size = config.student.train.batch_size = 8\n"
            "    config.bank.views = 0\n"
            "    return config\n",
        )
    }
    arguments = tuple(f"--config.{flag}" for flag in flags)
    return Case(f"images_{name}", ("--config=c.py", *arguments), words, {**RIGHT, **files})


def numbers(name: str, *words: str, **sections: object) -> Case:
    """Networks for images on the digits' numbers."""
    lines = "".join(f"    config.{key} = {value!r}\n" for key, value in sections.items())
    text = FOLDER["c.py"].replace("    config.data = presets.build_image_folder('p')\n", "")
    text = text.replace("    return config\n", f"{lines}    return config\n")
    return Case(f"images_{name}", ("--config=c.py",), words, {"c.py": text})


TRAINING = (
    train(
        "changed_with_a_bank",
        "config.student.train.augmentation changes images, but the bank holds",
        "teacher_outputs to 'online', or config.bank.views",
        flags=(f"{AUGMENTATION}.flip=0.5",),
    ),
    train(
        "mixed_with_a_bank",
        "config.student.train.augmentation mixes images",
        "set config.student.teacher_outputs to 'online'",
        flags=(f"{AUGMENTATION}.mixup=0.2",),
    ),
    train(
        "mixed_with_views",
        "config.student.train.augmentation mixes images",
        flags=(f"{AUGMENTATION}.cutmix=1.0", f"{AUGMENTATION}.flip=0.5", "bank.views=2"),
    ),
    train(
        "views_online",
        "config.bank.views is 2, but with config.student.teacher_outputs 'online' no bank",
        flags=("bank.views=2", "student.teacher_outputs=online", f"{AUGMENTATION}.flip=0.5"),
    ),
    train(
        "views_of_nothing",
        "config.bank.views is 2, but config.student.train.augmentation changes no image",
        flags=("bank.views=2",),
    ),
    train(
        "large_crop",
        "config.student.train.augmentation",
        "crop 8 is too large for images of 8 x 8 pixels",
        flags=(f"{AUGMENTATION}.crop=8", "student.teacher_outputs=online"),
    ),
    train(
        "teachers_large_crop",
        "config.teacher.train.augmentation",
        "crop 9 is too large for images of 8 x 8 pixels",
        flags=("teacher.train.augmentation.crop=9",),
    ),
    Case(
        "images_seen_as_features",
        ("--config=c.py", "--config.teacher.train.batch_size=8"),
        ("inputs 'features' are numbers, but the data are images; use 'images'",),
        {**FOLDER, **RIGHT},
    ),
    numbers(
        "of_numbers",
        "config.student",
        "inputs 'images' are pixels, but the data are numbers; use 'features'",
        **{"student.inputs": {"name": "images"}, "student.model": {"name": "mlp", "hidden": (4,)}},
    ),
    numbers(
        "network_on_numbers",
        "config.student",
        "'small_cnn' takes images, but the inputs are numbers",
        "mlp",
        **{"student.model": {"name": "small_cnn"}},
    ),
    numbers(
        "teacher_on_numbers",
        "config.teacher",
        "'resnet' takes images, but the inputs are numbers",
        "mlp",
        **{"teacher.model": {"name": "resnet"}},
    ),
    numbers(
        "augmented_numbers",
        "config.student.train.augmentation",
        "augmentation is for images, but the data are not images",
        **{"student.train.augmentation": {"flip": 0.5}},
    ),
)

IMAGES = (
    *TRAINING,
    folder("text", {"p/bars/x.png": "hello"}, "p/bars/x.png begins with b'hello'", "replace or"),
    folder("empty", {"p/rows/x.jpg": b""}, "p/rows/x.jpg is empty and is no image"),
    folder("cut", {"p/rows/x.png": encode(PIXELS[0])[:90]}, "p/rows/x.png is damaged (", "remove"),
    folder("sizes", {"p/bars/x.png": encode(PIXELS[0, :4])}, "p/bars/x.png has 4x8", "data.size="),
    folder("no_class", {"p/spots/Thumbs.db": b"x"}, "p/spots holds no image; add some, or remove"),
    setting("size", "1,2,3", "config.data", "size is (1, 2, 3); give height and width, or one"),
    setting("size", "0", "config.data.size[0] must be", "got 0"),
    setting("channels", "2", "config.data.channels must be 0, 1 or 3, got 2"),
    setting("resize", "crap", "config.data.resize must be", "'squeeze'", "did you mean 'crop'?"),
    setting("folder", "q", "q: no such folder; check config.data.folder"),
    setting("class_map", "a=0", "unknown label in config.data.class_map", "known: bars, rows"),
    arrays("floats", "a.npz x_train is of type float64", "255 * images", x_train=PIXELS / 255),
    arrays("layout", "save x_train.transpose(0, 2, 3, 1)", x_train=PIXELS.transpose(0, 3, 1, 2)),
    arrays("length", "y_train has shape (199,), but x_train has 200 rows", y_train=LABELS[:199]),
    arrays("other_keys", "'y_test' is missing beside x_test", x_test=PIXELS[:9]),
    arrays("is_a_folder", "is a folder; give a file", flags=(f"--config.data.file={CONFIGS}",)),
    arrays("pickle", "save texts as fixed-width strings", y_train=LABELS.astype(object)),
)
