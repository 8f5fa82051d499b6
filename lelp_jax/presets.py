"""Config sections that several config files share."""

from __future__ import annotations

from ml_collections import ConfigDict

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def build_training(steps: int = 0, batch_size: int = 64, epochs: float = 0.0) -> ConfigDict:
    """Builds the section `train` of teachers or students, with all its keys.

    Args:
        steps: Number of updates; 0 if `epochs` is given.
        batch_size: Examples per update.
        epochs: Number of passes over the training rows; 0 if `steps` is given.
    """
    config = ConfigDict()
    config.steps = steps
    config.epochs = float(epochs)
    config.batch_size = batch_size
    config.class_weights = ()  # (): equal; ("balanced",): by inverse share; or one per class
    config.optimizer = ConfigDict(
        # rule "sgd": with Nesterov momentum; clip_norm 0: none
        {"rule": "adamw", "schedule": "cosine", "warmup_fraction": 0.0, "clip_norm": 0.0}
    )
    config.accumulate = 1  # parts in which a batch's gradient is computed
    config.average = 0.0  # decay of a moving average of the parameters that is kept; 0: the last
    config.early_stopping = ConfigDict(
        # evaluations 0: keep the last parameters; patience 0: train to the end
        {"evaluations": 0, "patience": 0, "metric": "accuracy"}
    )
    return config


def build_encoder_teacher(
    checkpoint: str, *, epochs: float, count: int, learning_rate: float = 5e-5
) -> ConfigDict:
    """Builds the section `teacher` of a fine-tuned encoder, with all its keys.

    Args:
        checkpoint: A folder, or a name on the Hugging Face hub.
        epochs: Number of passes over the training rows.
        count: Number of teachers.
        learning_rate: Peak learning rate.
    """
    config = ConfigDict()
    config.source = "encoder"
    config.count = count  # replicate r learns from teacher r mod count
    config.checkpoint = checkpoint
    config.pooling = "auto"  # what the checkpoint says, or "mean", "cls", "pooler"
    config.dropout = 0.1
    config.learning_rate = learning_rate
    config.weight_decay = 0.01
    config.layer_decay = 1.0  # rate of a layer relative to the one above
    config.compute_dtype = "float32"  # "bfloat16" on accelerators
    config.checkpointing = False  # recompute layers in the backward pass: less memory
    config.train = build_training(batch_size=32, epochs=epochs)
    config.train.optimizer.update({"schedule": "linear", "warmup_fraction": 0.1, "clip_norm": 1.0})
    # Keep the best of this many evaluations on the validation rows.
    config.train.early_stopping.evaluations = 6
    return config


def build_text_student(*, epochs: float, batch_size: int = 64) -> ConfigDict:
    """Builds the section `student` of bags of word embeddings, with all its keys.

    Args:
        epochs: Number of passes over the training rows.
        batch_size: Examples per update.
    """
    config = ConfigDict()
    # "words": a vocabulary from the training rows; "tokens": the teacher's; "embeddings": those of
    # a frozen encoder, for an mlp.
    config.inputs = ConfigDict({"name": "words", "vocabulary_size": 20_000, "min_count": 2})
    config.model = ConfigDict(
        {"name": "bag_of_embeddings", "dims": 64, "hidden": (64,), "dropout": 0.5}
    )
    config.train = build_training(batch_size=batch_size, epochs=epochs)
    config.input_noise = 0.0
    config.teacher_outputs = "bank"
    return config


def use_small_transformer(student: ConfigDict) -> None:
    """Changes students to two-layer transformers on the teacher's tokens, trained from scratch."""
    student.inputs = ConfigDict({"name": "tokens", "checkpoint": ""})
    student.model = ConfigDict(
        {"name": "transformer", "layers": 2, "dims": 128, "heads": 2, "hidden": 512}
    )


