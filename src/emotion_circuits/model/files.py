"""What a model's folder holds: which files decide what it is, their sums, and what is refused before any is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.catalogue import BUNDLED
from emotion_circuits.model.sums import fresh_sha256, remembered_sha256
from emotion_circuits.paths import file_sha256, read_json

__all__ = ["RECORD", "Stored", "check_folder", "check_recorded", "model_files", "recorded", "sums_of"]

RECORD = "installed.json"
"""File of a folder that this program wrote: where it came from, and the SHA-256 of every file in it."""

_INDEX = "model.safetensors.index.json"
_READ = {".json", ".jinja", ".model", ".tiktoken", ".safetensors"}
_WORDS = {"vocab.txt", "merges.txt"}
_WEIGHTS = {".safetensors", ".bin"}
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


class Stored(NamedTuple):
    """A tensor of a safetensors file, as its header says."""

    dtype: str
    shape: tuple[int, ...]


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that decide what a model is: weights, configuration, tokenizer, chat templates.

    Pickled weights count where there are no others. What else lies there (a licence, a picture) does not.
    """
    top = [f for f in folder.iterdir() if f.suffix in _READ or f.name in _WORDS]
    found = {f for f in top if f.is_file() and f.name != RECORD}
    found |= set(folder.glob("additional_chat_templates/*.jinja"))
    if (folder / _INDEX).is_file():
        found |= {file for file in _shards(folder) if file.is_file()}
    if not any(f.suffix == ".safetensors" for f in found):
        found |= set(folder.glob("pytorch_model*.bin"))
    return sorted(found)


def sums_of(folder: Path, *, fresh: bool) -> dict[str, str]:
    """SHA-256 of each of :func:`model_files`, by name within the folder.

    Args:
        folder: of the model.
        fresh: read every byte of the weights, as where they are loaded; otherwise sums of weights that were not written to
            since they were read last are taken as known.

    Raises:
        EmotionCircuitsError: a file cannot be read, is not the one that was written there, or was not written to and yet
            holds other bytes than before.
    """

    def total(file: Path) -> str:
        if file.suffix not in _WEIGHTS:
            return file_sha256(file)
        return fresh_sha256(file) if fresh else remembered_sha256(file)

    try:
        files = model_files(folder)
        with ThreadPoolExecutor() as pool:
            found = {_name(folder, file): sha for file, sha in zip(files, pool.map(total, files), strict=True)}
    except OSError as error:
        raise EmotionCircuitsError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    check_recorded(folder, found)
    return found


def recorded(folder: Path) -> dict[str, str]:
    """SHA-256 by file name as noted when this program wrote the folder; empty where nothing is noted."""
    if not (folder / RECORD).is_file():
        return {}
    try:
        return {str(name): str(total) for name, total in read_json(folder / RECORD)["files"].items()}
    except (EmotionCircuitsError, KeyError, TypeError, AttributeError):
        raise EmotionCircuitsError(f"{folder / RECORD}: is damaged; {_remedy(folder)}") from None


def check_recorded(folder: Path, found: Mapping[str, str] | None = None) -> None:
    """Refuse a folder that this program wrote and that now holds something else.

    Args:
        folder: any model's; one without a record is somebody's own, and may be changed.
        found: sums of its files; by default everything but the weights is read, which takes no time.
    """
    noted = recorded(folder)
    if not noted:
        return
    if found is None:
        small = [file for file in model_files(folder) if file.suffix not in _WEIGHTS]
        found = {_name(folder, file): file_sha256(file) for file in small}
        noted = {name: total for name, total in noted.items() if Path(name).suffix not in _WEIGHTS}
    missing = [n for n in noted if (Path(n).suffix in _READ or n in _WORDS) and n not in found]
    for name in (*missing, *found):
        if found.get(name) == noted.get(name):
            continue
        how = (
            "is missing" if name not in found else "was put there" if name not in noted else "is damaged or was changed"
        )
        raise EmotionCircuitsError(
            f"{folder / name}: {how} (its SHA-256 differs from the one noted when it was written); {_remedy(folder)}"
        )


def _remedy(folder: Path) -> str:
    if folder.name in BUNDLED:
        return f"run 'emotion-circuits models install {folder.name} --force'"
    return f"delete the folder {folder}: it is made again when the model is loaded"


def check_folder(folder: Path) -> dict[str, Stored]:
    """Refuse a folder that is not a whole model of its own.

    Returns:
        Its tensors by name, as the headers of its safetensors files say; empty where it has none.

    Raises:
        EmotionCircuitsError: an adapter, an index that points elsewhere or to a file that is not there, a damaged header,
            a tensor that stands in two files.
    """
    adapter = next((folder / name for name in _ADAPTER if (folder / name).exists()), None)
    if adapter is not None:
        base = ""
        if adapter.suffix == ".json" and isinstance(text := read_json(adapter), dict):
            base = f" of {text.get('base_model_name_or_path')}"
        raise EmotionCircuitsError(
            f"{adapter}: an adapter (LoRA){base}, which would be ignored here: load its base model with it (load_model(base, "
            "adapter=folder), emotion-circuits steer --adapter), or merge it into its base model first (peft: "
            "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)) and load that folder"
        )
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else _shards(folder) if (folder / _INDEX).is_file() else []
    found: dict[str, Stored] = {}
    for file in files:
        for name, stored in _header(folder, file).items():
            if name in found:
                raise EmotionCircuitsError(
                    f"{file}: holds tensor {name}, which another file of {_INDEX} holds too: which one counts is not said"
                )
            found[name] = stored
    return found


def _shards(folder: Path) -> list[Path]:
    """The files that an index names, each once."""
    index = read_json(folder / _INDEX)
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise EmotionCircuitsError(f"{folder / _INDEX}: has no 'weight_map' from tensors to file names")
    for name in named.values():
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise EmotionCircuitsError(
                f"{folder / _INDEX}: points to {name!r}, outside the model's folder; only files within it are read"
            )
    return [folder / name for name in sorted(set(named.values()))]


def _header(folder: Path, file: Path) -> dict[str, Stored]:
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: Stored(str(s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()}
    except (OSError, SafetensorError) as error:
        raise EmotionCircuitsError(
            f"{file}: its weights cannot be read ({' '.join(str(error).split())}): it is cut short or damaged; "
            + (_remedy(folder) if (folder / RECORD).is_file() else "download or convert it again")
        ) from error


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()
