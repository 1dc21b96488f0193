"""Runs and captures in MLflow, linked in both directions: the run carries the capture's hash, the folder the run's id.

MLflow is an optional extra (``pip install 'emotion-circuits[tracking]'``). Where it is installed, runs are recorded in
``mlflow.db`` (SQLite) beside the run's folder unless ``MLFLOW_TRACKING_URI`` names another store. One process records,
after the work is done; nothing that is computed depends on it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import write_json
from emotion_circuits.statistics import Claim
from emotion_circuits.study.comparing import flat
from emotion_circuits.temporaries import scratch_folder

__all__ = ["LINK", "Recorded", "Tracker", "default_uri", "track_capture", "track_study", "tracking_installed"]

LINK = "tracking.json"
EXPERIMENT = "emotion-circuits"
_SQLITE = "sqlite:///"
CAPTURE_TAG = "capture.hash"
FOLDER_TAG = "folder"


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
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder.resolve().parent / 'mlflow.db').as_posix()}"


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

    def _client(self) -> Any:
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
            with _quiet():
                if self.uri.startswith(_SQLITE):
                    _prepare(Path(self.uri.removeprefix(_SQLITE)))
                return MlflowClient(tracking_uri=self.uri)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise EmotionCircuitsError(f"tracking store {self.uri}: {_first_line(error)}") from error

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = None
        if self.uri.startswith(_SQLITE):
            place = (Path(self.uri.removeprefix(_SQLITE)).resolve().parent / "mlartifacts").as_uri()
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

        Raises:
            EmotionCircuitsError: MLflow is not installed, or the store cannot be written.
        """
        client = self._client()
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _quiet():
                run = client.create_run(self._experiment(client), run_name=name, tags=dict(tags))
                run_id = str(run.info.run_id)
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
        client = self._client()
        with _quiet():
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is None:
                return []
            runs = client.search_runs(
                [experiment.experiment_id],
                filter_string="" if capture is None else f"tags.`{CAPTURE_TAG}` LIKE '{capture}%'",
                order_by=["start_time DESC"],
            )
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
        MlflowClient(tracking_uri=f"{_SQLITE}{whole.as_posix()}").search_experiments(max_results=1)
        # Another process may have made it meanwhile; then that one is used.
        with suppress(FileExistsError):
            os.link(whole, database)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _key(name: str) -> str:
    """A metric's name in the characters MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


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
    write_json(
        folder / LINK, {"uri": tracker.uri, "experiment": tracker.experiment, "run_id": run_id, "capture": capture}
    )
    return run_id


def track_study(folder: Path, tracker: Tracker, claims: Sequence[Claim]) -> str:
    """Record a finished study with its configuration, claims and report, and write its run's id into the folder.

    A study that is already recorded with the same manifest is not recorded again.

    Args:
        folder: of the study.
        tracker: where to.
        claims: its claims; their estimates become metrics.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    capture = json.loads((folder / "capture" / "manifest.json").read_text(encoding="utf-8"))["hash"]
    link = folder / LINK
    if link.exists():
        known = json.loads(link.read_text(encoding="utf-8"))
        if known.get("stations") == manifest["stations"] and known.get("uri") == tracker.uri:
            return str(known["run_id"])
    run_id = tracker.record(
        folder.resolve().name,
        params=flat(manifest["config"]),
        metrics={claim.id: claim.figures.estimate for claim in claims},
        tags={
            CAPTURE_TAG: str(capture),
            FOLDER_TAG: str(folder.resolve()),
            **{f"stage.{name}": str(key) for name, key in manifest["stations"].items()},
        },
        artifacts=[p for p in (folder / "manifest.json", folder / "report.html") if p.exists()],
    )
    write_json(
        link,
        {
            "uri": tracker.uri, "experiment": tracker.experiment, "run_id": run_id, "capture": capture,
            "stations": manifest["stations"],
        },
    )  # fmt: skip
    return run_id
