"""The comparison on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import interval, number
from emotion_circuits.page.page import Figure, Part, Section, Table, Texts
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.tuning.figures import frontier, head_grid, shift_by_layer
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.settings import standing
from emotion_circuits.stations.tuning.words import method_words

__all__ = ["overview", "sections"]

_INSIDE = ("tuning.along", "tuning.removal", "tuning.after")
_SHOWN = 12


def sections(folder: TuningFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """Effect over cost, the figures, the texts; then what an adapter changes inside."""
    arms, equal = folder.arms.read(), folder.equal.read()
    at = float(equal["ratio"].iloc[0])
    parts: list[Part] = [
        Figure(
            "frontier",
            say("Effect over its cost in fluency"),
            say(
                "Change of the judge's probability against unsteered text (up: more of the value), over perplexity under the "
                "plain model; bars: 95 % intervals over openings. Lines join the strengths of one method; diamonds are two at "
                "once. Dotted: no effect, no cost."
            ),
            frontier(arms, "ratio", at),
        ),
        Figure(
            "frontier-kl",
            say("Effect over what else changes"),
            say(
                "The same over the divergence of the next token from the plain model's on neutral sentences, which have "
                "nothing to do with the value."
            ),
            frontier(arms, "kl"),
        ),
        Table("tuning-overview", say("Methods"), _overview_caption(at), _named(overview(folder))),
        _texts(folder.texts.read()),
        Table(
            "tuning-arms",
            say("Every strength"),
            say("Units stand in the declaration of the table."),
            _named(arms),
            folded=True,
        ),
        Table(
            "tuning-equal",
            say("At equal cost"),
            say(
                "Effects at a perplexity ratio of {ratio}, on the line through a method's strengths; where none costs so much, "
                "that of the strongest.",
                ratio=number(at),
            ),
            _named(equal),
            folded=True,
        ),
    ]
    for name, title, caption in (
        ("additive", say("Two at once"), say("The change by both, by each alone, and both less the sum of each.")),
        (
            "harm",
            say("Answers to harmful requests"),
            say("Nats per token by which beginnings of answers that comply are likelier than those that decline."),
        ),
    ):
        table = getattr(folder, name).read()
        if len(table):
            parts.append(Table(f"tuning-{name}", title, caption, _named(table), folded=True))
    if folder.less.exists():
        parts.append(
            Table(
                "tuning-less",
                say("A value taken away"),
                say(
                    "Texts on the same openings that were asked for the value in words, and how much of it each way takes: "
                    "pushing the other way, everywhere or where the state lies beyond neutral sentences', holding the "
                    "direction in every layer, the adapter turned round, asking for nothing. random, shuffled: the range of what "
                    "directions of nothing take in the same ways, beside what is taken on the openings that they wrote on "
                    "(change_ranked, n_ranked); p: the largest of its p-values, the ranks among them included."
                ),
                _named(folder.less.read()),
            )
        )
    if folder.training.exists() and len(folder.training.read()):
        parts.append(
            Table(
                "tuning-training",
                say("Losses of training"),
                say("By step."),
                _named(folder.training.read()),
                folded=True,
            )
        )
    prose = say(
        "All methods continue the same held-out openings, on which nothing was chosen or learnt, with the same draws, and are "
        "read by the run's own judge. What is trained learns from train splits alone: sentences of the value against others of "
        "the same scene, and the model's own steered texts that the judge accepts. So texts of trained methods were selected by "
        "the judge that reads them here."
    )
    title = say("What do words, weights and vectors do to the same texts?")
    found = [Section("tuning", title, (prose,), tuple(c for c in claims if c.claim.kind not in _INSIDE), tuple(parts))]
    if folder.shift.exists():
        found.append(_inside(folder, [c for c in claims if c.claim.kind in _INSIDE]))
    return tuple(found)


def overview(folder: TuningFolder) -> pd.DataFrame:
    """One row per method at strength 1: effect, cost, what else moves, harm, and what it needs."""
    arms, needs = folder.arms.read(), {row["method"]: row for row in folder.methods.read().to_dict("records")}
    harm, rows = folder.harm.read(), []
    for method, own in arms.groupby("method", sort=False):
        row = own[own["strength"] == standing(str(method), own["strength"])].iloc[0]
        margin = harm[harm["method"] == method]
        about = needs.get(method)
        rows.append(
            {
                "method": str(method), "strength": float(row["strength"]), "effect": float(row["change"]),
                "low": float(row["low"]), "high": float(row["high"]),
                "ratio": float(row["ratio"]), "kl": float(row["kl"]),
                "loss": float(row["loss"]),
                "astray": str(row["astray"]), "astray_change": float(row["astray_change"]),
                "harm": float(margin["change"].iloc[0]) if len(margin) else float("nan"),
                "seconds": float("nan") if about is None else float(about["seconds"]),
                "parameters": float("nan") if about is None else float(about["parameters"]),
                "examples": float("nan") if about is None else float(about["examples"]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _overview_caption(at: float) -> str:
    return say(
        "At strength 1 (of prompting: sentences shown). effect: change of the judge's probability with 95 % interval; ratio: "
        "perplexity; kl, loss: on neutral sentences; astray: the other label that moves most; harm: complying over declining, "
        "nats per token; seconds, parameters and examples of fitting or training. Compared at a perplexity ratio of {ratio} "
        "below.",
        ratio=number(at),
    )


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(method=[method_words(m) for m in table["method"]])


def _texts(texts: pd.DataFrame) -> Texts:
    first = texts.drop_duplicates(["method", "strength", "prompt"])
    columns = {}
    for method, own in first.groupby("method", sort=False):
        at = 0.0 if method == "none" else standing(str(method), own["strength"])
        columns[str(method)] = own[own["strength"] == at].set_index("prompt")["text"]
    prompts = list(dict.fromkeys(first["prompt"]))[:_SHOWN]
    rows = tuple((p, tuple(str(column.get(p, "")) for column in columns.values())) for p in prompts)
    return Texts(
        "tuning-texts",
        say("Texts side by side"),
        say("The first {count} openings, unselected, at strength 1.", count=len(prompts)),
        tuple(method_words(m) for m in columns),
        rows,
    )


def _inside(folder: TuningFolder, claims: Sequence[Told]) -> Section:
    shift, heads = folder.shift.read(), folder.heads.read()
    value = next(iter(shift["value"][shift["layer"] == shift["layer"].min()]))
    best = heads.sort_values("change", ascending=False).head(3).to_dict("records")
    parts: list[Part] = [
        Figure(
            "tuning-shift",
            say("Does the adapter move states along the direction of {value}?", value=term(str(value))),
            say(
                "Share of the mean shift's squared length along the direction, on the same tokens in both models, with 95 % "
                "interval over texts; bands: directions of nothing."
            ),
            shift_by_layer(shift, str(value)),
        ),
        Figure(
            "tuning-heads",
            say("Which heads does the adapter change?"),
            say("Length of the difference of what a head adds, over the length of what it adds in the plain model."),
            head_grid(heads),
            say(
                "Most: {names}.",
                names=", ".join(
                    f"L{r['layer']}H{r['head']} {number(r['change'])} {interval(r['low'], r['high'])}" for r in best
                ),
            ),
        ),
        Table(
            "tuning-inside-table", say("Taken out, and added"), say("removal, after: see the claims."),
            _named(folder.inside.read()),
        ),
        Table("tuning-shift-table", say("Shift by layer"), say("Chance is one over the width."), _named(shift), folded=True),
    ]  # fmt: skip
    prose = say(
        "The adapter that preferences taught is compared with the run's direction: where it moves states, what of its effect "
        "goes when that direction is held at what neutral sentences have of it, and whether adding the direction still acts."
    )
    return Section("tuning-inside", say("What does an adapter change inside?"), (prose,), tuple(claims), tuple(parts))
