"""From a run to a frozen study."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.allocating import spread
from emotion_circuits.human.choosing import Chosen, Tuned, choose_texts, gold_texts
from emotion_circuits.human.hypotheses import declared
from emotion_circuits.human.material import INTENSITY, LANGUAGES, NATURALNESS, labels_of, material
from emotion_circuits.human.powering import planned, raters_for
from emotion_circuits.human.records import (
    Assumed,
    Design,
    Form,
    Item,
    Key,
    Planned,
    Rules,
    Secret,
    Study,
    key_sum,
    write_study,
)
from emotion_circuits.human.simulating import layout_of

__all__ = ["Wanted", "design_study"]

TRIED = (12, 18, 24, 36, 48, 72, 96)
"""Numbers of raters whose power is computed."""


@dataclass(frozen=True)
class Wanted:
    """What a study is asked to be.

    Attributes:
        raters: how many; the fewest with enough power by default.
        openings: how many; all that the run has by default.
        values: which; all that have steered texts by default.
        singles: texts per rater; at most one per opening.
        pairs: pairs per rater; at most one per opening.
        gold: unmistakable texts per rater.
        attention: checks per rater.
        repeats: texts per rater that come again.
        tuned: texts of tuned weights, as a further arm.
        seed: of every draw.
        studies: simulated per plan.
        rules: of exclusion.
        assumed: for power.
        larger: effects that are planned for in turn where no number of raters is enough for the assumed one.
    """

    raters: int | None = None
    openings: int | None = None
    values: tuple[str, ...] | None = None
    singles: int = 30
    pairs: int = 18
    gold: int = 3
    attention: int = 2
    repeats: int = 3
    tuned: Tuned | None = None
    seed: int = 0
    studies: int = 40
    rules: Rules = field(default_factory=Rules)
    assumed: Assumed = field(default_factory=Assumed)
    larger: tuple[float, ...] = ()


def design_study(run: Path, out: Path, wanted: Wanted | None = None) -> Study:
    """Freeze a study of a finished run's texts and write its design and its key.

    Args:
        run: a finished run.
        out: folder of the study.
        wanted: what it is asked to be.

    Returns:
        The study.

    Raises:
        EmotionCircuitsError: the run has no texts for it, a study is there already, or no number of raters that was tried is
            enough.
    """
    wanted = wanted or Wanted()
    chosen = choose_texts(run, seed=wanted.seed, openings=wanted.openings, values=wanted.values, tuned=wanted.tuned)
    openings = len(chosen.openings)
    each = {"singles": min(wanted.singles, openings), "pairs": min(wanted.pairs, openings)}
    counts = sorted({wanted.raters} if wanted.raters is not None else set(TRIED))
    sizes = sorted({max(8, openings // 2), openings})
    for effect in (wanted.assumed.effect, *wanted.larger):
        assumed = wanted.assumed
        if effect != assumed.effect:
            assumed = assumed.model_copy(update={"effect": effect, "prompted": max(effect, assumed.prompted)})
        table = planned(
            chosen.values,
            chosen.arms,
            assumed,
            raters=counts,
            openings=sizes,
            **each,
            studies=wanted.studies,
            seed=wanted.seed,
        )
        raters = wanted.raters or raters_for(table, openings)
        if raters is not None:
            wanted = replace(wanted, assumed=assumed)
            break
    if raters is None:
        best = max(table, key=lambda p: (p.openings, p.raters))
        raise EmotionCircuitsError(
            f"power: with {best.raters} raters and {best.openings} openings it is {best.power['human.transmitted']:.2f} for an "
            f"effect of {assumed.effect:g}; plan for a larger --effect, or name --raters yourself"
        )
    study = _built(run, chosen, wanted, raters, table, **each)
    write_study(study, out)
    return study


class _Names:
    """Names that tell nothing: drawn, never counted up."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.taken = rng, set[str]()

    def new(self, letter: str) -> str:
        while (name := f"{letter}{int(self.rng.integers(16**8)):08x}") in self.taken:
            pass
        self.taken.add(name)
        return name


