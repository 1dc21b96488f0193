"""A run as the beginning of a paper: methods from its settings, tables of its claims, its figures, what it cites.

Everything is a file that a paper of one's own may take in (``methods.tex``, ``tables/``, ``figures/``, ``references.bib``), and
``paper.tex`` puts them together, so that there is something to print at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from emotion_circuits.language import gap, say
from emotion_circuits.model.catalogue import BUNDLED
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.exporting import figure_pdfs
from emotion_circuits.page.latex import cited_in, claims_table, latex, latex_prose
from emotion_circuits.page.page import Figure, Page
from emotion_circuits.paths import replacing
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.studied import studied_in
from emotion_circuits.report.study_page import Report
from emotion_circuits.stations.registry import stations

__all__ = ["bibliography", "methods", "write_paper"]

_SELF, _MODEL = "emotion-circuits", "model"
"""Keys of entries that are made from the run: the program, and a model that has no paper here."""
_LIBRARIES = {
    "torch": ("PyTorch", "paszke2019"),
    "transformers": ("Transformers", "wolf2020"),
    "scikit-learn": ("scikit-learn", "pedregosa2011"),
    "scipy": ("SciPy", "virtanen2020"),
    "numpy": ("NumPy", "harris2020"),
    "statsmodels": ("statsmodels", "seabold2010"),
}
_CJK = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_LATIN = re.compile("[\u0000-\u024f\u2010-\u2027\u2030-\u205e]")


def write_paper(run: Path, written: Report, folder: Path) -> tuple[Path, ...]:
    """Write a run's LaTeX files, in the language of its report; returns their paths, ``paper.tex`` first.

    Args:
        run: folder of the finished run.
        written: its report, whose HTML page the figures are drawn from.
        folder: made where it is missing; files of the same names are replaced.

    Raises:
        EmotionCircuitsError: there is no browser to draw the figures.
    """
    manifest = read_finished(run)
    figures = figure_pdfs(written.page, written.path, folder / "figures")
    with shown_as(studied_in(manifest).attribute, written.language):
        # Which model it was is a matter of this run; everything else is cited by name.
        model = BUNDLED[manifest["config"]["model"]].cite if manifest["config"]["model"] in BUNDLED else _MODEL
        paragraphs = [p.replace("[@model]", f"[@{model}]") for p in methods(run, manifest, written.aligned)]
        entries = {**_references(), _SELF: _program(manifest), _MODEL: _other_model(manifest)}
        keys = dict.fromkeys(key for p in paragraphs for key in cited_in(p) if key in entries)
        contents = {
            "paper.tex": "",
            "methods.tex": "\n\n".join(latex_prose(p, entries) for p in paragraphs) + "\n",
            "references.bib": bibliography(list(keys), entries),
            # Read by latexmk, so that the bare command takes the right engine.
            # Lines of the log that are broken at 79 characters hide from latexmk that a bibliography is to be made.
            "latexmkrc": "@default_files = ('paper.tex');\n$pdf_mode = 4;  # LuaLaTeX\n$ENV{max_print_line} = 2000;\n",
            **_tables(written.page),
        }
        contents["paper.tex"] = _document(written, "".join(contents.values()))
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return (*(folder / name for name in contents), *figures)


def methods(run: Path, manifest: dict[str, Any], aligned: Path | None = None) -> tuple[str, ...]:
    """How the figures of a run were made, in the language that is spoken: one paragraph per station, statistics, software.

    Args:
        run: folder of a finished run.
        manifest: the run's.
        aligned: folder of a comparison with another model.

    Returns:
        Paragraphs in which ``[@key]`` cites an entry of the bibliography.
    """
    places = [(run, manifest), *(() if aligned is None else ((aligned, read_finished(aligned)),))]
    told = [
        gap().join(sentences)
        for place, of in places
        for station in stations()
        if station.name in of["stations"] and (sentences := station.methods(place, of))
    ]
    return (*told, gap().join(_statistics()), gap().join(_software(manifest)))


def _statistics() -> tuple[str, ...]:
    return (
        say(
            "The unit of all statistics is the group of sentences or the opening, not the token or the sample; intervals "
            "are 95 % intervals over those units."
        ),
        say(
            "A claim is supported where the whole interval lies beyond chance on the claimed side and q, its p-value after "
            "the Benjamini–Hochberg correction within one declared family [@benjamini1995], is at most 0.05; it is not "
            "supported where the interval rules out what is claimed or the smallest effect that matters; otherwise it is "
            "inconclusive."
        ),
    )


def _software(manifest: dict[str, Any]) -> tuple[str, ...]:
    versions = manifest["environment"]["packages"]
    named = [
        f"{name} {versions[package]} [@{key}]" for package, (name, key) in _LIBRARIES.items() if package in versions
    ]
    return (
        say(
            "All figures were computed with Emotion Circuits {version} [@emotion-circuits] ({libraries}); random seed {seed}.",
            version=versions.get(_SELF, ""), libraries=say(", ").join(named), seed=manifest["seed"],
        ),
        say("The SHA-256 of the model's weights begins with {sum}.", sum=manifest["model"]["weights_sha256"][:16]),
    )  # fmt: skip


def _references() -> dict[str, str]:
    """Entries of the bundled bibliography by key."""
    text = (files("emotion_circuits.report") / "references.bib").read_text(encoding="utf-8")
    return {entry.partition("{")[2].partition(",")[0]: entry.strip() for entry in re.split(r"\n(?=@)", text)}


def bibliography(keys: Sequence[str], entries: dict[str, str]) -> str:
    """A BibTeX file of some entries.

    Args:
        keys: of what is cited.
        entries: BibTeX by key.
    """
    return "\n\n".join(entries[key] for key in keys) + "\n"


def _program(manifest: dict[str, Any]) -> str:
    version = manifest["environment"]["packages"].get(_SELF, "")
    return _misc(_SELF, "{Emotion Circuits}", f"version {version}", author="{Emotion Circuits contributors}")


def _other_model(manifest: dict[str, Any]) -> str:
    """A model that no paper is known of here: its name and what its weights are."""
    model = manifest["model"]
    note = f"Model of the family {model['family']}, SHA-256 of the weights {model['weights_sha256'][:16]}…"
    revision = model["revision"]
    where = manifest["config"]["model"] if revision else ""
    hub = where if re.fullmatch(r"[\w.-]+/[\w.-]+", where) else ""
    return _misc(
        _MODEL, f"{{{latex(Path(model['name']).name)}}}", note + (f", revision {revision}" if revision else ""),
        howpublished=rf"\url{{https://huggingface.co/{hub}}}" if hub else "",
    )  # fmt: skip


def _misc(key: str, title: str, note: str, **fields: str) -> str:
    every = {**fields, "title": title, "note": latex(note)}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in every.items() if value)
    return f"@misc{{{key},\n{lines}\n}}"


def _tables(page: Page) -> dict[str, str]:
    return {
        f"tables/{section.anchor}.tex": claims_table(
            section.claims, caption=say("Claims: {title}", title=section.title), label=f"tab:{section.anchor}"
        )
        for section in page.sections
        if section.claims
    }


def _document(written: Report, content: str) -> str:
    """``paper.tex``."""
    page = written.page
    environment = Environment(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["latex"] = latex
    source = (files("emotion_circuits.report") / "paper.tex.j2").read_text(encoding="utf-8")
    figures = {s.anchor: [part for part in s.parts if isinstance(part, Figure)] for s in page.sections}
    shown = [s for s in page.sections if s.claims or figures[s.anchor]]
    texts = [
        content,
        page.title,
        page.lead,
        *(s.title for s in shown),
        *(f.caption + f.title for s in shown for f in figures[s.anchor]),
    ]
    every = "".join(texts)
    return environment.from_string(source).render(
        page=page,
        sections=shown,
        figures=figures,
        verdicts={answer.key: say(answer.verdict) for answer in page.answers},
        words={"methods": say("Methods"), "results": say("Results"), "references": say("References")},
        japanese=written.language == "ja",
        cjk=_CJK.search(every) is not None,
        wide=_LATIN.sub("", _CJK.sub("", every)) != "",
    )
