"""From a run's folder to its report: the five questions of the study, each with claims, figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import say, term
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.page import Page, Part, Section, Table, write_page
from emotion_circuits.page.telling import Told, tell
from emotion_circuits.page.words import Aspect, Kind
from emotion_circuits.record.reading import read_claims, read_finished
from emotion_circuits.record.studied import Studied, studied_in
from emotion_circuits.report.looking import looking_section
from emotion_circuits.report.plan import plan_rows, plan_table
from emotion_circuits.report.questions import answer_questions, with_texts
from emotion_circuits.stations.alignment.folder import AlignmentFolder
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.registry import aspects, kinds, stations
from emotion_circuits.statistics import Claim

__all__ = [
    "Further", "Report", "aligned_of", "aspects_with", "model_called", "render_report", "summary_table", "told_of",
    "write_report",
]  # fmt: skip

REPORT = "report.html"


@dataclass(frozen=True)
class Further:
    """What is known of a run beside what its own stations found.

    Attributes:
        claims: about the run's texts or model.
        kinds: words for their kinds.
        aspects: which questions they answer; told before those of the stations.
        sections: that show them, made in the language of the page.
    """

    claims: tuple[Claim, ...]
    kinds: Mapping[str, Kind]
    aspects: tuple[Aspect, ...]
    sections: Callable[[Sequence[Told]], tuple[Section, ...]]


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: of the HTML file.
        page: what it holds.
        missing: sentences that the catalogue of its language lacks.
        language: code of its language.
        aligned: folder of the comparison with another model that it tells of.
    """

    path: Path
    page: Page
    missing: frozenset[str]
    language: str = "en"
    aligned: Path | None = None


def write_report(
    run: Path | str,
    *,
    out: Path | None = None,
    language: str = "en",
    aligned: Path | str | None = None,
    further: Sequence[Further] = (),
    plan: bool = False,
) -> Path:
    """Write a run's report and return its path; see :func:`render_report`.

    Args:
        run: folder of a finished run.
        out: the HTML file; by default in the run's folder.
        language: code of a language that there is a catalogue of.
        aligned: folder of a comparison with another model.
        further: what others found out about the run.
        plan: whether the figures that a research plan's pilot reported stand beside the run's.
    """
    return render_report(run, out=out, language=language, aligned=aligned, further=further, plan=plan).path


def render_report(
    run: Path | str,
    *,
    out: Path | None = None,
    language: str = "en",
    aligned: Path | str | None = None,
    further: Sequence[Further] = (),
    plan: bool = False,
) -> Report:
    """Write a run's report from its artefacts; nothing is computed anew.

    Args:
        run: folder of a finished run.
        out: the HTML file; ``report.html`` in the run's folder by default, with the language's code where that is not English.
        language: one of :data:`emotion_circuits.language.LANGUAGES`.
        aligned: folder of a comparison with another model; ``aligned`` in the run's folder where that exists.
        further: what others found out about the run, such as people who read its texts.
        plan: whether the figures that a research plan's pilot reported stand beside the run's.

    Raises:
        EmotionCircuitsError: not the folder of a finished run or of a comparison, or no such language.
    """
    run = Path(run)
    manifest = read_finished(run)
    folder = aligned_of(run, aligned)
    path = out or run / (REPORT if language == "en" else f"report.{language}.html")
    about = studied_in(manifest)
    with shown_as(about.attribute, language) as spoken:
        page = _page(run, manifest, folder, about, further, plan=plan)
        write_page(page, path)
    return Report(path, page, frozenset(spoken.missing), language, folder)


def summary_table(run: Path | str) -> list[dict[str, str]]:
    """One line per claim: finding, figure, unit, interval, reference (chance level or null interval), verdict."""
    rows = []
    for told in tell(read_claims(Path(run)), kinds()):
        claim, figures = told.claim, told.claim.figures
        reference = "" if figures.chance is None else f"{figures.chance:.3g}"
        if figures.null:
            reference = f"{figures.null[0]:+.3f} … {figures.null[1]:+.3f}"
        ends = figures.interval
        rows.append(
            {
                "finding": claim.id,
                "about": claim.about.part or "",
                "figure": f"{figures.estimate:+.3f}",
                "unit": told.unit,
                "interval": f"[{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "–",
                "reference": reference,
                "verdict": claim.verdict,
            }
        )
    return rows


def aligned_of(run: Path, given: Path | str | None = None) -> Path | None:
    """The comparison with another model that a run's report tells of: the given one, or the one in the run's folder.

    Raises:
        EmotionCircuitsError: the given folder holds none.
    """
    folder = run / "aligned" if given is None else Path(given)
    if AlignmentFolder.of(folder).choice.exists():
        return folder
    if given is not None:
        raise EmotionCircuitsError(
            f"{folder}: holds no comparison of two models; make one with emotion-circuits align {run} OTHER_RUN --out {folder}"
        )
    return None


def told_of(run: Path, aligned: Path | None = None, further: Sequence[Further] = ()) -> tuple[Told, ...]:
    """Everything that a run's report tells: its own claims, those of a comparison with another model, and others'.

    Args:
        run: folder of the run.
        aligned: of :func:`aligned_of`.
        further: what others found out about the run.
    """
    own = tell([*read_claims(run), *(() if aligned is None else read_claims(aligned))], kinds())
    return (*own, *(told for one in further for told in tell(one.claims, one.kinds)))


def aspects_with(further: Sequence[Further] = ()) -> tuple[Aspect, ...]:
    """What claims answer, in the order it is told: what others found out comes before what the stations did."""
    return (*(aspect for one in further for aspect in one.aspects), *aspects())


