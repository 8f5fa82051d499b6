"""From texts to tokens, with a tokenizer of the `tokenizers` library."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import Tokenizer

from lelp_jax.core import files
from lelp_jax.core.errors import UserError
from lelp_jax.inputs.ragged import Ragged

FILE = "tokenizer.json"
# Bounds the memory that the library's own records of tokens take.
_TEXTS_AT_ONCE = 8192

Texts = Sequence[str] | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class TextEncoding:
    """Splits texts into tokens, those that the tokenizer puts around a text included.

    A longer text is cut so that these stay: the last token is then still the separator. A text
    without any token becomes the unknown one.

    Attributes:
        tokenizer: The tokenizer; its own settings of padding and truncation are replaced.
        max_length: How many tokens of a text are kept at most.
    """

    kind: ClassVar[str] = "texts"

    tokenizer: Tokenizer
    max_length: int

    def __post_init__(self) -> None:
        # With less the library cuts nothing, and says nothing.
        if self.max_length <= self._added:
            raise UserError(
                f"config.data.max_length {self.max_length} leaves no room for text beside the "
                f"{self._added} tokens that the tokenizer adds to each; take {self._added + 1} or "
                "more"
            )
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(
            self.max_length, stride=0, strategy="longest_first", direction="right"
        )

    def __call__(self, raw: Any) -> np.ndarray:
        """Splits texts into tokens, [rows, length] int32 with -1 after the end.

        Args:
            raw: Texts, [rows].

        Raises:
            UserError: A row is not a text, or has no token.
        """
        return self.encode(raw)[0].pad()

    def encode(self, texts: Texts) -> tuple[Ragged, np.ndarray]:
        """Splits texts into tokens, and counts those each would have uncut, [rows] int64.

        Args:
            texts: [rows].

        Raises:
            UserError: A row is not a text, or has no token.
        """
        if isinstance(texts, str):
            raise UserError("texts must be a list of them, got a single one; put it into a list")
        # What goes over the names of columns, not over rows.
        if isinstance(texts, Mapping) or hasattr(texts, "columns"):
            raise UserError(
                f"texts must be a list of them, got {type(texts).__name__}; give its column of "
                "texts as a list"
            )
        tokens: list[np.ndarray] = []
        lengths: list[int] = []
        uncut: list[int] = []
        for row, encoding in enumerate(self._encodings(texts)):
            ids = encoding.ids or [self._fallback(row)]
            tokens.append(np.asarray(ids, np.int32))
            lengths.append(len(ids))
            # What is cut off comes in pieces, each with the added tokens around it.
            cut = sum(len(piece) - self._added for piece in encoding.overflowing)
            uncut.append(len(ids) + cut)
        flat = np.concatenate(tokens) if tokens else np.zeros(0, np.int32)
        return Ragged(flat, np.asarray(lengths, np.int64)), np.asarray(uncut, np.int64)

    def _encodings(self, texts: Texts) -> Iterator[Any]:
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = as_unicode(texts[start : start + _TEXTS_AT_ONCE], start)
            try:
                encodings = self.tokenizer.encode_batch(part)
            except (KeyboardInterrupt, SystemExit):
                raise
            # A panic of the library is no Exception.
            except BaseException as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"the tokenizer fails at a text of rows {start} to {start + len(part) - 1} "
                    f"({reason}); add a token for unknown text to its vocabulary"
                ) from error
            yield from encodings

    def _fallback(self, row: int) -> int:
        if self.unknown is None:
            raise UserError(
                f"the text of row {row} has no token, and the tokenizer has no token for unknown "
                "text; remove the row, or give the tokenizer such a token"
            )
        return self.unknown

    @functools.cached_property
    def unknown(self) -> int | None:
        """The token of unknown text, or None where there is none."""
        model = json.loads(self.tokenizer.to_str())["model"]
        number: int | None = model.get("unk_id")
        if number is None and model.get("unk_token") is not None:
            number = self.tokenizer.token_to_id(model["unk_token"])
        return number

    @functools.cached_property
    def num_tokens(self) -> int:
        """Tokens are in 0..num_tokens-1."""
        return 1 + max(self.tokenizer.get_vocab().values())

    @functools.cached_property
    def _added(self) -> int:
        added: int = self.tokenizer.num_special_tokens_to_add(False)
        return added

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Writes the tokenizer."""
        files.write_atomic(folder / FILE, self.tokenizer.to_str())
        return {"max_length": self.max_length}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> TextEncoding:
        """Reads what `save` wrote.

        Raises:
            UserError: The tokenizer is missing or damaged.
        """
        hint = f"delete the folder {folder} to make it again"
        return cls(read_tokenizer(folder / FILE, hint), facts["max_length"])


def read_tokenizer(path: Path, hint: str) -> Tokenizer:
    """Reads a tokenizer.json.

    Args:
        path: The file.
        hint: How to get another one, for messages.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
        # What is put around a text may name tokens that are not there.
        tokenizer.encode("")
        return tokenizer
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {hint}") from error
    except (KeyboardInterrupt, SystemExit):
        raise
    # The library raises plain exceptions, and panics, which are none.
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a readable tokenizer ({reason}); {hint}") from error


def as_unicode(texts: Texts, first: int = 0) -> list[str]:
    """Replaces unpaired surrogates, which JSON may hold, by U+FFFD.

    Args:
        texts: [rows].
        first: Number of the first row, for messages.

    Raises:
        UserError: One is not a text.
    """
    whole = []
    for row, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise UserError(f"row {row} must be text, got {text!r}; replace it, or remove the row")
        if not text.isascii():
            # The library refuses unpaired surrogates.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        whole.append(text)
    return whole
