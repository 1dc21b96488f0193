"""The report's section on heads and circuits: grids, attention beside effect, faithfulness, the circuit's drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.circuits import Circuit
from emotion_circuits.circuits.drawing import circuit_figure, curve_figure
from emotion_circuits.directions.trace_pictures import component_bars
from emotion_circuits.heads.nodes import shown_node
from emotion_circuits.language import N_, gap, say, term
from emotion_circuits.page.numerals import estimate, fixed, interval, percent, signed
from emotion_circuits.page.page import Figure, Part, Section, Table, Texts
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.circuits.figures import (
    agreement_by_value,
    attention_against_effect,
    dissociation_matrix,
    head_grids,
    moves,
)
from emotion_circuits.stations.circuits.folder import CircuitsFolder

__all__ = ["moves", "sections"]


def sections(folder: CircuitsFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """Heads and circuits on minimal pairs, and what parts carry to the directions; either may be missing."""
    title = say("Which heads and circuits carry it?")
    carried = _carried(folder) if folder.carriers.exists() else []
    if not folder.heads.exists():
        return (Section("circuits", title, (say(_CARRIED),), tuple(claims), tuple(carried)),)
    circuit, table = folder.circuit(), folder.heads.read()
    heads = table[table["kind"] == "head"].reset_index(drop=True)
    measured = heads[heads["effect"].notna()]
    sure = int(moves(measured).sum())
    parts: list[Part] = [
        Figure(
            "head-grids",
            say("What every head does"),
            say(
                "One cell per head, layer on y, head on x; colours centred at 0, one scale for both panels. Red "
                "supports the answers of the emotion in the prompt, blue opposes them; 1 would be the whole gap. "
                "Left: an estimate for all heads, for which no significance was computed. Right: heads that were "
                "measured; pale and hatched where the 95 % interval does not lie beyond 0 and beyond random answers "
                "with q ≤ 0.05; empty where not measured."
            ),
            head_grids(heads, _train_gap(circuit, table)),
            say("{sure} of {measured} measured heads are beyond the null.", sure=sure, measured=len(measured)),
            sheet="L{y}H{x}",
        ),
        _attention(heads, claims, len(measured) == len(heads)),
        Figure(
            "faithfulness",
            say("How much a circuit carries, by its size"),
            say(
                "Share of the clean-corrupted gap that is left when everything outside the circuit has the other "
                "prompt's output. Grey: random circuits with as many heads and as many MLPs, the middle 95 % of them "
                "as a band. CPR (area under the curve) {cpr:.2f}, random {cpr_random:.2f}; CMD (area between the "
                "curve and 1; smaller is better) {cmd:.2f}, random {cmd_random:.2f}.",
                cpr=circuit.cpr.circuit, cpr_random=circuit.cpr.random, cmd=circuit.cmd.circuit,
                cmd_random=circuit.cmd.random,
            ),
            curve_figure(circuit),
            _kept(circuit),
        ),
        Figure(
            "circuit",
            say("The circuit") if circuit.reached else say("The strongest parts"),
            say(
                "{count} heads and MLPs, one row per layer, one column per head, MLPs at the left. Lines: at most 24 "
                "of the strongest estimated links, none weaker than 4 % of the strongest; wider is stronger, red "
                "supports the answers, blue opposes them. Links are estimates and were not tested one by one. "
                "Jaccard index of the members over resampled train pairs {jaccard:.2f} {ends}, chance {chance:.2f}.",
                count=len(circuit.nodes), jaccard=circuit.stability.jaccard,
                ends=interval(circuit.stability.low, circuit.stability.high), chance=circuit.stability.chance,
            ),
            circuit_figure(circuit),
            _strongest(circuit),
            sheet="{customdata}",
        ),
        Table(
            "circuit-members",
            say("The members"),
            say(
                "score: estimated share of the gap (train). exact: noised alone, share of the gap (test) with 95 % "
                "interval; empty where it was not measured. role 'none': not estimated in this run, or no figure "
                "counts."
            ),
            pd.DataFrame([n.model_dump() for n in circuit.nodes]),
            folded=True,
        ),
        *_more(folder, circuit),
        *carried,
    ]  # fmt: skip
    prose = (*_prose(circuit, heads, measured, sure), *((say(_CARRIED),) if carried else ()))
    return (Section("circuits", title, prose, tuple(claims), tuple(parts)),)


_CARRIED = N_(
    "What a part carries to the directions: every head and MLP is held, one at a time, at its mean over neutral sentences, "
    "everything behind it is run again, and the projection at the last token falls by what it carried. That needs no pairs "
    "and no answer words. Parts named in claims were chosen on validation sentences, and directions of shuffled labels choose "
    "theirs likewise: p is the share of those whose choice stands out as far on test."
)


def _carried(folder: CircuitsFolder) -> list[Part]:
    table = folder.carriers.read()
    tested = table[table["split"] == "test"].reset_index(drop=True)
    # An MLP has the name here that it has where writers and readers are shown.
    tested = tested.assign(component=[_named(n) for n in tested["component"]])
    found: list[Part] = []
    for emotion, own in tested.groupby("emotion", sort=False):
        own = own.sort_values("difference", key=np.abs, ascending=False, kind="stable").head(15)
        top = own.iloc[0]
        found.append(
            Figure(
                f"carriers-{emotion}",
                say("What carries {emotion} to its direction", emotion=term(str(emotion))),
                say(
                    "How much further the projection of test sentences falls than that of the neutral sentence of the same "
                    "group when a part is taken away, with 95 % interval. Grey: 95 % of directions fitted on shuffled labels, "
                    "at this part."
                ),
                component_bars(own, count=15),
                say(
                    "The largest is {name}: {figure}.",
                    name=top["component"], figure=estimate(float(top["difference"]), (float(top["low"]), float(top["high"]))),
                ),
                sheet="{y}",
            )
        )  # fmt: skip
    if folder.agreement.exists():
        agreed = folder.agreement.read()
        title = say("Do minimal pairs and projections name the same parts?")
        found += [
            Figure(
                "carrier-agreement-figure",
                title,
                say(
                    "Rank correlation of the signed effects of heads and MLPs: attribution on train pairs against what they "
                    "carry on validation sentences, with 95 % interval over parts. Grey: 95 % of parts permuted within layers, "
                    "which is what depth alone gives."
                ),
                agreement_by_value(agreed),
            ),
            Table("carrier-agreement", title, say("p: permutations that agree at least as well."), agreed, folded=True),
        ]
    shown = ["emotion", "component", "difference", "low", "high", "log_odds", "null_low", "null_high", "p", "q", "n"]
    found.append(
        Table(
            "carriers",
            say("What parts carry, test sentences"),
            say("In residual norms; log_odds in nats. q: one family, all parts."),
            tested[shown],
            folded=True,
        )
    )
    return found


def _named(node: str) -> str:
    """A node in words."""
    ends = {"embed": say("embedding"), "logits": say("answers' logits")}
    return ends.get(node, shown_node(node))


def _prose(circuit: Circuit, heads: pd.DataFrame, measured: pd.DataFrame, sure: int) -> tuple[str, ...]:
    pairs = circuit.pairs
    counted = say(
        "{measured} of {total} heads were measured exactly; {sure} of them move the answers beyond the null of random answers "
        "(q ≤ 0.05).",
        measured=len(measured), total=len(heads), sure=sure,
    )  # fmt: skip
    if len(measured):
        largest = measured.iloc[int(measured["share"].abs().to_numpy().argmax())]
        counted += gap() + say(
            "The largest is {node} with {share} of the gap.",
            node=largest["node"],
            share=percent(float(largest["share"])),
        )
    counted += gap() + say(
        "Attribution on train pairs and exact effects on test pairs agree to a rank correlation of {rank:.2f} over "
        "{nodes:.0f} nodes.",
        rank=circuit.agreement.spearman, nodes=circuit.agreement.nodes,
    )  # fmt: skip
    prose = [
        say(
            "Minimal pairs of prompts differ in one place. The gap is how much better the model likes the answer "
            "that fits; the effect of a head is how much of the gap goes when that head alone is given the other "
            "prompt's output (noising, before the output projection). Parts were scored on {train} train pairs, the "
            "circuit's size was chosen on {validation} validation pairs, and what stands here is from {test} test "
            "pairs in {groups} groups. Pairs stand both ways round, so noising and denoising are the same figure on "
            "average.",
            train=pairs.train, validation=pairs.validation, test=pairs.test, groups=circuit.groups,
        ),
        counted,
    ]  # fmt: skip
    if not circuit.reached:
        prose.append(
            say(
                "No set of up to {largest} heads and MLPs kept {target} of the gap on validation pairs, so no circuit is "
                "claimed. What is drawn are the strongest parts at the size that kept most.",
                largest=circuit.largest,
                target=percent(circuit.target),
            )
        )
    return tuple(prose)


def _kept(circuit: Circuit) -> str:
    against = circuit.against_random
    if not circuit.reached:
        return say(
            "No circuit of up to {largest} parts: at {size} parts {kept} of the gap are kept, by random ones {low} to {high}.",
            largest=circuit.largest, size=len(circuit.nodes),
            kept=estimate(against.faithfulness, (against.low, against.high)),
            low=fixed(against.random.low, 2), high=fixed(against.random.high, 2),
        )  # fmt: skip
    return say(
        "The chosen circuit ({size} parts) keeps {kept} of the gap, random ones {low} to {high}.",
        size=len(circuit.nodes), kept=estimate(against.faithfulness, (against.low, against.high)),
        low=fixed(against.random.low, 2), high=fixed(against.random.high, 2),
    )  # fmt: skip


def _strongest(circuit: Circuit) -> str:
    if not circuit.edges:
        return ""
    edge = max(circuit.edges, key=lambda e: abs(e.score))
    return say(
        "The strongest link leads from {writer} to {reader} ({score} of the gap).",
        writer=_named(edge.writer), reader=_named(edge.reader), score=signed(edge.score),
    )  # fmt: skip


def _train_gap(circuit: Circuit, table: pd.DataFrame) -> float:
    """Attribution in logits over its share of the gap, from the strongest member."""
    member = circuit.nodes[0]
    logits = float(table.set_index("node")["attribution"][member.node])
    return logits / member.score if member.score else 1.0


def _attention(heads: pd.DataFrame, claims: Sequence[Told], every: bool) -> Figure:
    shown = heads.assign(effect_shown=heads["effect"] if every else heads["attribution"])
    name = say("effect of noising (logits, test)") if every else say("attribution (logits, train)")
    words = ""
    for figures in (told.claim.figures for told in claims if told.claim.kind == "circuits.attention"):
        assert figures.interval is not None
        assert figures.null is not None
        words = say(
            "Rank correlation of the sizes {figure} {ends}; by the harder null {null}.",
            figure=signed(figures.estimate), ends=interval(*figures.interval), null=interval(*figures.null),
        )  # fmt: skip
    return Figure(
        "attention-effect",
        say("Attending is not causing"),
        say(
            "One point per head. If attention to the emotion word told what a head does, the points would lie on a line."
        ),
        attention_against_effect(shown, name=name),
        words,
        sheet="{customdata}",
    )


def _more(folder: CircuitsFolder, circuit: Circuit) -> list[Part]:
    found: list[Part] = []
    if circuit.evidence:
        found.append(
            Table(
                "roles",
                say("Roles and what they stand on"),
                say(
                    "Shares of the gap on test pairs; the rules are in docs/circuits.md. 'none': no figure reaches 0.1 with "
                    "q of at most 0.05."
                ),
                pd.DataFrame([e.model_dump() for e in circuit.evidence]),
                folded=True,
            )
        )
    if folder.dissociation.exists():
        found.append(
            Figure(
                "dissociation",
                say("Emotions by emotions: heads taken out"),
                say(
                    "Share of the gap that goes when the strongest heads of one emotion (rows) are mean-ablated on "
                    "the pairs of another (columns), test pairs. If emotions had heads of their own, the diagonal "
                    "would stand out. Below: random sets of as many heads. Pale and in brackets: the 95 % interval "
                    "includes 0."
                ),
                dissociation_matrix(folder.dissociation.read()),
            )
        )
        found.append(
            Table(
                "head-overlap",
                say("Do the strongest heads of emotions differ?"),
                say(
                    "Mean Jaccard index of the strongest heads from disjoint halves of the train groups; chance: random sets."
                ),
                folder.overlap.read(),
            )
        )
    if folder.weights.exists():
        found.append(
            Table(
                "head-weights",
                say("Weights of the strongest heads against other heads of their layers"),
                say(
                    "reads_v, reads_q, reads_k: length of the emotion's direction through value, query and key maps; "
                    "output: through the output map; 1 is a random direction. p: random choices of as many heads per "
                    "layer with as high a mean, uncorrected."
                ),
                folder.weights.read(),
                folded=True,
            )
        )
    if folder.patched.exists():
        found.append(_patched(folder.patched.read()))
    return found


def _patched(table: pd.DataFrame) -> Texts:
    """Every opening with its plain and patched continuations, unselected."""
    circuit = table[table["arm"] == "circuit"]
    emotions = list(dict.fromkeys(circuit["emotion"]))
    plain = table[table["arm"] == "plain"].set_index("prompt")["text"]
    by = circuit.set_index(["emotion", "prompt"])["text"]
    rows = tuple((p, (str(plain[p]), *(str(by[e, p]) for e in emotions))) for p in plain.index)
    return Texts(
        "patched-texts",
        say("Written with patched heads"),
        say(
            "Neutral openings; the heads of an emotion are held at what they were at the end of an emotional prompt. "
            "The same random draws in every column, nothing selected."
        ),
        (say("plain"), *(term(e) for e in emotions)),
        rows,
    )
