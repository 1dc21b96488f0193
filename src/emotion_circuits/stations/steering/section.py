"""The report's steering section: what was tried, what was chosen, what it did on test openings, and the texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotion_circuits.evaluation import Validation
from emotion_circuits.evaluation.per_label import per_label
from emotion_circuits.evaluation.validating import WRITTEN
from emotion_circuits.language import gap, say, term
from emotion_circuits.page import figures as draw
from emotion_circuits.page.numerals import percent
from emotion_circuits.page.page import Figure, Part, Section, Table, Texts
from emotion_circuits.page.telling import Told
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.steering import figures as pictures
from emotion_circuits.stations.steering.folder import Choice, SteeringFolder
from emotion_circuits.steering import REGIMES, Condition, pareto
from emotion_circuits.steering.view import as_read

__all__ = ["SAID", "sections"]

_ARM_COLUMNS = (
    "condition", "kind", "emotion", "n", "share", "base_share", "words_share", "base_words_share", "change",
    "change_low", "change_high", "ratio", "ratio_low", "ratio_high", "repetition", "distinct_2", "regime",
)  # fmt: skip

_DOSES = ("probability of the emotion", "VADER", "nats per token")
"""Metrics of the doses' table."""

_EVALUATORS = {
    "share": "emotion classifier: share",
    "words": "lexicon: share with a word of it",
    "vader": "VADER: mean score",
}

_SHARED = {
    "always": "Of these the emotions take the place and strength that is open to most of them, so that they share their "
    "random directions.",
    "equal": "Where that cannot be told from another one, emotions take one that they share, and with it its random "
    "directions.",
}


_FROM = {
    "sentences": "Directions are those of sentences, which on validation requests did no worse than those of replies, where both "
    "were tried.",
    "replies": "Directions are differences of the replies that the model itself wrote under contrasting instructions; on "
    "validation requests they did better than those of sentences, where both were tried.",
}
"""Where the directions of chat are from."""

SAID = (*_FROM.values(), *_DOSES, *_EVALUATORS.values(), *_SHARED.values())
"""Titles of panels; catalogues hold them all."""


