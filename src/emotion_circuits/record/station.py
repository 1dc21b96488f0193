"""A station as one declaration: what it is called, asked, needs, writes and says; its code is found by its package.

A station's package holds ``station`` (``inputs`` and ``run``), and where it has them ``estimate`` (``estimate``), ``section``
(``sections``), ``methods`` (``methods``) and ``shuffled`` (``shuffled_claims planted_claims``). They are imported when they are
first used, so that declaring a station costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import N_, say, term
from emotion_circuits.page.words import Aspect, Kind
from emotion_circuits.record.folder import NotMeasured, StationFolder
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.record.studied import Studied, studied
from emotion_circuits.statistics import Claim

if TYPE_CHECKING:
    from emotion_circuits.model import Blueprint, LanguageModel
    from emotion_circuits.model.vllm import Writer
    from emotion_circuits.page.page import Section
    from emotion_circuits.page.telling import Told
    from emotion_circuits.record.engines import Engine
    from emotion_circuits.record.speed import Speed

__all__ = ["Context", "Estimate", "Program", "Remade", "Station"]

Program = Literal["shuffled", "planted"]
"""How a station's claims are calibrated: labels that mean nothing, or an effect planted in what they name."""

UNWANTED = N_("the study leaves it out (leave_out)")
NEEDED = N_("the station {station}, whose artefacts it reads, was left out")

F = TypeVar("F", bound=StationFolder)


@dataclass(eq=False)
class Context:
    """What a station may use.

    Attributes:
        config: of the study.
        folder: the run's.
        loaded: a model that is loaded already, or in a dry run its blueprint.
        runs: folders of other runs, for stations that compare several.
        engine: where parts of a station are computed; in this process where there is none.
        writer: what writes continuations instead of the model; the model itself where there is none.
    """

    config: StudySettings
    folder: Path
    loaded: LanguageModel | None = None
    runs: tuple[Path, ...] = ()
    engine: Engine | None = None
    writer: Writer | None = None

    @cached_property
    def about(self) -> Studied:
        """What is studied."""
        return studied(self.config)

    @cached_property
    def model(self) -> LanguageModel:
        """The study's model, loaded when it is first asked for."""
        if self.loaded is not None:
            return self.loaded
        from emotion_circuits.model import load_model

        c = self.config
        found = load_model(
            c.model, device=c.device, dtype=c.dtype, writing_dtype=c.writing_dtype, revision=c.revision, prefix=c.prefix
        )
        found.written_by = self.writer
        return found

    def of(self, folder: type[F]) -> F:
        """The folder of another station of this run."""
        return folder.of(self.folder)


@dataclass(frozen=True)
class Estimate:
    """What a station costs, as if it began anew.

    Attributes:
        tokens: that go through the model, read and written; a part of the model counts as a part of a token.
        seconds: on this machine.
        bytes: that its folder will hold.
    """

    tokens: float
    seconds: float
    bytes: float


@dataclass(frozen=True)
class Remade:
    """Files of a finished station that a run can go on without, since they are made again where they are needed.

    Attributes:
        pattern: of their names.
        what: what they are.
    """

    pattern: str
    what: str


def _anything(*_: object) -> None:
    return None


def _always(*_: object) -> bool:
    return True


