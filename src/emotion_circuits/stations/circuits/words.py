"""What the claims about heads and circuits say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number, percent
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _task(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say("{model} prefers the answers of the emotion in the prompt ({task}).", model=about.model, task=about.task),
        term("logits (clean − corrupted logit difference)"),
        term("groups of pairs"),
        _answer_sets(claim),
        (
            say(
                "Of {pairs} pairs the clean prompt raises its answers in {right}; both prompts prefer their own in {both}.",
                pairs=int(beside["pairs"]), right=percent(beside["right"]), both=percent(beside["both"]),
            ),
        ),
    )  # fmt: skip


def _answer_sets(claim: Claim) -> str:
    return say("{draws} random answer sets", draws=int(claim.figures.beside["draws"]))


def _head(claim: Claim) -> Words:
    about, figures = claim.about, claim.figures
    least, share = percent(figures.beside["smallest_share"]), number(figures.beside["share"])
    if figures.estimate >= 0:
        statement = say(
            "{name} supports the answers of the emotion in the prompt by at least {least} of the gap.",
            name=about.part, least=least,
        )  # fmt: skip
    else:
        statement = say(
            "{name} opposes the answers of the emotion in the prompt by at least {least} of the gap.",
            name=about.part, least=least,
        )  # fmt: skip
    notes = (say("{share} of the gap.", share=share),)
    return Words(statement, term("logits (noising)"), term("groups of pairs"), _answer_sets(claim), notes)


def _faithfulness(claim: Claim) -> Words:
    null = say("{samples} random circuits with as many heads and MLPs", samples=int(claim.figures.beside["samples"]))
    statement = say(
        "{size} of {total} heads and MLPs of {model} keep at least {target} of the behaviour on test pairs, and more than "
        "{null} ({task}).",
        **_circuit(claim, null),
    )
    return _against(claim, statement, null)


def _heads(claim: Claim) -> Words:
    null = say(
        "{samples} circuits of the same MLPs and random heads of the same layers",
        samples=int(claim.figures.beside["samples"]),
    )
    statement = say(
        "{size} of {total} heads and MLPs of {model}, and among them its heads, keep at least {target} of the behaviour on "
        "test pairs, and more than {null} ({task}).",
        **_circuit(claim, null),
    )
    return _against(claim, statement, null)


def _none(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    null = say("{samples} random circuits with as many heads and MLPs", samples=int(beside["samples"]))
    return Words(
        say(
            "No circuit of up to {largest} of the {total} heads and MLPs of {model} keeps {target} of the behaviour on test "
            "pairs ({task}).",
            largest=int(beside["largest"]), total=int(beside["total"]), model=about.model,
            target=percent(claim.figures.zero), task=about.task,
        ),
        term("faithfulness (share of the clean-corrupted gap)"),
        term("groups of pairs"),
        notes=(
            say(
                "{sizes} sizes were tried; the most faithful one has {best} parts.",
                sizes=int(beside["sizes"]), best=int(beside["best"]),
            ),
            say(
                "Beside the strongest parts, {null} keep {mean} on average and at most {high} in 97.5 % (p = {p}).",
                null=null, mean=number(beside["random"]), high=number(beside["random_high"]), p=number(beside["random_p"]),
            ),
        ),
    )  # fmt: skip


def _complete(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "The circuit of {size} parts of {model} is complete: whatever part of it is taken out, the whole model suffers as "
            "the circuit does, to within {bound} of the gap ({task}).",
            size=int(beside["size"]), model=about.model, bound=percent(claim.figures.zero), task=about.task,
        ),
        term("mean distance of both (share of the clean-corrupted gap)"),
        term("groups of pairs"),
        notes=(say("{parts} parts were taken out.", parts=int(beside["parts"])),),
    )  # fmt: skip


def _minimal(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "The circuit of {size} parts of {model} is minimal: without any single one of them it keeps less ({task}).",
            size=int(beside["size"]), model=about.model, task=about.task,
        ),
        term("what the weakest part adds (share of the clean-corrupted gap)"),
        term("groups of pairs"),
        notes=(
            say(
                "{needed} of {size} parts surely add something by themselves.",
                needed=int(beside["needed"]), size=int(beside["size"]),
            ),
        ),
    )  # fmt: skip


def _circuit(claim: Claim, null: str) -> dict[str, object]:
    about, beside = claim.about, claim.figures.beside
    size, total = int(beside["size"]), int(beside["total"])
    target = percent(beside["target"])
    return {"size": size, "total": total, "model": about.model, "task": about.task, "null": null, "target": target}


def _against(claim: Claim, statement: str, null: str) -> Words:
    notes = (say("Mean of the random ones {mean}.", mean=number(claim.figures.beside["random"])),)
    return Words(
        statement, term("faithfulness (share of the clean-corrupted gap)"), term("groups of pairs"), null, notes
    )


def _attention(claim: Claim) -> Words:
    beside = claim.figures.beside
    what = say("exact noising effect") if claim.about.method == "exact" else say("attribution on train pairs")
    return Words(
        say("Heads whose attention to the emotion word grows more are the heads that matter more ({what}).", what=what),
        term("Spearman correlation of sizes over heads"),
        term("groups of train pairs of an emotion against neutral"),
        say("sides of pairs exchanged, and heads permuted within layers"),
        (
            say(
                "Of the {best} heads with the largest Δattention, {shared} are among the {best} with the largest effect "
                "(chance {chance:.1f}).",
                best=int(beside["best"]), shared=int(beside["shared"]), chance=beside["shared_by_chance"],
            ),
        ),
    )  # fmt: skip


def _overlap(claim: Claim) -> Words:
    beside = claim.figures.beside
    return Words(
        say(
            "The {k} strongest heads of one emotion agree more between disjoint halves of the pairs than those of two "
            "emotions do.",
            k=int(beside["heads"]),
        ),
        term("Jaccard index within emotions minus between"),
        term("groups of pairs"),
        say("emotions of the groups shuffled"),
        (
            say(
                "Within {within}, between {between}, random sets {random}.",
                within=number(beside["within"]), between=number(beside["between"]), random=number(beside["random"]),
            ),
        ),
    )  # fmt: skip


def _dissociation(claim: Claim) -> Words:
    return Words(
        say(
            "Taking out the {k} strongest heads of an emotion hurts that emotion's pairs more than the others' heads do.",
            k=int(claim.figures.beside["heads"]),
        ),
        term("share of the gap, own heads minus others' (mean ablation)"),
        term("groups of pairs"),
        say("emotions of the groups shuffled"),
    )


def _backup(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "Taking out the heads of {model}'s circuit at once does more than the sum of taking out each ({task}): they "
            "stand in for one another.",
            model=about.model, task=about.task,
        ),
        term("logits (joint effect minus sum of single effects, mean ablation)"),
        term("groups of pairs"),
        notes=(
            say(
                "{heads} heads: jointly {joint}, summed {summed} logits.",
                heads=int(beside["heads"]), joint=number(beside["joint"]), summed=number(beside["summed"]),
            ),
        ),
    )  # fmt: skip


def _patched(claim: Claim) -> Words:
    beside = claim.figures.beside
    return Words(
        say(
            "Heads of {emotion}, held at what they were in prompts of {emotion}, make neutral openings go on with more "
            "{emotion} than the same heads from neutral prompts and than random heads of the same layers.",
            emotion=term(str(claim.about.value)),
        ),
        term("figure of the texts' own judge, difference"),
        term("prompts"),
        say("{draws} sets of random heads", draws=int(beside["draws"])),
        (
            say(
                "Mean figure: plain {plain}, patched {patched}, neutral source {neutral}; random heads {random}, their best "
                "{best} (p = {p}).",
                plain=number(beside["plain"]), patched=number(beside["circuit"]), random=number(beside["random"]),
                neutral=number(beside["neutral source"]), best=number(beside["random_best"]), p=number(beside["random_p"]),
            ),
        ),
    )  # fmt: skip


def _agrees(claim: Claim) -> Words:
    return Words(
        say(
            "Minimal pairs of {emotion} and the projection on its direction order heads and MLPs alike.",
            emotion=term(str(claim.about.value)),
        ),
        term("rank correlation over parts"),
        term("heads and MLPs"),
        term("parts permuted within layers"),
    )


def _carries(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "{name} carries {emotion} to the direction of layer {layer}: without it, sentences of {emotion} fall back further "
            "than the neutral sentences of the same groups.",
            name=about.part, emotion=term(str(about.value)), layer=about.layer,
        )
        if claim.figures.estimate >= 0
        else say(
            "{name} holds {emotion} back from the direction of layer {layer}: without it, sentences of {emotion} move further "
            "along it than the neutral sentences of the same groups.",
            name=about.part, emotion=term(str(about.value)), layer=about.layer,
        ),
        term("difference of the projection, residual norms"),
        term("groups of sentences"),
        term("directions of shuffled labels"),
        (
            say(
                "{log_odds} in the log-odds of the emotion. Beside {draws} directions of shuffled labels, each with the part it "
                "chooses: p = {selected}; paired test: p = {paired}.",
                log_odds=number(beside["log_odds"]), draws=int(beside["draws"]), selected=number(beside["p_selected"]),
                paired=number(beside["p_paired"]),
            ),
        ),
    )  # fmt: skip


KINDS = (
    Kind("circuits.task", _task),
    Kind("circuits.head", _head),
    Kind("circuits.faithfulness", _faithfulness),
    Kind("circuits.heads", _heads),
    Kind("circuits.none", _none),
    Kind("circuits.complete", _complete),
    Kind("circuits.minimal", _minimal),
    Kind("circuits.backup", _backup),
    Kind("circuits.attention", _attention),
    Kind("circuits.overlap", _overlap),
    Kind("circuits.dissociation", _dissociation),
    Kind("circuits.patched", _patched),
    Kind("circuits.carrier", _carries),
    Kind("circuits.agreement", _agrees),
)

ASPECTS = (
    Aspect(
        "travels",
        "attending tells which heads matter",
        ("circuits.attention",),
        "circuits",
        some="Heads that look at the emotion word more also matter more for the answers (rank correlation "
        "{figure}, {beside}).",
        none="That a head looks at the emotion word does not tell whether it matters for the answers (rank "
        "correlation {figure}, {beside}).",
    ),
    Aspect(
        "travels",
        "a head or MLP carries it to the direction",
        ("circuits.carrier",),
        "circuits",
        names="part",
        plainly="Some heads or MLPs carry it to its direction ({names}).",
        otherwise="No head or MLP is shown to carry it to its direction.",
    ),
    Aspect("travels", "minimal pairs and projections name the same parts", ("circuits.agreement",), "circuits"),
    Aspect(
        "travels",
        "a head of the circuit matters by itself",
        ("circuits.head",),
        "circuits",
        names="part",
    ),
    Aspect(
        "travels",
        "each emotion has heads of its own",
        ("circuits.overlap", "circuits.dissociation"),
        "circuits",
    ),
    Aspect("travels", "heads stand in for one another", ("circuits.backup",), "circuits"),
    Aspect(
        "shows",
        "answers follow the prompt's emotion",
        ("circuits.task",),
        "circuits",
        some="After an emotional prompt the model prefers the answers of that emotion ({figure} logits, {beside}).",
        none="That the model prefers the answers of the prompt's emotion is not shown ({figure} logits, {beside}).",
    ),
    Aspect(
        "steered",
        "a set of heads and MLPs carries the answers",
        ("circuits.faithfulness",),
        "circuits",
        some="With everything else swapped for another prompt's activations, the circuit found keeps {figure} of "
        "the difference between answers ({beside}).",
        none="No circuit is shown to keep the difference between answers better than random ones ({figure}, {beside}).",
    ),
    Aspect("steered", "no small set of heads and MLPs carries the answers", ("circuits.none",), "circuits"),
    Aspect(
        "travels",
        "the circuit lacks nothing and needs all of its parts",
        ("circuits.complete", "circuits.minimal"),
        "circuits",
    ),
    Aspect("steered", "… and its heads do, its MLPs given", ("circuits.heads",), "circuits"),
    Aspect("steered", "heads held at emotional prompts change the text", ("circuits.patched",), "circuits"),
)