def sections(folder: SteeringFolder, manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """One section; a run without any condition within the bound shows what was tried.

    Args:
        folder: of a finished run's station.
        manifest: the run's.
        claims: the station's.
    """
    settings, judge = manifest["config"]["steering"], studied_in(manifest).judge
    grid = folder.grid.read()
    choice = folder.choice.read()
    chosen = choice.conditions()
    evaluators = pd.DataFrame(list(folder.evaluators.read().rows), columns=list(Validation.model_fields))
    bound = float(settings["max_perplexity_ratio"])
    # What was found comes first; how it was chosen comes after.
    parts: list[Part] = _found(folder, chosen, judge) if chosen else []
    parts += _sources(folder)
    parts += _tried(folder, grid, bound)
    if folder.comparison.exists():
        parts.append(_comparison(folder.comparison.read()))
    parts.append(
        Table(
            "evaluators",
            say("How good the evaluators are on labelled held-out text"),
            say(
                "Accuracy with 95 % interval; majority: always the most frequent label. 'other_feelings' holds joy, "
                "praise, sadness, complaint …: there, right means none of the emotions."
            ),
            evaluators[["evaluator", "axis", "data", "split", "n", "accuracy", "interval", "majority"]],
            folded=True,
        )
    )
    own = evaluators[evaluators["evaluator"] == judge]
    confusions = dict(zip(own["data"], own["confusion"], strict=True))
    written = [confusions[name] for name in WRITTEN if name in confusions]
    if written:
        parts.append(
            Table(
                "judge-on-written",
                say("How the emotion classifier reads continuations that models wrote"),
                say(
                    "On labelled continuations of neutral openings, steered, prompted and plain. recall: of the texts "
                    "of a label, the share it finds; precision: of the texts it calls so, the share that are. A share "
                    "of texts classed as an emotion is to be read with both."
                ),
                per_label(written[0]),
            )
        )
    prose = _prose(choice, chosen, bound, settings)
    return (Section("steered", say("Can it be steered?"), prose, tuple(claims), tuple(parts)),)


def _prose(choice: Choice, chosen: dict[str, Condition], bound: float, settings: dict[str, Any]) -> tuple[str, ...]:
    share = settings["share_places"]
    prose = [
        say(
            "A direction, scaled to a fraction alpha of the layer's residual norm, is added to the residual stream "
            "while the model goes on with a neutral opening. Place and strength were chosen on {openings} validation "
            "openings that the figures below never saw: the largest mean probability of the emotion among conditions "
            "whose perplexity ratio stays at most {bound:g} up to the end of its 95 % interval and whose repetition "
            "rises by less than 0.1.",
            openings=choice.openings, bound=bound,
        )
        + (gap() + say(_SHARED[share]) if share in _SHARED else ""),
        say("Regimes of the grid: {rules}.", rules="; ".join(f"{term(n)} – {say(rule)}" for n, rule in REGIMES.items())),
    ]  # fmt: skip
    if settings.get("texts") == "chat":
        prose.append(
            say(
                "Openings are requests of a chat here, which the model answers through its chat template. The template's own "
                "tokens are left alone but for the first, where a push at it is named; perplexity is that of a reply to the "
                "plain request."
            )
        )
        prose.append(say(_FROM[choice.source]))
    if choice.unwritten:
        told = [say("{emotion} ({count})", emotion=term(e), count=count) for e, count in choice.unwritten.items()]
        prose.append(
            say(
                "Asked for it in words, the model wrote too few replies that the judge calls so (how many came out in brackets), "
                "so that there is no direction of: {emotions}. It is not forced; directions from sentences are an alternative.",
                emotions=say(", ").join(told),
            )
        )
    if choice.none_within_bound:
        names = say(", ").join(term(e) for e in choice.none_within_bound)
        prose.append(say("No condition was within the bound for: {emotions}.", emotions=names))
    if chosen:
        named = [
            say("{emotion}: layer {layers}, alpha {alpha:g}", emotion=term(e), layers=_layers(c), alpha=c.alpha)
            + (say(", at the first token (the attention sink) {first:g}", first=c.first) if c.first else "")
            for e, c in chosen.items()
        ]
        prose.append(say("Chosen conditions: {conditions}.", conditions=say("; ").join(named)))
    return tuple(prose)


def _layers(condition: Condition) -> str:
    return " ".join(map(str, condition.layers))


def _looked_for(normed: pd.DataFrame) -> Figure:
    """Places that were looked for: few texts of many, more of the best."""
    return Figure(
        "steering-places",
        say("Where it was looked for, and how strongly"),
        say(
            "A row for each place and strength that was tried: layer, alpha, strength at the first token ('sink', in the same "
            "unit), and on how many openings (n). Cells: share of continuations classed as the emotion, and perplexity ratio to "
            "unsteered text (× 1: as fluent as unsteered). Colour: regime. The choice was made among those with the largest n."
        ),
        pictures.places(normed),
        _regimes(normed),
    )


def _given(folder: SteeringFolder, normed: pd.DataFrame, pareto_figure: Figure, bound: float) -> list[Part]:
    """A grid of given places and strengths."""
    return [
        Figure(
            "steering-grid",
            say("What each place and strength does, on the openings the choice was made on"),
            say(
                "Each cell: share of continuations classed as the emotion, and perplexity ratio to unsteered text (× "
                "1: as fluent as unsteered). Colour: regime. 'sink': strength at the first token, in the unit of alpha and "
                "added beside it."
            ),
            pictures.regimes(normed),
            _regimes(normed),
        ),
        Figure(
            "steering-gain",
            say("Gain in the emotion's probability"),
            say(
                "Classifier probability of the target emotion, steered minus unsteered, by layer and alpha; 0 is no "
                "effect. Pale and in brackets: the 95 % interval includes 0."
            ),
            draw.steering_heatmaps(normed.rename(columns={"change": "effect"}), "effect", title=say("gain")),
        ),
        Figure(
            "steering-cost",
            say("What it costs: perplexity ratio"),
            say(
                "Perplexity of the continuation under the unsteered model, relative to unsteered text: 1 is no cost, "
                "the bound is {bound:g}.",
                bound=bound,
            ),
            draw.steering_heatmaps(normed, "ratio", title=say("ratio"), diverging=False),
        ),
        pareto_figure,
        Figure(
            "dose-response",
            say("Dose and response"),
            say(
                "Mean over openings with 95 % intervals. Nats per token: how unlikely the text is to the unsteered "
                "model. Alpha counts beside the strength at the sink, so that alpha 0 is unsteered text only where "
                "no sink acts."
            ),
            pictures.dose_response(_placed(folder.doses.read())),
        ),
    ]  # fmt: skip


def _tried(folder: SteeringFolder, grid: pd.DataFrame, bound: float) -> list[Part]:
    steered = _placed(grid[grid["kind"] == "emotion"])
    raw = steered["units"] == "raw"
    normed = steered[~raw]
    front = pd.concat([pareto(part) for _, part in normed.groupby("emotion", sort=False)])
    pareto_figure = Figure(
        "pareto",
        say("Effect against fluency"),
        say(
            "One point per condition; the line joins those that no other beats in both. The choice had to lie "
            "left of the dotted line up to the end of its 95 % interval."
        ),
        pictures.pareto_front(normed, front, bound=bound),
    )
    # Cells of a grid that is mostly empty are too small to be read: rows of what was tried are not.
    tried = normed[["layer", "alpha"]].drop_duplicates()
    looked = normed["n"].nunique() > 1 or 2 * len(tried) < normed["layer"].nunique() * normed["alpha"].nunique()
    found: list[Part] = [_looked_for(normed), pareto_figure] if looked else _given(folder, normed, pareto_figure, bound)
    if raw.any():
        found.append(
            Figure(
                "steering-grid-raw",
                say("The same in raw units"),
                say(
                    "residual += alpha × direction as it was fitted, not normalised. Share classed as the emotion, "
                    "and perplexity ratio. Colour: regime."
                ),
                pictures.regimes(steered[raw]),
            )
        )
    return found


def _regimes(normed: pd.DataFrame) -> str:
    counts = normed["regime"].value_counts(sort=False)
    return say(
        "{total} conditions: {counts}.",
        total=len(normed),
        counts=say(", ").join(f"{n} {term(str(r))}" for r, n in counts.items()),
    )


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """With ``layer``: the place as it is shown, the strength at the attention sink beside it."""
    layers = "L" + table["layers"].astype(str).str.replace(" ", "+")
    sink = table["first"].map("{:g}".format)
    return table.assign(layer=layers.where(table["first"] == 0, layers + say(", sink ") + sink))


def _sources(folder: SteeringFolder) -> list[Part]:
    """Of chat: where directions could come from, and the replies that the model wrote when it was asked."""
    if not folder.sources.exists():
        return []
    parts: list[Part] = [
        Table(
            "sources",
            say("Directions from sentences and from the model's own replies"),
            say(
                "Each source at the condition that would be chosen of it, on validation requests. asked, came_out: replies that "
                "the model was asked for in words, and how many the judge calls so. Where no condition is within the bound, or "
                "no direction could be fitted, the figures are those of unsteered replies. The source with the largest mean "
                "probability is taken."
            ),
            folder.sources.read(),
        )
    ]
    if folder.replies.exists():
        replies = folder.replies.read()
        parts.append(
            Table(
                "replies",
                say("What the model writes when it is asked"),
                say(
                    "Replies to the requests that directions are fitted on, under contrasting instructions. called: the label "
                    "that the judge gives; those that came out as asked count. What a model declines or flattens shows here."
                ),
                replies[["label", "called", "prompt", "text"]].rename(columns={"prompt": "request"}),
                folded=True,
                choices=("label", "called"),
            )
        )
    return parts


def _comparison(table: pd.DataFrame) -> Figure:
    return Figure(
        "direction-sets",
        say("Direction sets at equal norm"),
        say(
            "Gain in the emotion's probability at the chosen place and strength on {n} openings of the choice, 95 % "
            "intervals; dotted: no effect. Pooling 'emotion' with mean_difference is the token-based direction.",
            n=int(table["n"].iloc[0]),
        ),
        pictures.comparison(table),
    )


def _found(folder: SteeringFolder, chosen: dict[str, Condition], judge: str) -> list[Part]:
    effects, arms, matrix, written = folder.effects.read(), folder.arms.read(), folder.matrix.read(), folder.test.read()
    against = folder.against.read()
    against = against.assign(evaluator=[_EVALUATORS.get(m, m) for m in against["metric"]])
    return [
        _texts(written, effects, chosen),
        _every_text(written, effects, judge),
        Figure(
            "against-random",
            say("On test openings, beside controls of the same norm and beside prompting"),
            say(
                "Difference from unsteered continuations of the same openings with the same random draws; 0 is no "
                "effect. Dashes: random directions; crosses: directions of labels shuffled within groups, both on {null} of "
                "the {n} openings; diamonds: asking for the emotion in words instead. An effect counts where its interval lies "
                "beyond 0 and hardly any dash or cross lies as far out (q at most 0.05).",
                null=int(effects["null_n"].min()),
                n=int(effects["n"].max()),
            ),
            pictures.against_controls(against),
            _against_words(effects),
        ),
        Figure(
            "matrix",
            say("Emotions by emotions"),
            say(
                "Change of the classifier's probability of each emotion (columns) under each direction (rows), on "
                "test openings. Specific steering raises the diagonal alone. 'neutral' is none of them. Pale and in "
                "brackets: the 95 % interval includes 0."
            ),
            draw.effect_matrix(
                matrix.rename(columns={"direction": "steered", "label": "measured", "change": "effect"})
            ),
        ),
        *_labelled(folder),
        *_tokens(folder),
        Table(
            "arms",
            say("Arms on test openings"),
            say(
                "share: classed as the emotion; words: with a word of its lexicon; ratio: perplexity relative to "
                "unsteered; 'prompting' asks for the emotion in words instead."
            ),
            arms[[c for c in _ARM_COLUMNS if c in arms]],
            folded=True,
        ),
        Table(
            "effects",
            say("Effects on test openings"),
            say(
                "Paired by opening. null: range over random directions, written on null_n openings; p_random: rank among them on "
                "those openings; beats: chosen minus the best random direction; the same for label-shuffled directions. p_claim: "
                "the largest p; q: corrected over all rows."
            ),
            effects.drop(columns=[c for c in ("condition", "best_random", "best_shuffled") if c in effects]),
            folded=True,
        ),
    ]


def _every_text(scored: pd.DataFrame, effects: pd.DataFrame, judge: str) -> Table:
    """Every continuation of the test openings, one a row, but for those of random directions that were not the best."""
    best = {
        str(name)
        for c in ("best_random", "best_shuffled")
        if c in effects
        for name in effects[c]
        if isinstance(name, str)
    }
    shown = scored[~scored["kind"].isin(["random", "shuffled"]) | scored["condition"].isin(best)].reset_index(drop=True)
    columns = {"arm": [_arm(row) for row in shown[["kind", "condition", "emotion"]].to_dict("records")]}
    columns |= {"opening": shown["prompt"].tolist(), "text": as_read(shown).tolist()}
    label = f"{judge}_label"
    if label in shown:
        columns["classed_as"] = shown[label].tolist()
    columns |= {name: shown[name].tolist() for name in ("vader", "perplexity") if name in shown}
    return Table(
        "every-text",
        say("Every text, to look through"),
        say(
            "All continuations of the test openings under every arm; of random and label-shuffled directions those of the best "
            "one. classed as: the label that the judge gives; perplexity: under the unsteered model, missing for random "
            "directions. Pick an arm, an opening or a label."
        ),
        pd.DataFrame(columns),
        folded=True,
        choices=tuple(name for name in ("arm", "opening", "classed_as") if name in columns),
    )


def _arm(row: dict[Any, Any]) -> str:
    """What was done, in words; controls keep their names."""
    condition, emotion = str(row["condition"]), term(str(row["emotion"]))
    if row["kind"] == "none":
        return say("unsteered")
    if row["kind"] == "emotion":
        return say("{emotion}: steered", emotion=emotion)
    if row["kind"] == "prompting":
        way = condition.rpartition(" ")[2]
        return say("{emotion}: asked for in words", emotion=emotion) + say(" ({way})", way=term(way))
    return condition


def _labelled(folder: SteeringFolder) -> list[Part]:
    """Shares corrected by a person's blind labels, where there are any."""
    if not folder.labelled.exists():
        return []
    return [
        Table(
            "labelled",
            say("Shares corrected by blind labels"),
            say(
                "raw: texts that the classifier calls so. share: corrected by prediction-powered inference, from the labels that "
                "a person who did not know the condition gave to a random sample of the same texts, with 95 % interval. weight: "
                "how much the classifier's answers count beside the labels, from 0 to 1."
            ),
            folder.labelled.read(),
        )
    ]


def _tokens(folder: SteeringFolder) -> list[Part]:
    """What the push at the first token does, and that at all others, each without the other."""
    if not folder.tokens.exists():
        return []
    table = folder.tokens.read()
    shown = table[table["metric"] != "words"].assign(
        tokens=[term(name) for name in table["tokens"][table["metric"] != "words"]]
    )
    return [
        Table(
            "steering-tokens",
            say("Which tokens make the effect"),
            say(
                "The chosen condition (both) beside its push at all tokens but the first (rest only) and its push at the first "
                "token, the attention sink (first token only). change: against no steering; ratio: perplexity relative to "
                "unsteered; missing: both minus this arm, which is what the push left out adds. 95 % intervals, paired by "
                "opening."
            ),
            shown.drop(columns=["side", "condition", "p"]),
        )
    ]


def _against_words(effects: pd.DataFrame) -> str:
    told = [
        say(
            "{emotion}: classed as it {treated} instead of {control}, best random direction {best}",
            emotion=term(str(row["emotion"])), treated=percent(row["treated"]), control=percent(row["control"]),
            best=percent(row["control"] + row["best_random_change"]) if "best_random_change" in row else "–",
        )
        for row in effects[effects["metric"] == "share"].to_dict("records")
    ]  # fmt: skip
    return say("; ").join(told) + say(".")


_SIDE_BY_SIDE = 4


def _texts(scored: pd.DataFrame, effects: pd.DataFrame, chosen: dict[str, Condition], count: int = 12) -> Texts:
    """The first openings of the test split that all these arms were written on, whatever was written; nothing is picked by hand.

    Beside every steered column stands the random direction of the same norm that moved the metric furthest.
    """
    columns, steered = {say("unsteered"): "none"}, [0]
    for emotion, condition in chosen.items():
        own = effects[(effects["emotion"] == emotion) & (effects["metric"] == "share")]
        steered.append(len(columns))
        columns[say("{emotion}: steered", emotion=term(emotion))] = condition.name
        few = f"{emotion} | prompting few_shot"
        if (scored["condition"] == few).any():
            columns[say("{emotion}: asked for in words", emotion=term(emotion))] = few
        if "best_random" in own and len(own):
            columns[say("{emotion}: best random direction", emotion=term(emotion))] = str(own["best_random"].iloc[0])
    first = scored[scored["sample"] == 0]
    arms = first[first["condition"].isin(list(columns.values()))].groupby("prompt", sort=False)["condition"].nunique()
    prompts = list(arms[arms == len(set(columns.values()))].index)[:count]
    by = first.assign(text=as_read(first)).set_index(["condition", "prompt"])["text"]
    rows = tuple((p, tuple(str(by.get((name, p), "")) for name in columns.values())) for p in prompts)
    return Texts(
        "texts",
        say("Texts side by side"),
        say(
            "The first {count} test openings that all of these were written on and their first continuation, unselected; the "
            "same random draws in every column; … where its length ended a text. Every steered column stands beside its "
            "controls: the emotion asked for in words (few-shot prompting), and the random direction of the same norm that "
            "did best.",
            count=len(prompts),
        ),
        tuple(columns),
        rows,
        # A page is not wide enough for many.
        shown_first=tuple(steered[:_SIDE_BY_SIDE]),
    )
