"""The files of a model folder, checked before anything maps or parses them further.

Pickled weights are never opened. A safetensors header is compared with the size of its file, so
that a cut download is a sentence here and not a bus error in the loader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from engine.models.errors import BadModelFolder, ModelNotFound, UnsupportedModel

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

_MAX_JSON_BYTES = 64 * 1024 * 1024
_MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
_LENGTH_BYTES = 8
_DOWNLOAD_AGAIN = "download the model again"


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class _AddedToken(msgspec.Struct):
    id: int
    content: str


class _AddedTokens(msgspec.Struct):
    added_tokens: list[_AddedToken] = []


class ModelFolder:
    """One folder. Construction raises ModelNotFound if it is none."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise ModelNotFound(f"{path} is no folder; name a model folder or a hub id")
        self.path = path

    def read_json(self, name: str, *, is_required: bool = False) -> dict[str, object]:
        """A JSON object; an absent optional file is an empty one. Raises BadModelFolder."""
        file = self.path / name
        if not file.is_file():
            if is_required:
                raise BadModelFolder(f"{self.path} has no {name}; {_DOWNLOAD_AGAIN}")
            return {}
        value = self._decode(name, dict)
        return {str(key): item for key, item in value.items()}

    def added_token_id(self, text: str) -> int | None:
        """The id of an added token of tokenizer.json. Raises BadModelFolder."""
        tokens = self._decode("tokenizer.json", _AddedTokens).added_tokens
        return next((token.id for token in tokens if token.content == text), None)

    def check_tokenizer(self) -> None:
        """Raises UnsupportedModel without a tokenizer.json."""
        if not (self.path / "tokenizer.json").is_file():
            raise UnsupportedModel(
                f"{self.path} has no tokenizer.json; convert its tokenizer with transformers "
                "(AutoTokenizer.from_pretrained(...).save_pretrained(...)) and try again"
            )

    def weight_bytes(self) -> int:
        """The size of all weight files, each checked.

        Raises UnsupportedModel if there are no safetensors, BadModelFolder for a shard that is
        missing, cut off, or outside of the folder.
        """
        names = self._weight_names()
        return sum(self._checked_weight_bytes(name) for name in names)

    def _weight_names(self) -> list[str]:
        if (self.path / "model.safetensors").is_file():
            return ["model.safetensors"]
        index = "model.safetensors.index.json"
        if (self.path / index).is_file():
            names = sorted(set(self._decode(index, _Index).weight_map.values()))
            if any(
                "/" in name or "\\" in name or not name.endswith(".safetensors") for name in names
            ):
                raise BadModelFolder(f"{index} names files outside of its folder; do not use it")
            return names
        pickled = sorted(file.name for file in self.path.glob("*.bin"))
        raise UnsupportedModel(
            f"{self.path} has no model.safetensors"
            + (f" (only {pickled[0]}: pickled weights are never loaded)" if pickled else "")
            + "; convert it with transformers (save_pretrained) or take a repository that has it"
        )

    def _checked_weight_bytes(self, name: str) -> int:
        file = self.path / name
        try:
            num_bytes = file.stat().st_size
            with file.open("rb") as stream:
                header_bytes = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
                if not 2 <= header_bytes <= min(_MAX_HEADER_BYTES, num_bytes - _LENGTH_BYTES):
                    raise BadModelFolder(
                        f"{name} is no safetensors file or is cut off: a header of {header_bytes} "
                        f"bytes in a file of {num_bytes}; {_DOWNLOAD_AGAIN}"
                    )
                end = _end_of_data(name, stream.read(header_bytes))
        except OSError as error:
            raise BadModelFolder(f"{name} cannot be read ({error}); {_DOWNLOAD_AGAIN}") from error
        expected = _LENGTH_BYTES + header_bytes + end
        if expected != num_bytes:
            raise BadModelFolder(
                f"{name} has {num_bytes} bytes where its header says {expected}; {_DOWNLOAD_AGAIN}"
            )
        return num_bytes

    def _decode(self, name: str, type_: type[T]) -> T:
        file = self.path / name
        try:
            if file.stat().st_size > _MAX_JSON_BYTES:
                raise BadModelFolder(f"{name} is larger than 64 MiB; {_DOWNLOAD_AGAIN}")
            return msgspec.json.decode(file.read_bytes(), type=type_)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadModelFolder(f"{name} cannot be read ({error}); {_DOWNLOAD_AGAIN}") from error


def _end_of_data(name: str, header: bytes) -> int:
    """Where the last tensor ends, from the end of the header."""
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        tensors = [msgspec.json.decode(entry, type=_Tensor) for entry in entries.values()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadModelFolder(f"{name} has a broken header ({error}); {_DOWNLOAD_AGAIN}") from error
    if any(not 0 <= start <= end for start, end in (t.data_offsets for t in tensors)):
        raise BadModelFolder(f"{name} has tensors of negative size; {_DOWNLOAD_AGAIN}")
    return max((tensor.data_offsets[1] for tensor in tensors), default=0)
