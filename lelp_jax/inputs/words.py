"""Texts as words of a vocabulary of their own, for small networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer

from lelp_jax.core.constraints import AT_LEAST_ONE, AT_LEAST_TWO
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import token_stage
from lelp_jax.inputs.base import Inputs
from lelp_jax.inputs.text_encoding import TextEncoding, as_unicode
from lelp_jax.models.outputs import InputKind

_UNKNOWN = "[UNK]"


@dataclasses.dataclass(frozen=True)
class Words:
    """The most frequent words of the training rows; token 0 is any other word.

    Words are lower-cased and freed of accents, and split at blanks and punctuation, which counts
    as words.

    Attributes:
        vocabulary_size: Tokens at most, the unknown one included.
        min_count: How often a word must be there. At 1 and with few words, training has no unknown
            word and so leaves that token's embedding at its random start.
    """

    kind: ClassVar[InputKind] = "tokens"

    vocabulary_size: Annotated[int, AT_LEAST_TWO] = 20_000
    min_count: Annotated[int, AT_LEAST_ONE] = 2

    def check(self, dataset: Dataset) -> None:
        """Checks that the data are texts.

        Raises:
            UserError: They are numbers.
        """
        token_stage.check("words", dataset)

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Makes the words of every row, as numbers, or reads those that were made before.

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.

        Raises:
            UserError: No word is frequent enough, or what was kept is damaged.
        """
        what = {"what": "words", "max_length": dataset.max_length, **dataclasses.asdict(self)}
        return token_stage.ensure(
            root,
            what,
            lambda: TextEncoding(self.tokenizer(dataset.inputs[dataset.train]), dataset.max_length),
            dataset,
            session,
        )

    def tokenizer(self, texts: np.ndarray) -> Tokenizer:
        """Builds a tokenizer of the words of texts, the most frequent ones first.

        Words of equal frequency come in the order of their characters.

        Args:
            texts: [rows].

        Raises:
            UserError: No word is frequent enough.
        """
        tokenizer = Tokenizer(WordLevel({}, unk_token=_UNKNOWN))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True)]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = WordLevelTrainer(
            vocab_size=self.vocabulary_size,
            min_frequency=self.min_count,
            special_tokens=[_UNKNOWN],
            show_progress=False,
        )
        tokenizer.train_from_iterator(as_unicode(texts), trainer)
        if tokenizer.get_vocab_size() < 2:
            raise UserError(
                f"inputs 'words': no word is in the {len(texts)} training rows {self.min_count} "
                "times; lower min_count"
            )
        return tokenizer
