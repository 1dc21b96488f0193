"""Who judges what an attribute's texts express, and whether they can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.asking import ASKED, AskedModel
from emotion_circuits.evaluation.base import Evaluator
from emotion_circuits.evaluation.caching import Cached
from emotion_circuits.evaluation.hub import HUB_EVALUATORS, HubClassifier, HubSpec
from emotion_circuits.evaluation.keywords import KeywordCounts
from emotion_circuits.evaluation.probes import AttributeClassifier, EmbeddingProbe
from emotion_circuits.evaluation.registry import evaluator
from emotion_circuits.language import LANGUAGES
from emotion_circuits.prompts import Attribute, Prompt, corpus_of, prompts_sha256
from emotion_circuits.prompts.attribute_checks import text_problems
from emotion_circuits.prompts.attribute_parts import HubModel

__all__ = ["check_attribute", "judge_of", "judge_texts", "judges_of", "refuse_unfit"]


def judge_of(attribute: Attribute, name: str, *, cache: bool = True, cache_root: Path | None = None) -> Evaluator:
    """One of an attribute's judges: its own classifier, its own keywords, or an evaluator of that name.

    Args:
        attribute: the attribute.
        name: of the judge; that of the attribute's axis is its own classifier.
        cache: remember scores by (evaluator, version, text).
        cache_root: folder instead of the user's cache.

    Raises:
        EmotionCircuitsError: unknown name, or a judge that cannot be made.
    """
    own: Evaluator
    if name == attribute.axis:
        own = AttributeClassifier(attribute, root=cache_root)
    elif name == "keywords":
        words = attribute.lexicon_words()
        if words is None:
            raise EmotionCircuitsError(
                f"{attribute.where}: judges: 'keywords' needs a lexicon; give one, or leave it out"
            )
        own = KeywordCounts(attribute.language, words=words, axis=attribute.axis, reference=attribute.reference)
    elif name == ASKED:
        if attribute.asked is None:
            raise EmotionCircuitsError(
                f"{attribute.where}: judges: 'asked' needs the field 'asked': model, question, answers"
            )
        how = attribute.asked
        own = AskedModel(how.model, how.question, how.answers, axis=attribute.axis, language=attribute.language)
    elif name == HUB:
        if attribute.hub is None:
            raise EmotionCircuitsError(
                f"{attribute.where}: judges: 'hub' needs the field 'hub': source, labels, languages"
            )
        own = HubClassifier(_hub_spec(attribute, attribute.hub))
    else:
        return evaluator(name, cache=cache, cache_root=cache_root)
    return Cached(own, root=cache_root) if cache else own


HUB = "hub"
"""Name of the judge in an attribute's list."""


def _hub_spec(attribute: Attribute, given: HubModel) -> HubSpec:
    return HubSpec(
        HUB, given.source, attribute.axis, (given.labels,), given.multi_label, given.revision,
        fallback=attribute.reference if given.multi_label else None, languages=given.languages,
    )  # fmt: skip


def judges_of(attribute: Attribute, *, cache: bool = True, cache_root: Path | None = None) -> list[Evaluator]:
    """All judges of an attribute, the one that decides first; as :func:`judge_of`."""
    return [judge_of(attribute, name, cache=cache, cache_root=cache_root) for name in attribute.judges]


def judge_texts(attribute: Attribute, sentences: Sequence[Prompt]) -> dict[str, dict[str, Any]]:
    """What each judge of an attribute was fitted on, for the record.

    Nothing is fitted and nothing from a hub is loaded here.

    Args:
        attribute: whose judges.
        sentences: those that directions are fitted on.

    Returns:
        Judge → ``sets`` (corpora it was fitted or chosen on; empty for lexicons and for models that others trained), ``rows``
        and ``sha256`` of these texts, and ``shared_sentences`` and ``shared_groups``, how many of them directions are
        fitted on too.
    """
    texts = {_plain(p.text) for p in sentences}
    groups = {(corpus_of(p.set), p.group) for p in sentences}
    found = {}
    for name in attribute.judges:
        hub = (name in HUB_EVALUATORS and name != attribute.axis) or name == HUB
        made = None if hub else judge_of(attribute, name, cache=False)
        rows = made.fitted_on if isinstance(made, EmbeddingProbe) else []
        found[name] = {
            "sets": sorted({corpus_of(p.set) for p in rows}),
            "rows": len(rows),
            "sha256": prompts_sha256(rows) if rows else None,
            "shared_sentences": sum(_plain(p.text) in texts for p in rows),
            "shared_groups": len({(corpus_of(p.set), p.group) for p in rows} & groups),
        }
    return found