@dataclass(frozen=True)
class Station:
    """One station of a study.

    Attributes:
        name: of its folder, and of its settings in the configuration.
        title: what is shown while it runs.
        version: raised when its artefacts change for the same inputs.
        package: where its code is.
        settings: what it can be asked.
        folder: which files it writes.
        needs: stations of the same run whose artefacts it reads.
        needs_of_runs: stations of every *other* run it is given.
        kinds: of its claims, with their words.
        aspects: which questions its claims answer.
        consistent: refuses settings that do not fit those of other stations (``ValueError``).
        possible: refuses what a model, of which a blueprint is known, cannot do.
        belongs: whether a study has it at all; all of them by default.
        lacks: what of that which is studied it cannot do without and is not there; ``None`` where it can work.
        asks: the question that it answers, as the page puts it where the station was left out.
        remade: files that it can be without once it has finished.
        code: an object with the functions, instead of the package's modules.
    """

    name: str
    title: str
    version: int
    package: str
    settings: type[Settings]
    folder: type[StationFolder]
    needs: tuple[str, ...] = ()
    needs_of_runs: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    consistent: Callable[[StudySettings], None] = _anything
    possible: Callable[[StudySettings, LanguageModel], None] = _anything
    belongs: Callable[[StudySettings], bool] = _always
    lacks: Callable[[StudySettings], NotMeasured | None] = _anything
    asks: str = ""
    remade: tuple[Remade, ...] = ()
    code: Any = None

    def _function(self, module: str, name: str) -> Callable[..., Any] | None:
        """A function of the station's package (or of ``code``); ``None`` where it has none of that name."""
        if self.code is not None:
            return getattr(self.code, name, None)
        if find_spec(f"{self.package}.{module}") is None:
            return None
        return getattr(import_module(f"{self.package}.{module}"), name, None)

    def _required(self, name: str) -> Callable[..., Any]:
        found = self._function("station", name)
        if found is None:
            raise EmotionCircuitsError(f"station {self.name!r}: {self.package}.station has no function {name!r}")
        return found

    def inputs(self, context: Context) -> dict[str, Any]:
        """What of the configuration and the outside world its artefacts depend on, beside the stations it needs."""
        found: dict[str, Any] = self._required("inputs")(context)
        return found

    def run(self, context: Context, path: Path) -> None:
        """Do the work into a folder, which may hold its own unfinished work."""
        self._required("run")(context, self.folder(path))

    def calibrates(self, program: Program) -> bool:
        """Whether it says what it would claim in such a program."""
        return self._function("shuffled", f"{program}_claims") is not None

    @property
    def draws_at_once(self) -> int:
        """How many draws of :meth:`calibrated` share work and should be asked for together."""
        return 1 if self.code is not None else int(getattr(import_module(f"{self.package}.shuffled"), "AT_ONCE", 1))

    def calibrated(self, program: Program, context: Context, draws: Sequence[int]) -> list[list[Claim]]:
        """Its claims after everything behind the capture was done again with shuffled labels, once per draw.

        Args:
            program: ``shuffled``: labels mean nothing, so whatever is supported is false; ``planted``: an effect of what they
                name was planted, so that every claim ought to be supported.
            context: of a finished run; nothing is written into its folder.
            draws: numbers of the shuffles.

        Raises:
            EmotionCircuitsError: it does not say (:meth:`calibrates`).
        """
        function = self._function("shuffled", f"{program}_claims")
        if function is None:
            raise EmotionCircuitsError(
                f"station {self.name!r} does not say what it would claim: {self.package}.shuffled has no {program}_claims"
            )
        found: list[list[Claim]] = function(context, draws)
        return found

    def estimate(self, config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
        """What it will cost; nothing is known of a station that does not say."""
        function = self._function("estimate", "estimate")
        return Estimate(0, 0.0, 0) if function is None else function(config, model, speed)

    def done(self, config: StudySettings, run: Path) -> float | None:
        """Share of an interrupted run of it that is there already; ``None`` where it does not say."""
        function = self._function("estimate", "done")
        return None if function is None else float(function(config, self.folder.of(run)))

    def sections(self, run: Path, manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
        """Its part of a page; none where it has nothing to show.

        Args:
            run: folder of a finished run.
            manifest: the run's.
            claims: the station's own, told.
        """
        folder = self.folder.of(run)
        left = tuple(_told(row) for row in folder.left_out())
        if folder.skipped is not None:
            from emotion_circuits.page.page import Section

            return (Section(self.name, say(self.asks or self.title), left),)
        function = self._function("section", "sections")
        found = () if function is None else tuple(function(folder, manifest, claims))
        if not left or not found:
            return found
        return (replace(found[0], prose=(*found[0].prose, *left)), *found[1:])

    def methods(self, run: Path, manifest: dict[str, Any]) -> tuple[str, ...]:
        """How it worked in a run, in sentences for a paper; ``[@key]`` cites an entry of the bibliography.

        Args:
            run: folder of a finished run.
            manifest: the run's.
        """
        folder, function = self.folder.of(run), self._function("methods", "methods")
        return () if function is None or folder.skipped is not None else tuple(function(folder, manifest))

    def left_out(self, config: StudySettings, lacking: Mapping[str, NotMeasured]) -> NotMeasured | None:
        """Why it is not run at all: nobody wants it, what it lacks itself, or a station it needs that is left out.

        Args:
            config: of the study.
            lacking: what is known of the stations before it.
        """
        if self.name in config.leave_out:
            return NotMeasured(reason=UNWANTED)
        if (own := self.lacks(config)) is not None:
            return own
        absent = next((name for name in self.needs if name in lacking), None)
        return None if absent is None else NotMeasured(reason=NEEDED, values={"station": absent})


def _told(row: NotMeasured) -> str:
    reason = say(row.reason, **{place: term(value) for place, value in row.values.items()})
    if not row.what:
        return say("Not measured: {reason}.", reason=reason)
    return say("{what} was not measured: {reason}.", what=term(row.what), reason=reason)
