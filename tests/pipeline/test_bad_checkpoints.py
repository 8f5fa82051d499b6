"""Checkpoints that cannot be used: exit code 2 and one line, before anything is trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import load_file, save_file

from tests.helpers import checkpoints, tiny
from tests.helpers.error_lines import only_error

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 442\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [f"the film was {checkpoints.WORDS[14 + row % 20]}" for row in range(300)]
    path = tmp_path_factory.mktemp("texts") / "train.parquet"
    parquet.write_table(pa.table({"text": texts, "label": [row % 2 for row in range(300)]}), path)
    return path


def configure(**entries: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        values = {**json.loads(path.read_text()), **entries}
        path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))

    return change


def put(name: str, content: bytes | str | dict) -> Callable[[Path], None]:
    raw = json.dumps(content) if isinstance(content, dict) else content

    def change(folder: Path) -> None:
        (folder / name).write_bytes(raw if isinstance(raw, bytes) else raw.encode())

    return change


def rename(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.rename(folder / "pytorch_model.bin")


def join(folder: Path) -> None:
    """Writes the weights of two encoders into one file."""
    tensors = load_file(folder / "model.safetensors")
    both = {f"{side}.{name}": tensors[name] for side in ("query", "answer") for name in tensors}
    save_file(both, folder / "model.safetensors")


CASES = {
    "of another family": (
        configure(model_type="t5"),
        ["has model_type 't5'", "known: albert, bert,", "-m lelp_jax.answer --model=/", "'arrays'"],
    ),
    "without model_type": (configure(model_type=None), ["no model_type", '"model_type": "bert"']),
    "with relative keys": (
        configure(position_embedding_type="relative_key"),
        ["position_embedding_type 'relative_key'", "-m lelp_jax.answer --model=/"],
    ),
    "nested deeply": (put("config.json", '{"a":' * 100_000), ["config.json cannot be read"]),
    "with a huge header": (
        put("model.safetensors", bytes(7) + b"\x40" + bytes(99)),
        ["model.safetensors cannot be read"],
    ),
    "cloned without weights": (
        put("model.safetensors", POINTER),
        ["model.safetensors is a Git LFS pointer", "`git lfs pull`"],
    ),
    "cloned without a tokenizer": (
        put("tokenizer.json", POINTER),
        ["tokenizer.json is a Git LFS pointer", "`git lfs pull`"],
    ),
    "of PyTorch's own files": (
        rename,
        ["model.safetensors is missing", "pytorch_model.bin", "save_pretrained(NEW)"],
    ),
    "of two encoders": (join, ["several encoders", "'query.embeddings", "'answer.embeddings"]),
    "with another separator": (
        put("tokenizer_config.json", {"sep_token": "</s>"}),
        ["tokenizer_config.json has sep_token '</s>'", "tokenizer.json '[SEP]'"],
    ),
    "with a tokenizer config that is damaged": (
        put("tokenizer_config.json", "{"),
        ["tokenizer_config.json cannot be read"],
    ),
    "that takes maxima": (
        lambda folder: (
            put("modules.json", json.dumps([{"type": "models.Pooling", "path": ""}]))(folder),
            configure(pooling_mode_max_tokens=True)(folder),
        ),
        ["asks for the pooling max_tokens", "'mean' and 'cls'"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_is_refused_in_one_line(
    case: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = CASES[case]
    folder = checkpoints.write(tmp_path / "encoder", num_hidden_layers=1)
    change(folder)
    code = tiny.launch(
        f"{tiny.ROOT}/configs/sst2.py:files",
        tmp_path / "run",
        f"--config.data.train={data}",
        "--config.data.max_length=20",
        f"--config.teacher.checkpoint={folder}",
    )
    text = only_error(capsys.readouterr().err)
    assert code == 2
    assert "config.teacher.checkpoint" in text
    for word in words:
        assert word in text
    assert not list((tmp_path / "run").glob("teachers/*"))