def _page(
    run: Path, manifest: dict[str, Any], aligned: Path | None, about: Studied, further: Sequence[Further], *, plan: bool
) -> Page:
    model = manifest["model"]
    every = told_of(run, aligned, further)
    emotions, labels = (say(", ").join(term(e) for e in names) for names in (about.values, about.labels))
    closer = looking_section(run)
    sections = (
        *((_plan_section(run, aligned, every, manifest),) if plan else ()),
        *_sections(run, manifest, every),
        *(() if aligned is None else _sections(aligned, read_finished(aligned), every)),
        *(section for one in further for section in one.sections(tell(one.claims, one.kinds))),
        *((closer,) if closer is not None else ()),
        _method_section(run),
    )
    return Page(
        title=say("Emotion in {model}", model=model_called(model)),
        lead=_lead(manifest, every, labels),
        facts=_facts(manifest, about, emotions),
        answers=with_texts(answer_questions(every, str(run), aspects_with(further)), sections),
        sections=sections,
        command=manifest["command"],
        manifest=manifest,
    )


def _sections(run: Path, manifest: dict[str, Any], claims: tuple[Told, ...]) -> tuple[Section, ...]:
    """What the stations of a run show, in their order."""
    return tuple(
        section
        for station in stations()
        if station.name in manifest["stations"]
        for section in station.sections(run, manifest, [t for t in claims if t.claim.station == station.name])
    )


def _lead(manifest: dict[str, Any], claims: tuple[Told, ...], emotions: str) -> str:
    model = manifest["model"]
    verdicts = [told.claim.verdict for told in claims]
    return say(
        "{model} ({family}, {layers} layers, width {width}) was given {rows} sentences of {emotions}. Of {total} claims, "
        "{supported} are supported, {refuted} are not supported, {open} are inconclusive. Directions were fitted on training "
        "sentences, choices made on validation, and every figure here is from held-out test sentences or openings unless it "
        "says otherwise.",
        model=model_called(model), family=model["family"], layers=model["n_layers"], width=model["d_model"],
        rows=manifest["data"]["prompts"]["rows"], emotions=emotions, total=len(claims), supported=verdicts.count("supported"),
        refuted=verdicts.count("not supported"), open=verdicts.count("inconclusive"),
    )  # fmt: skip


def model_called(model: Mapping[str, Any]) -> str:
    """A model's name; of one in a folder the folder's, not the way there."""
    name = str(model["name"])
    return Path(name).name if Path(name).is_absolute() else name


def _facts(manifest: dict[str, Any], about: Studied, emotions: str) -> tuple[tuple[str, str], ...]:
    model = manifest["model"]
    data = manifest["data"]["prompts"]
    return (
        (
            say("model"),
            say(
                "{name} ({family}, {layers} layers, width {width})",
                name=model["name"], family=model["family"], layers=model["n_layers"], width=model["d_model"],
            ),
        ),
        (say("weights"), f"sha256 {model['weights_sha256'][:16]}…"),
        (say("sentences"), say("{rows} from {sets}", rows=data["rows"], sets=", ".join(about.fit))),
        (say("emotions"), emotions),
        (say("reference"), _reference(about)),
        (say("splits"), say("fitted on train, chosen on validation, reported on test; groups are never divided")),
        (say("seed"), str(manifest["seed"])),
    )  # fmt: skip


def _reference(about: Studied) -> str:
    """What the page's word *neutral* stands for."""
    if about.reference is None:
        return say(
            "there is none: each of these is compared with the mean of the others, and where this page says 'neutral', it means "
            "that mean"
        )
    if about.reference == "neutral":
        return say("neutral sentences")
    return say(
        "{reference}; where this page says 'neutral', it means sentences of that label", reference=term(about.reference)
    )


def _plan_section(run: Path, aligned: Path | None, claims: tuple[Told, ...], manifest: dict[str, Any]) -> Section:
    table = plan_table(plan_rows(run, aligned, claims, manifest))
    return Section("plan-section", table.title, (), (), (table,))


def _method_section(run: Path) -> Section:
    captured = CaptureFolder.of(run)
    store = captured.rows()
    excluded = int((~store["has_emotion"]).sum())
    parts: tuple[Part, ...] = ()
    if captured.sinks.exists():
        parts = (
            Table(
                "sinks",
                say("Attention sinks left out"),
                say(
                    "'median': median length of token states on neutral text, the unit of alpha. 'first': tokens left out "
                    "because the model reads them first; none where a token stands before every text. 'longer': tokens left "
                    "out because they are longer than four medians. 'without_…': sentences of which nothing else is left."
                ),
                captured.sinks.read(),
                folded=True,
            ),
        )
    return Section(
        "method",
        say("What stands behind the figures"),
        (
            say(
                "alpha is a fraction of the layer's residual norm, the median length of token states on neutral text. "
                "Attention sinks are left out of every state and norm: the first token the model reads, and tokens longer "
                "than four medians of their layer. Emotion words are located by character offsets; neutral sentences take a "
                "position-matched token of their own group. {excluded} of {total} sentences have no such token and "
                "are left out of the token-based directions, and only of those.",
                excluded=excluded, total=len(store),
            ),
            say(
                "Both arms of every comparison share openings, random draws and decoding. Only the continuation is "
                "scored, by evaluators that do not know the condition. p-values are from paired permutation tests, "
                "q-values from one declared family per table. Intervals are 95 % cluster bootstraps over groups or "
                "prompts."
            ),
        ),
        (),
        parts,
    )  # fmt: skip
