"""Runs and captures in MLflow, linked in both directions: the run carries the capture's hash, the folder the run's id.

MLflow is an optional extra (``pip install 'emotion-circuits[tracking]'``). Where it is installed, runs are recorded in
``mlflow.db`` (SQLite) beside the run's folder unless ``MLFLOW_TRACKING_URI`` names another store. One process records,
after the work is done; nothing that is computed depends on it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.locking import locked
from emotion_circuits.paths import hash_json, read_json
from emotion_circuits.record.notes import checked
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.running import BUSY
from emotion_circuits.sealing import read_sealed, write_sealed
from emotion_circuits.statistics import Claim
from emotion_circuits.study.comparing import flat
from emotion_circuits.temporaries import scratch_folder

__all__ = [
    "LINK",
    "Recorded",
    "Tracker",
    "default_uri",
    "read_link",
    "recorded_in",
    "track_capture",
    "track_study",
    "tracking_installed",
]

LINK = "tracking.json"
EXPERIMENT = "emotion-circuits"
_SQLITE = "sqlite:///"
_log = logging.getLogger(__name__)
CAPTURE_TAG = "capture.hash"
FOLDER_TAG = "folder"
_SAME_TAG = "record"
"""Hash of what is recorded, by which a second try finds the first."""


class Recorded(NamedTuple):
    """A run as MLflow has it.

    Attributes:
        run_id: MLflow's id.
        name: of the run.
        status: ``FINISHED`` …
        started: milliseconds since 1970.
        folder: where the artefacts were written.
        capture: hash of the capture it used or made.
        params: parameters.
        metrics: figures.
    """

    run_id: str
    name: str
    status: str
    started: int
    folder: str
    capture: str
    params: dict[str, str]
    metrics: dict[str, float]


def tracking_installed() -> bool:
    """Whether MLflow can be used."""
    return find_spec("mlflow") is not None and find_spec("sqlalchemy") is not None


def default_uri(folder: Path) -> str:
    """``MLFLOW_TRACKING_URI``, else a SQLite file beside the run's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(folder.resolve().parent / "mlflow.db")


def _sqlite_uri(database: Path) -> str:
    """The address of a SQLite file: written plainly where that is read back as the same file, else quoted (``?``, ``%20``)."""
    plain = f"{_SQLITE}{database.as_posix()}"
    return plain if not tracking_installed() or _database(plain) == database else _SQLITE + quote(database.as_posix())


def _database(uri: str) -> Path | None:
    """The file of a SQLite store, as the library that opens it reads the address; ``None`` for other stores."""
    if not uri.startswith(_SQLITE):
        return None
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "")


