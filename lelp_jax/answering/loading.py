"""Loads a model of transformers or sentence-transformers, whichever it is."""

from __future__ import annotations

import importlib
import logging
import re
from pathlib import Path
from typing import Any

from lelp_jax.answering.flags import AnswerArguments
from lelp_jax.answering.model import Answerer
from lelp_jax.core.errors import UserError

# The file that makes a folder one of sentence-transformers.
_MODULES = "modules.json"
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_LIBRARIES = ("torch", "transformers", "sentence_transformers")


def load(arguments: AnswerArguments) -> Answerer:
    """Loads the model that `--model` names.

    Raises:
        UserError: A library is missing, or the model cannot be used.
    """
    _import_libraries()
    name = str(Path(arguments.model).expanduser())
    if not Path(name).is_dir() and not _HUB_NAME.fullmatch(arguments.model):
        raise UserError(
            f"--model={arguments.model}: no such folder; give an existing one, or a name on the "
            "Hugging Face hub"
        )
    device = choose_device(arguments.device)
    options = (name, arguments.max_length, arguments.batch_size, device)
    if _is_sentence_encoder(name):
        if not arguments.fit_head:
            raise UserError(
                f"--model={arguments.model} is a sentence encoder without a classifier, and "
                "students need logits: --fit_head fits a logistic regression to the labels of the "
                "first file; or give a model that was trained as a classifier"
            )
        from lelp_jax.answering.sentence_encoder import SentenceEncoder

        return SentenceEncoder(*options)
    if arguments.fit_head:
        raise UserError(
            f"--fit_head is for models of sentence-transformers, but --model={arguments.model} has "
            f"no {_MODULES}; leave it out for a classifier"
        )
    from lelp_jax.answering import classifier

    return classifier.load(*options)


def _import_libraries() -> None:
    """Imports what the extra installs, and keeps it from printing.

    Raises:
        UserError: A library is missing.
    """
    for library in _LIBRARIES:
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise UserError(
                f"lelp_jax.answer needs {error.name or library}, which is not installed; run "
                "pip install 'lelp_jax[transformers]'"
            ) from error
    import transformers

    # Only the errors that are raised, once: each of them becomes one line.
    for name in ("transformers", "huggingface_hub", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    transformers.logging.disable_progress_bar()


def _is_sentence_encoder(name: str) -> bool:
    """Checks whether a folder or a model on the hub is one of sentence-transformers."""
    from transformers.utils import cached_file

    try:
        return cached_file(name, _MODULES) is not None
    except OSError:
        # There is none, or the hub cannot be reached: loading the model then says so.
        return False


def choose_device(name: str) -> Any:
    """Chooses where PyTorch computes.

    Args:
        name: PyTorch's name of a device; "" takes a GPU, if there is one.

    Raises:
        UserError: There is no such device.
    """
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    # PyTorch raises other exceptions for each kind of device.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"--device={name}: PyTorch cannot use it ({reason}); give 'cpu', 'cuda' or 'cuda:1'"
        ) from error
    return device