def build_pretrained_student(checkpoint: str, *, epochs: float) -> ConfigDict:
    """Builds the section `student` of a pretrained encoder, with all its keys.

    Args:
        checkpoint: A folder, or a name on the Hugging Face hub.
        epochs: Number of passes over the training rows.
    """
    config = build_text_student(epochs=epochs, batch_size=32)
    config.inputs = ConfigDict({"name": "tokens", "checkpoint": ""})  # "": the student's own
    config.model = ConfigDict(
        {
            "name": "pretrained",
            "checkpoint": checkpoint,
            "pooling": "auto",
            "dropout": 0.1,
            "checkpointing": True,
            "compute_dtype": "bfloat16",
        }
    )
    config.train.optimizer.update({"schedule": "linear", "warmup_fraction": 0.1, "clip_norm": 1.0})
    return config


def build_embedding_student(*, epochs: float) -> ConfigDict:
    """Builds the section `student` of an MLP on the embeddings of a frozen encoder, with all keys.

    Args:
        epochs: Number of passes over the training rows.
    """
    config = build_text_student(epochs=epochs, batch_size=256)
    config.inputs = ConfigDict(
        {"name": "embeddings", "checkpoint": MINILM, "pooling": "auto", "compute_dtype": "float32"}
    )
    config.model = ConfigDict({"name": "mlp", "hidden": (256,), "dropout": 0.1})
    return config


def build_image_training(*, epochs: float, batch_size: int = 128) -> ConfigDict:
    """Builds the section `train` of convolutional networks, with all its keys.

    SGD with Nesterov momentum and a cosine schedule suits all of them at a learning rate of 0.1 and
    a weight decay of 5e-4 (Zagoruyko and Komodakis, arXiv 1605.07146, section 3).

    Args:
        epochs: Number of passes over the training rows.
        batch_size: Examples per update.
    """
    config = build_training(batch_size=batch_size, epochs=epochs)
    config.optimizer.rule = "sgd"
    # From the full rate, batch normalization of the first steps takes long to recover.
    config.optimizer.warmup_fraction = 0.05
    config.augmentation = ConfigDict(
        {
            "crop": 0,  # pixels that images are moved by at most
            "flip": 0.0,  # probability
            "randaugment_layers": 0,  # 2 layers of magnitude 9 are usual
            "randaugment_magnitude": 0,
            "brightness": 0.0,  # by how much it is changed at most, as a share
            "contrast": 0.0,
            "saturation": 0.0,
            "cutout": 0,  # side of the square
            "mixup": 0.0,  # alpha; of students with teacher_outputs "online" only
            "cutmix": 0.0,
        }
    )
    return config


def build_image_teacher(model: dict[str, object], *, epochs: float, count: int) -> ConfigDict:
    """Builds the section `teacher` of convolutional networks, with all its keys.

    Args:
        model: The family under "name", and its own keys.
        epochs: Number of passes over the training rows.
        count: Number of teachers.
    """
    config = ConfigDict()
    config.source = "network"
    config.count = count  # replicate r learns from teacher r mod count
    config.inputs = ConfigDict({"name": "images"})
    config.model = ConfigDict(model)
    config.learning_rate = 0.1
    config.weight_decay = 5e-4
    config.label_smoothing = 0.0
    config.train = build_image_training(epochs=epochs)
    return config


def build_image_student(model: dict[str, object], *, epochs: float) -> ConfigDict:
    """Builds the section `student` of convolutional networks, with all its keys.

    Args:
        model: The family under "name", and its own keys.
        epochs: Number of passes over the training rows.
    """
    config = ConfigDict()
    config.inputs = ConfigDict({"name": "images"})
    config.model = ConfigDict(model)
    config.train = build_image_training(epochs=epochs)
    config.input_noise = 0.0
    # "online": the teacher answers in every step for the very image that the student sees, as
    # augmentation needs.
    config.teacher_outputs = "bank"
    return config


def use_image_rates(compared: ConfigDict) -> None:
    """Changes the learning rates and weight decays that methods try to those of SGD on images."""
    for name in compared:
        compared[name].learning_rate = (0.1, 0.03)
        compared[name].weight_decay = (5e-4,)