def _plain(text: str) -> str:
    """The text without case and spacing."""
    return " ".join(text.casefold().split())


def check_attribute(attribute: Attribute, values: Sequence[str] | None = None) -> list[str]:
    """Everything that is wrong with an attribute, each as ``file: field: what is wrong and what to do``.

    Args:
        attribute: the attribute.
        values: those that are studied; all by default.
    """
    wanted = tuple(values) if values is not None else attribute.values
    found = [*text_problems(attribute, wanted), *_judge_problems(attribute, wanted), *_language_problems(attribute)]
    return [f"{attribute.where}: {problem}" for problem in found]


def refuse_unfit(attribute: Attribute, values: Sequence[str] | None = None) -> None:
    """Raise where :func:`check_attribute` finds anything.

    Raises:
        EmotionCircuitsError: naming every problem.
    """
    problems = check_attribute(attribute, values)
    if len(problems) == 1:
        raise EmotionCircuitsError(problems[0])
    if problems:
        raise EmotionCircuitsError("\n  ".join([f"{len(problems)} problems with the attribute:", *problems]))


def _judge_problems(attribute: Attribute, values: tuple[str, ...]) -> Iterator[str]:
    for place, name in enumerate(attribute.judges):
        try:
            own_name, columns, languages = _known_of(attribute, name)
        except EmotionCircuitsError as error:
            yield f"judges: {error}"
            continue
        if languages is not None and attribute.language not in languages:
            yield (
                f"judges: {name!r} judges {', '.join(languages)}, the texts are {attribute.language!r}; leave it out, or name a "
                "judge of that language"
            )
            continue
        # Columns carry the evaluator's own name; keywords add their language to it, and decide nothing.
        if own_name != name and name != "keywords":
            yield f"judges: the evaluator {name!r} calls itself {own_name!r}; give it one name"
        unknown = ", ".join(v for v in values if f"p_{v}" not in columns)
        if place == 0 and unknown:
            yield (
                f"judges: {name!r} comes first, so it decides, but gives no probability of {unknown}; put a judge first that "
                f"does, e.g. {attribute.axis!r}, the classifier fitted on the attribute's own corpora"
            )
        known = [v for v in values if f"p_{v}" in columns or f"n_{v}" in columns]
        if known:
            unknown = ", ".join(v for v in values if v not in known)
            if place and unknown:
                yield f"judges: {name!r} does not know {unknown}; leave it out, or give it what it lacks"
        elif place and name not in attribute.metrics:
            yield (
                f"judges: {name!r} knows none of {', '.join(values)}; leave it out, or say under 'metrics' which way its "
                "figure should move for them"
            )
        elif name in attribute.metrics and name not in columns:
            yield f"metrics.{name}: that judge gives no number of its own name, but {', '.join(sorted(columns))}; leave it out"


def _language_problems(attribute: Attribute) -> Iterator[str]:
    for field, given in (("title", attribute.title), ("words", attribute.words)):
        if unknown := [code for code in given if code not in LANGUAGES]:
            yield f"{field}: reports have no language {', '.join(unknown)}; they have {', '.join(LANGUAGES)}"


def _known_of(attribute: Attribute, name: str) -> tuple[str, set[str], tuple[str, ...] | None]:
    """A judge's own name, the columns it gives and the languages it judges (``None``: it does not say).

    No model is loaded from a hub, and none fitted.
    """
    if name in HUB_EVALUATORS and name != attribute.axis:
        spec = HUB_EVALUATORS[name]
        return name, {f"p_{label}" for labels in spec.maps for label in labels.values()}, spec.languages
    if name == HUB and attribute.hub is not None:
        return name, {f"p_{label}" for label in attribute.hub.labels.values()}, attribute.hub.languages
    made = judge_of(attribute, name, cache=False)
    languages = getattr(made, "languages", None)
    if isinstance(made, EmbeddingProbe | AskedModel):
        return made.name, {f"p_{label}" for label in made.labels}, languages
    return made.name, set(made.score(["."]).columns), languages