@contextmanager
def _no_stray_folders(uri: str) -> Iterator[None]:
    """MLflow makes the folder of an address as it is written, also where that is quoted and the file lies elsewhere."""
    raw, before = Path(uri.removeprefix(_SQLITE)).parent, []
    if uri.startswith(_SQLITE) and raw / "x" != (_database(uri) or Path()).parent / "x":
        before = [folder for folder in (raw, *raw.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in before:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow tells of every table it makes; only its warnings matter here."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True)
class Tracker:
    """A tracking store.

    Attributes:
        uri: e.g. ``sqlite:///runs/mlflow.db``.
        experiment: name of the experiment.
    """

    uri: str
    experiment: str = EXPERIMENT

    def _client(self, *, make: bool = False) -> Any:
        # Nothing is reported to anyone about the use of the library; it reads this when it is imported.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if not tracking_installed():
            raise EmotionCircuitsError(
                "tracking needs MLflow: pip install 'emotion-circuits[tracking]', or go without it (--no-track)"
            )
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _quiet(), _no_stray_folders(self.uri):
                database = _database(self.uri)
                if database is not None and make:
                    _prepare(database)
                elif database is not None and not database.is_file():
                    raise EmotionCircuitsError(
                        f"tracking store {self.uri}: there is none (one is made when a run is recorded); name another with "
                        "--store or MLFLOW_TRACKING_URI"
                    )
                return MlflowClient(tracking_uri=self.uri)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise EmotionCircuitsError(f"tracking store {self.uri}: {_first_line(error)}") from error

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        database = _database(self.uri)
        place = None if database is None else (database.resolve().parent / "mlartifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=place))

    def record(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path] = (),
    ) -> str:
        """Record a finished run; returns its id.

        The same is recorded once: what a process that was killed had begun to record is gone on with.

        Raises:
            EmotionCircuitsError: MLflow is not installed, or the store cannot be written.
        """
        client = self._client(make=True)
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _quiet():
                experiment = self._experiment(client)
                same = hash_json([name, {k: str(v) for k, v in params.items()}, dict(metrics), dict(tags)])
                begun = client.search_runs([experiment], filter_string=f"tags.`{_SAME_TAG}` = '{same}'")
                run = (
                    begun[0] if begun else client.create_run(experiment, run_name=name, tags={**tags, _SAME_TAG: same})
                )
                run_id = str(run.info.run_id)
                if run.info.status == "FINISHED":
                    return run_id
                started = int(run.info.start_time)
                client.log_batch(
                    run_id,
                    params=[Param(k, str(v)[:6000]) for k, v in params.items()],
                    metrics=[Metric(_key(k), float(v), started, 0) for k, v in metrics.items()],
                )
                for path in artifacts:
                    client.log_artifact(run_id, str(path))
                client.set_terminated(run_id)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise EmotionCircuitsError(f"tracking store {self.uri}: {_first_line(error)}") from error
        return run_id

    def find(self, *, capture: str | None = None, run_id: str | None = None) -> list[Recorded]:
        """Recorded runs, newest first: all, those of a capture (its hash or the beginning of it), or one by its id.

        Raises:
            EmotionCircuitsError: MLflow is not installed, or the store cannot be read.
        """
        # Nothing that a person typed stands in the query but what a hash is made of.
        if capture is not None and not re.fullmatch(r"[0-9a-f]*", capture):
            raise EmotionCircuitsError(f"--capture: {capture!r} is not the beginning of a hash (0-9, a-f)")
        client = self._client()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        wanted = "" if capture is None else f"tags.`{CAPTURE_TAG}` LIKE '{capture}%'"
        runs: list[Any] = []
        try:
            with _quiet():
                experiment = client.get_experiment_by_name(self.experiment)
                token: str | None = ""
                while experiment is not None and token is not None:
                    page = client.search_runs(
                        [experiment.experiment_id], wanted, order_by=["start_time DESC"], page_token=token or None
                    )
                    runs += page
                    token = page.token or None
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise EmotionCircuitsError(f"tracking store {self.uri}: {_first_line(error)}") from error
        found = [
            Recorded(
                r.info.run_id, r.info.run_name, r.info.status, int(r.info.start_time), r.data.tags.get(FOLDER_TAG, ""),
                r.data.tags.get(CAPTURE_TAG, ""), dict(r.data.params), dict(r.data.metrics),
            )
            for r in runs
        ]  # fmt: skip
        return [r for r in found if run_id is None or r.run_id.startswith(run_id)]


def _prepare(database: Path) -> None:
    """Make a new SQLite store under another name first: one that was interrupted half way could not be opened again."""
    if database.exists():
        return
    from mlflow import MlflowClient

    database.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(database.parent, "mlflow") as folder:
        whole = folder / "new.db"
        uri = _sqlite_uri(whole)
        with _no_stray_folders(uri):
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        # Another process may have made it meanwhile; then that one is used.
        with suppress(FileExistsError):
            os.link(whole, database)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _key(name: str) -> str:
    """A metric's name in the characters MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


def read_link(folder: Path) -> dict[str, Any]:
    """What a folder's ``tracking.json`` says of where it was recorded.

    Raises:
        EmotionCircuitsError: there is none, or it is damaged.
    """
    path = folder / LINK
    if not path.exists():
        raise EmotionCircuitsError(f"{folder}: was not recorded ({LINK} is missing)")
    found = read_sealed(path, "it is written anew when the run is recorded again")
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), str) for key in ("uri", "experiment", "run_id")
    ):
        raise EmotionCircuitsError(
            f"{path}: is not a link to a recorded run; it is written anew when the run is recorded"
        )
    return found


def recorded_in(folder: Path, store: str | None) -> tuple[Tracker, str]:
    """Where a folder was recorded, and as which run.

    An address in a file is data of whoever made the folder. It is followed only where it names the store that would be used
    for the folder anyway; opening another one may make files or wait for a machine.

    Args:
        folder: of a run or a capture.
        store: that a person named; it goes before the one in the file.

    Raises:
        EmotionCircuitsError: it was not recorded, or in another store.
    """
    link = read_link(folder)
    uri = store or default_uri(folder)
    if store is None and link["uri"] != uri:
        raise EmotionCircuitsError(
            f"{folder / LINK}: names the store {link['uri']}, which is not the one beside this folder ({uri}); to open it, give "
            "it with --store"
        )
    return Tracker(uri, link["experiment"]), link["run_id"]


def track_capture(folder: Path, manifest: Mapping[str, Any], tracker: Tracker) -> str:
    """Record a capture and write its run's id beside its manifest.

    Args:
        folder: of the capture.
        manifest: its manifest.
        tracker: where to.
    """
    capture = str(manifest["hash"])
    run_id = tracker.record(
        f"capture {manifest['model']['name']}",
        params=flat({k: v for k, v in manifest.items() if k != "hash"}),
        metrics={"rows": float(manifest["n_rows"])},
        tags={CAPTURE_TAG: capture, FOLDER_TAG: str(folder.resolve())},
        artifacts=[folder / "manifest.json"],
    )
    write_sealed(
        folder / LINK, {"uri": tracker.uri, "experiment": tracker.experiment, "run_id": run_id, "capture": capture}
    )
    return run_id


def track_study(folder: Path, tracker: Tracker, claims: Sequence[Claim]) -> str:
    """Record a finished study with its configuration, claims and report, and write its run's id into the folder.

    A study that is already recorded with the same manifest is not recorded again.

    Args:
        folder: of the study.
        tracker: where to.
        claims: its claims; estimates, ends of intervals and q become metrics, verdicts tags.
    """
    manifest = read_finished(folder)
    capture = read_json(checked(folder / "capture" / "manifest.json"))["hash"]
    link = folder / LINK
    with locked(folder, BUSY):
        return _track_study(folder, tracker, claims, manifest, str(capture), link)


def _metrics(claim: Claim) -> Iterator[tuple[str, float]]:
    """A claim's estimate under its id, and beside it what says how sure it is; what was not computed is left out."""
    figures = claim.figures
    low, high = figures.interval or (None, None)
    for name, value in (("", figures.estimate), (".low", low), (".high", high), (".q", figures.q)):
        if value is not None:
            yield f"{claim.id}{name}", value


def _track_study(
    folder: Path, tracker: Tracker, claims: Sequence[Claim], manifest: Mapping[str, Any], capture: str, link: Path
) -> str:
    if link.exists():
        try:
            known = read_link(folder)
        except EmotionCircuitsError as error:
            _log.warning("%s", error)
            known = {}
        if known.get("stations") == manifest["stations"] and known.get("uri") == tracker.uri:
            return str(known["run_id"])
    run_id = tracker.record(
        folder.resolve().name,
        params=flat(manifest["config"]),
        metrics={name: value for claim in claims for name, value in _metrics(claim)},
        tags={
            CAPTURE_TAG: str(capture),
            FOLDER_TAG: str(folder.resolve()),
            **{f"stage.{name}": str(key) for name, key in manifest["stations"].items()},
            **{f"verdict.{claim.id}": claim.verdict for claim in claims},
        },
        artifacts=[p for p in (folder / "manifest.json", folder / "report.html") if p.exists()],
    )
    write_sealed(
        link,
        {
            "uri": tracker.uri, "experiment": tracker.experiment, "run_id": run_id, "capture": capture,
            "stations": manifest["stations"],
        },
    )  # fmt: skip
    return run_id