def _built(
    run: Path, chosen: Chosen, wanted: Wanted, raters: int, table: tuple[Planned, ...], *, singles: int, pairs: int
) -> Study:
    rng = np.random.default_rng([wanted.seed, 5])
    names = _Names(rng)
    layout = layout_of(
        chosen.values, chosen.arms, raters=raters, openings=len(chosen.openings), singles=singles, pairs=pairs,
        seed=wanted.seed,
    )  # fmt: skip
    # Which arm is which slot, and which opening which place, is drawn anew: neither place tells anything.
    slots = [layout.slots[int(i)] for i in rng.permutation(len(layout.slots))]
    place = {slot: i for i, slot in enumerate(slots)}
    prompts = [list(chosen.openings)[int(i)] for i in rng.permutation(len(chosen.openings))]
    texts = {(s, p): names.new("t") for s in slots for p in prompts}
    labels = labels_of(chosen.attribute, chosen.values)
    items: dict[str, Item] = {}
    secrets: dict[str, Secret] = {}

    def add(item: Item, secret: Secret) -> str:
        name = names.new("i")
        items[name], secrets[name] = item, secret
        return name

    def shown(slot: tuple[str, str], prompt: str) -> dict[str, str]:
        return {"": chosen.texts[slot, prompt][0]}  # type: ignore[index]

    single = {
        (place[s], o): add(
            Item(kind="single", opening=chosen.openings[p], texts=(shown(s, p),)), Secret(kind="single", texts=(texts[s, p],))
        )
        for s in slots for o, p in enumerate(prompts)
    }  # fmt: skip
    compared: dict[tuple[int, int, bool], str] = {}
    forms: dict[str, Form] = {}
    width = len(str(raters))
    gold = [
        add(Item(kind="single", texts=({"": text},)), Secret(kind="gold", expected={"emotion": value}))
        for text, value in gold_texts(chosen.attribute, chosen.values, wanted.gold, wanted.seed)
    ]
    checks = [add(*_check(chosen.values[i % len(chosen.values)], labels)) for i in range(wanted.attention)]
    for rater in range(raters):
        own = [single[s, o] for _, o, s in layout.singles[layout.singles[:, 0] == rater].tolist()]
        again = [
            add(items[own[int(i)]], Secret(kind="repeat", texts=secrets[own[int(i)]].texts, again=own[int(i)]))
            for i in rng.permutation(len(own) // 2)[: wanted.repeats]
        ]
        rows = [*own[: len(own) // 2], *spread(own[len(own) // 2 :], again, rng)]
        two = []
        for _, o, k, swapped in layout.compared[layout.compared[:, 0] == rater].tolist():
            if (o, k, swapped) not in compared:
                value, first, second = layout.pairs[k]
                sides = [layout.slots[i] for i in ((second, first) if swapped else (first, second))]
                compared[o, k, swapped] = add(
                    Item(
                        kind="pair", opening=chosen.openings[prompts[o]], ask=chosen.values[value],
                        texts=tuple(shown(s, prompts[o]) for s in sides),
                    ),
                    Secret(kind="pair", texts=tuple(texts[s, prompts[o]] for s in sides)),
                )  # fmt: skip
            two.append(compared[o, k, bool(swapped)])
        forms[f"r{rater + 1:0{width}d}"] = Form(singles=tuple(spread(rows, [*gold, *checks], rng)), pairs=tuple(two))
    kept = sorted({i for form in forms.values() for i in form.items})
    seen = {name for i in kept for name in secrets[i].texts}
    sources = {texts[s, p]: source for (s, p), (_, source) in chosen.texts.items() if texts[s, p] in seen}
    key = Key(run=str(run), texts=dict(sorted(sources.items())), items={i: secrets[i] for i in kept})
    design = Design(
        name=names.new("s"), seed=wanted.seed, attribute=chosen.attribute.name, text_language=chosen.attribute.language,
        values=chosen.values, labels=labels, words=material(), items={i: items[i] for i in kept}, forms=forms, arms=chosen.arms,
        missing=chosen.missing, openings=len(chosen.openings), hypotheses=declared(chosen.values, chosen.arms),
        rules=_rules(wanted), assumed=wanted.assumed, power=table, key=key_sum(key),
    )  # fmt: skip
    return Study(design=design, key=key)


def _rules(wanted: Wanted) -> Rules:
    """A rule about checks that nobody could break would be none."""
    return wanted.rules.model_copy(update={"attention": max(0, min(wanted.rules.attention, wanted.attention - 1))})


def _check(value: str, labels: dict[str, dict[str, str]]) -> tuple[Item, Secret]:
    words = material()
    natural = NATURALNESS[0]
    said = {
        code: words[code]["attention"].format(value=labels[code][value], natural=words[code][f"naturalness-{natural}"])
        for code in LANGUAGES
    }
    expected = {"emotion": value, "intensity": INTENSITY[-1], "naturalness": natural}
    return Item(kind="single", texts=(said,)), Secret(kind="attention", expected=expected)
