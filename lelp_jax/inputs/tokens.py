"""Texts as the tokens of a pretrained checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import ClassVar

from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import checkpoint_tokenizer, token_stage
from lelp_jax.inputs.base import Inputs
from lelp_jax.inputs.text_encoding import TextEncoding
from lelp_jax.models import pretrained
from lelp_jax.models.outputs import InputKind
from lelp_jax.models.pretrained import Pretrained


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens that a checkpoint's own tokenizer makes of a text.

    Attributes:
        checkpoint: Name or folder of the checkpoint; "" takes the teacher's.
    """

    kind: ClassVar[InputKind] = "tokens"

    checkpoint: str = ""

    def check(self, dataset: Dataset) -> None:
        """Checks that the data are texts.

        Raises:
            UserError: They are numbers.
        """
        token_stage.check("tokens", dataset)

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Makes the tokens of every row, or reads those that were made before.

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.

        Raises:
            UserError: There is no such checkpoint, its tokenizer cannot be read or does not fit
                to it, texts may be longer than it can read, or what was kept is damaged.
        """
        return make_tokens(root, load_checkpoint(self.checkpoint, "tokens"), dataset, session)


def load_checkpoint(checkpoint: str, view: str) -> Pretrained:
    """Loads a checkpoint.

    Args:
        checkpoint: Its name or folder.
        view: Name of the view that is made with it.

    Raises:
        UserError: None is named, or there is no such checkpoint.
    """
    if not checkpoint:
        raise UserError(
            f"inputs {view!r}: checkpoint is empty and the teacher has none to take; give a folder "
            "or a name on the Hugging Face hub, such as 'sentence-transformers/all-MiniLM-L6-v2'"
        )
    return pretrained.load(checkpoint, f"inputs {view!r}, checkpoint")


def make_tokens(root: Path, checkpoint: Pretrained, dataset: Dataset, session: Session) -> Inputs:
    """Makes a checkpoint's tokens of every row; see `Tokens.ensure`.

    Args:
        root: The workdir.
        checkpoint: The checkpoint.
        dataset: The data.
        session: The run.
    """
    architecture, path = checkpoint.architecture, checkpoint.tokenizer_file
    if dataset.max_length > architecture.longest:
        raise UserError(
            f"config.data.max_length {dataset.max_length} exceeds the {architecture.longest} "
            f"tokens that the checkpoint {checkpoint.folder} can read; lower it"
        )
    tokenizer, overruled, notes = checkpoint_tokenizer.load(checkpoint, dataset.max_length)
    for note in notes:
        session.reporter.log(note)
    encoding = TextEncoding(tokenizer, dataset.max_length)
    what = {
        "what": "tokens",
        "max_length": dataset.max_length,
        "tokenizer": hashlib.sha256(path.read_bytes()).hexdigest(),
        **({"overruled": overruled} if overruled else {}),
    }
    return token_stage.ensure(root, what, lambda: encoding, dataset, session)
