"""``emotion-circuits evaluate``: which evaluators there are, how good they are, what they say of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion_circuits.cli.shared import (
    AttributeName,
    Columns,
    JsonFlag,
    attribute_for,
    json_ready,
    long_running,
    mapped,
    model_of,
    note,
    prefix_of,
    print_table,
    show_json,
)
from emotion_circuits.cli.tone import Fluency, Goals, Length, Number, Similarity, Targets, Tries

app = typer.Typer(help="Evaluators: what there is, and how good each one is on labelled held-out text.")

_OFFLINE = ("emotion", "vader", "keywords", "politeness")


@app.command("list")
def list_evaluators(as_json: JsonFlag = False) -> None:
    """List every evaluator by name.

    Example: emotion-circuits evaluate list
    """
    from emotion_circuits.evaluation import describe_evaluators

    known = describe_evaluators()
    if as_json:
        show_json(known)
        return
    for name, line in known.items():
        typer.echo(f"{name:18} {line}")


@app.command()
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Evaluators, NAME=FOLDER for a hub evaluator's local copy, or people=STUDY for the raters of a study, who "
            "judge what they read. Default: the offline ones, or with --attribute its judges."
        ),
    ] = None,
    attribute: AttributeName = None,
    data: Annotated[Path | None, typer.Option(help="Own labelled file instead of the attribute's sets.")] = None,
    columns: Columns = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="TEXT_LABEL=EVALUATOR_LABEL for --data; repeatable.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Accuracy, confusion and calibration of evaluators on labelled held-out text.

    Example: emotion-circuits evaluate validate emotion vader
    """
    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.evaluation import Evaluator, Validation, evaluator, judge_of, validate, validate_on_bundled
    from emotion_circuits.human.people import People
    from emotion_circuits.prompts import load_prompts

    mapping = None
    if labels:
        if any("=" not in pair for pair in labels):
            raise EmotionCircuitsError("--label: write it as TEXT_LABEL=EVALUATOR_LABEL")
        mapping = dict(pair.split("=", 1) for pair in labels)
    about = attribute_for(attribute)
    wanted = names or (_OFFLINE if attribute is None else about.judges)
    found: list[Validation] = []
    with long_running():
        for name in wanted:
            key, _, source = name.partition("=")
            if key == "people" and source:
                judge: Evaluator = People.of(Path(source))
            else:
                judge = evaluator(key, source=source) if source else judge_of(about, key)
            if data is not None:
                rows = load_prompts(mapped([data], columns), split=split)
                found.append(validate(judge, rows, labels=mapping, data=str(data), split=split))
            else:
                found += validate_on_bundled(judge, about, split=split)
    if as_json:
        show_json({"validations": [v.model_dump(mode="json") for v in found]})
        return
    for v in found:
        calibration = "" if v.calibration_error is None else f", calibration error {v.calibration_error:.3f}"
        typer.echo(
            f"{v.evaluator} on {v.data} ({v.split}, n = {v.n}): accuracy {v.accuracy:.3f} "
            f"[{v.interval[0]:.3f}, {v.interval[1]:.3f}], always the most frequent label {v.majority:.3f}{calibration}"
        )
        judged = sorted({b for row in v.confusion.values() for b in row})
        typer.echo("    true \\ judged  " + "".join(f"{b[:12]:>13}" for b in judged))
        for label, row in v.confusion.items():
            typer.echo(f"    {label[:14]:14}  " + "".join(f"{row.get(b, 0):>13}" for b in judged))
        if v.excluded:
            typer.echo(f"    not on its axis: {', '.join(v.excluded)}")