def build_report(metric: str = "accuracy") -> ConfigDict:
    """Builds the section `report`, with all its keys.

    Args:
        metric: The validation metric that chooses each method's settings.
    """
    return ConfigDict(
        {
            "baseline": "kd",
            "selection_metric": metric,
            "confidence": 0.95,
            "published": {"source": "", "teacher": 0.0, "methods": {}},
        }
    )


def build_bank(dtype: str = "float32") -> ConfigDict:
    """Builds the section `bank`, with all its keys.

    Args:
        dtype: Type in which embeddings are stored, "float32" or "bfloat16".
    """
    return ConfigDict({"dtype": dtype, "root": ""})  # root: a folder or gs:// address


def use_albert(config: ConfigDict, checkpoint: str) -> None:
    """Changes teacher and students to those of LELP's text experiments (arXiv 2409.20449, 4.1).

    A larger ALBERT (Lan et al., arXiv 1909.11942) teaches ALBERT-Base, which is pretrained as well.
    Learning rates and lengths of training are this project's, as the paper's are not public.

    Args:
        config: A config with the sections `teacher` and `methods`.
        checkpoint: The teacher's checkpoint.
    """
    config.teacher.checkpoint = checkpoint
    config.teacher.count = 1
    config.teacher.learning_rate = 1e-5
    config.teacher.compute_dtype = "bfloat16"
    config.teacher.checkpointing = True
    config.student = build_pretrained_student("albert/albert-base-v2", epochs=3)
    config.replicates = 3
    for name in config.methods:
        config.methods[name].learning_rate = (1e-5, 3e-5)
        config.methods[name].weight_decay = (0.01,)


def build_tfds(name: str, max_length: int) -> ConfigDict:
    """Builds the section `data` of texts from TensorFlow Datasets, with all its keys.

    Args:
        name: The data set and, after a slash, its config.
        max_length: Largest number of tokens of a text; longer texts are cut.
    """
    return build_texts(
        "tfds",
        max_length,
        name=name,
        data_dir="",  # "": the folder of TFDS
        text="",  # "": the only column of texts
        label="",  # "": the only column of classes
        fine_label="",
        train="train",
        validation="",  # "": its own, or split off the training rows
        test="",  # "": its own; where that has no labels, its validation rows
    )


def build_hub(name: str, max_length: int, text: str, train_rows: int) -> ConfigDict:
    """Builds the section `data` of texts from the Hugging Face hub, with all its keys.

    Args:
        name: The data set.
        max_length: Largest number of tokens of a text; longer texts are cut.
        text: The column of texts.
        train_rows: Number of training rows that are used; 0 uses all.
    """
    return build_texts(
        "hub",
        max_length,
        name=name,
        subset="",
        revision="main",
        text=text,
        label="label",
        fine_label="",
        train="train",
        validation="",  # "": split off the training rows
        test="test",
        train_rows=train_rows,
    )


def build_text_files(max_length: int) -> ConfigDict:
    """Builds the section `data` of your own text files, with all its keys.

    Args:
        max_length: Largest number of tokens of a text; longer texts are cut.
    """
    return build_texts(
        "files",
        max_length,
        train="",  # a .csv, .tsv, .jsonl or .parquet file
        validation="",  # "": split off the training rows
        test="",  # "": split off the training rows
        text="text",
        label="label",
        fine_label="",  # "": the column `fine_label`, if there is one
        id="",  # column with row ids, to join a teacher's outputs
        num_classes=0,  # 0: as many as in the training rows
        label_names=(),
    )


def build_texts(source: str, max_length: int, **values: object) -> ConfigDict:
    """Builds the section `data` of texts, with the keys common to all sources.

    Args:
        source: "files", "tfds" or "hub".
        max_length: Largest number of tokens of a text; longer texts are cut.
        **values: The source's own keys.
    """
    config = ConfigDict({"source": source, **values})
    config.max_length = max_length
    config.class_map = ()  # class of each label; the label stays as fine label
    _add_common_keys(config)
    return config


def build_image_arrays(file: str = "") -> ConfigDict:
    """Builds the section `data` of images in an .npz file, with all its keys.

    Args:
        file: The file, which the command line may name, too.
    """
    return _build_images("image_arrays", file=file, num_classes=0, label_names=())


def build_image_folder(folder: str = "", size: tuple[int, ...] = ()) -> ConfigDict:
    """Builds the section `data` of image files in a folder per class, with all its keys.

    Args:
        folder: The folder, which the command line may name, too.
        size: Height and width that all images are brought to; empty keeps them as they are.
    """
    return _build_encoded_images("image_folder", size, folder=folder)


def build_image_table(train: str = "", size: tuple[int, ...] = ()) -> ConfigDict:
    """Builds the section `data` of images in your own Parquet files, with all its keys.

    Args:
        train: The file of training rows, which the command line may name, too.
        size: Height and width that all images are brought to; empty keeps them as they are.
    """
    return _build_encoded_images(
        "image_table",
        size,
        train=train,  # a .parquet file, or several: "data/train-*.parquet"
        validation="",  # "": split off the training rows
        test="",  # "": split off the training rows
        image="",  # "": the only column of images
        label="label",
        fine_label="",
        id="",  # column with row ids, to join a teacher's outputs
        num_classes=0,  # 0: as many as in the training rows
        label_names=(),
    )


def build_image_hub(name: str, label: str = "label", size: tuple[int, ...] = ()) -> ConfigDict:
    """Builds the section `data` of images from the Hugging Face hub, with all its keys.

    Args:
        name: The data set.
        label: The column of labels.
        size: Height and width that all images are brought to; empty keeps them as they are.
    """
    return _build_encoded_images(
        "image_hub",
        size,
        name=name,
        subset="",
        revision="main",
        image="",  # "": the only column of images
        label=label,
        fine_label="",
        train="train",
        validation="",  # "": split off the training rows
        test="test",
        train_rows=0,  # training rows that are used; 0: all
    )


def build_image_tfds(name: str, size: tuple[int, ...] = ()) -> ConfigDict:
    """Builds the section `data` of images from TensorFlow Datasets, with all its keys.

    Args:
        name: The data set and, after a slash, its config.
        size: Height and width that all images are brought to; empty keeps them as they are.
    """
    return _build_encoded_images(
        "image_tfds",
        size,
        name=name,
        data_dir="",  # "": the folder of TFDS
        image="",  # "": the only column of images
        label="",  # "": the only column of classes
        fine_label="",
        train="train",
        validation="",  # "": its own, or split off the training rows
        test="",  # "": its own; where that has no labels, its validation rows
    )


def _build_encoded_images(source: str, size: tuple[int, ...], **values: object) -> ConfigDict:
    """Builds the section `data` of encoded images, with the keys common to their sources."""
    config = _build_images(source, **values)
    config.size = size  # height and width; (): as they are, if all are alike
    config.resize = "crop"  # "crop": cover `size` and keep the middle; "squeeze": keep all
    return config


def _build_images(source: str, **values: object) -> ConfigDict:
    """Builds the section `data` of images, with the keys common to all sources."""
    config = ConfigDict({"source": source, **values})
    config.channels = 0  # 1: grey, 3: colour; 0: 1 if all images are grey, else 3
    config.class_map = ()  # class of each label, or ("parity",); the label stays as fine label
    _add_common_keys(config)
    return config


def _add_common_keys(config: ConfigDict) -> None:
    """Adds the keys that every source of texts or images has, after its own."""
    config.unlabelled = "auto"  # label of rows without one; "auto": -1, if it is rare
    config.split = (0.8, 0.1, 0.1)  # shares, for splits that the source lacks
    config.split_seed = 0
    config.transfer_size = 0  # training rows that a student sees; 0: all
    config.labelled_rows = 0  # training rows that keep their label; 0: all