@app.command()
def blind(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    labels: Annotated[Path | None, typer.Argument(help="The sample with its labels filled in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a sample to label here (JSON lines).")] = None,
    openings: Annotated[int, typer.Option(help="Openings per arm in the sample.", min=8)] = 20,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Draw a run's texts for blind labelling; read the labels back and correct the judge's shares.

    Conditions are hidden, texts shuffled and named by opaque ids; the key stays in the run's folder.

    Example: emotion-circuits evaluate blind runs/demo --out sample.jsonl
    """
    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.page.numerals import interval, number
    from emotion_circuits.stations.steering.blind import draw_blind, take_labels

    if (labels is None) == (out is None):
        raise EmotionCircuitsError(
            "evaluate blind: give --out FILE to draw a sample, or the labelled file to read it back"
        )
    if out is not None:
        count, may = draw_blind(run, out, openings=openings, seed=seed)
        if as_json:
            show_json({"out": str(out), "texts": count, "labels": list(may)})
        else:
            typer.echo(f"{count} texts in {out}; write one of {', '.join(may)} as each line's label, then run")
            typer.echo(f"  emotion-circuits evaluate blind {run} {out}")
        return
    assert labels is not None
    table = take_labels(run, labels)
    if as_json:
        show_json({"shares": table.to_dict("records")})
        return
    for row in table.to_dict("records"):
        typer.echo(
            f"{row['condition']}: {row['emotion']} {number(row['share'])} {interval(row['low'], row['high'])}, by the judge "
            f"alone {number(row['raw'])} ({row['labelled']} of {row['n']} openings labelled)"
        )
    typer.echo(f"on the page: emotion-circuits report {run}")


@app.command()
def tone(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    goal: Goals = None,
    target: Targets = None,
    fluency: Fluency = 1.5,
    similarity: Similarity = 0.5,
    tries: Tries = 4,
    n: Number = 4,
    tokens: Length = 40,
    requests: Annotated[
        str,
        typer.Option(help="Bundled set or own table of requests on which nothing was chosen; its test split is used."),
    ] = "tone_requests",
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help="Judge that the agent does not ask: a name of 'evaluate list', or states:MODEL, fitted on the attribute's "
            "texts; repeat. Default: the attribute's others that know the values.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write every text and trace here (JSON).")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy: one text per dose.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """How often 'emotion-circuits tone' keeps its word on requests, against a fixed dose, words and best of n.

    Each way writes at most as many texts, and each is judged by the agent's judge and by others that it did not ask.

    Example: emotion-circuits evaluate tone runs/demo --goal "more gratitude"
    """
    import json

    from rich.table import Table

    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.model import Sampling, load_model, writing_model
    from emotion_circuits.paths import replacing
    from emotion_circuits.prompts import load_prompts
    from emotion_circuits.serve.tone_evaluating import evaluate_tone
    from emotion_circuits.serve.toning import Options, Toner, stepping
    from emotion_circuits.serve.vectors import of_run
    from emotion_circuits.tone.goals import goal_of, names_of
    from emotion_circuits.tone.reading import another_judge

    served = of_run(run)
    assert served.about is not None  # of a finished run
    about = served.about
    rows = load_prompts(requests, split="test")
    if not goal and not target:
        raise EmotionCircuitsError(f"say what is wanted: --goal 'more VALUE', of {', '.join(about.values)}")
    asked = goal_of(goal, target or (), names_of(about.attribute, about.values), fluency=fluency, similarity=similarity)
    how = Sampling(max_new_tokens=tokens, temperature=temperature)
    with long_running():
        name, revision = model_of(run, None, None)
        loaded = load_model(name, revision=revision, prefix=prefix_of(run))
        served.vectors.check_fits(loaded)
        writer = writing_model(loaded)
        known = [j for j in about.attribute.judges[1:] if j not in about.attribute.metrics]
        others = [another_judge(about.attribute, j) for j in judges or known]
        found = evaluate_tone(
            Toner(writer, served, loaded), [row.text for row in rows],
            Options(asked, tries=tries, n=n, sampling=how, seed=seed), others, stepping(writer),
        )  # fmt: skip
    if out is not None:
        traces = {arm: [a.to_json() for a in answers] for arm, answers in found.answers.items()}
        with replacing(out) as temporary:
            whole = json_ready({"requests": [row.text for row in rows], **found.to_json(), "answers": traces})
            temporary.write_text(json.dumps(whole, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    if as_json:
        show_json({"run": str(run), "model": loaded.name, "requests": requests, **found.to_json()})
        return
    table = Table(
        "way", "judge", "reached", "95 % interval", "agent minus it", "95 % interval", "perplexity", "similar", "texts"
    )
    against = {(c.arm, c.judge): c for c in found.compared}
    for arm in found.arms:
        other = against.get((arm.arm, arm.judge))
        table.add_row(
            arm.arm, arm.judge + (" (asked)" if arm.asked else ""), f"{arm.share:.2f}", f"{arm.low:.2f} to {arm.high:.2f}",
            "" if other is None else f"{other.difference:+.2f}",
            "" if other is None else f"{other.low:+.2f} to {other.high:+.2f}",
            f"{arm.ratio:.2f}", "" if arm.similarity is None else f"{arm.similarity:.2f}", f"{arm.texts:.1f}",
        )  # fmt: skip
    print_table(table)
    note(f"{found.goal}; n = {len(rows)} requests of {requests}")
