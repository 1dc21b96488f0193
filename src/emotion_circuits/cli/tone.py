"""``emotion-circuits tone``: a reply with the tone that is asked for, and everything that was tried to get it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion_circuits.cli.completing import MODELS, offering
from emotion_circuits.cli.shared import (
    Device,
    Dtype,
    JsonFlag,
    Pickle,
    Revision,
    long_running,
    model_of,
    note,
    prefix_of,
    print_table,
    show_json,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_style

if TYPE_CHECKING:
    from rich.table import Table

    from emotion_circuits.serve.toning import Answer

Goals = Annotated[
    str | None,
    typer.Option("--goal", help="In words: 'more joy, less sadness', '喜びを多めに', 'sadness <= 0.1'."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="VALUE=0.8: probability by the judge; share:VALUE=0.5: share of the texts of a try. Quote <= and >=. Repeat.",
    ),
]
Fluency = Annotated[float, typer.Option(help="Perplexity over that of unsteered replies, at most.")]
Similarity = Annotated[float, typer.Option(help="To the unsteered reply nearest in meaning, at least; 0: any.")]
Tries = Annotated[int, typer.Option(min=1, max=64, help="Doses or draws at most, the unsteered beginning included.")]
Number = Annotated[int, typer.Option("--n", min=1, max=64, help="Texts per try; the best one counts.")]
Length = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Length of a text.")]
_SHOWN = 160  # characters of a text in the table


def tone(
    request: Annotated[str, typer.Argument(help="What to reply to; without a chat template, what to continue.")],
    run: Annotated[Path, typer.Option(help="Folder of a finished run, whose directions and ranges are used.")],
    goal: Goals = None,
    target: Targets = None,
    fluency: Fluency = 1.5,
    similarity: Similarity = 0.5,
    tries: Tries = 6,
    n: Number = 4,
    beyond: Annotated[
        float | None,
        typer.Option(
            min=1, max=4, help="Go to this dose, and as far below 0 for 'less'; nothing beyond 0 to 1 was validated."
        ),
    ] = None,
    prompting: Annotated[
        bool, typer.Option("--prompting/--no-prompting", help="Also ask the model for the tone in words.")
    ] = False,
    tokens: Length = 60,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy: one text per dose.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of all draws; the same one gives the same answer.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="The run's model, where it lies elsewhere.", autocompletion=offering(MODELS))
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    allow_pickle: Pickle = False,
    as_json: JsonFlag = False,
) -> None:
    """Reply with the tone that is asked for: find the dose, by the run's curves and a judge that did not fit its directions.

    Ends at the goal or after --tries; the nearest text within the bounds is given, and it is said where the goal was not reached.

    Example: emotion-circuits tone "What should I cook tonight?" --run runs/demo --goal "more gratitude"
    """
    from emotion_circuits.model import Sampling, load_model, writing_model
    from emotion_circuits.model.chat import has_chat_template
    from emotion_circuits.serve.toning import Options, Toner, stepping
    from emotion_circuits.serve.vectors import of_run
    from emotion_circuits.tone.goals import goal_of, names_of

    served = of_run(run)
    assert served.about is not None  # of a finished run
    names = names_of(served.about.attribute, served.about.values)
    if not goal and not target:
        raise EmotionCircuitsError(f"say what is wanted: --goal 'more VALUE', of {', '.join(served.about.values)}")
    options = Options(
        goal_of(goal, target or (), names, fluency=fluency, similarity=similarity), tries=tries, n=n, beyond=beyond,
        prompting=prompting, sampling=Sampling(max_new_tokens=tokens, temperature=temperature), seed=seed,
    )  # fmt: skip
    with long_running():
        name, revision = model_of(run, model, revision)
        loaded = load_model(
            name, device=device, dtype=dtype, revision=revision, allow_pickle=allow_pickle, prefix=prefix_of(run)
        )
        served.vectors.check_fits(loaded)
        writer = writing_model(loaded)
        toner = Toner(writer, served, loaded)
    turns = [{"role": "user", "content": request}] if has_chat_template(writer) else request
    with progress_style("silent"):  # many short steps: the table tells what was done
        answer = toner.answer(toner.prepare(turns, options), stepping(writer))
    told = {"model": loaded.name, "request": request, "judge": toner.judge.name, **answer.to_json()}
    if as_json:
        show_json(told)
        return
    print_table(_table(answer))
    for planned in answer.request.plans:
        if planned.change is not None and not planned.enough:
            note(
                f"{planned.value}: {planned.needed:.2f} of probability is missing, and the run's curve gives "
                f"{planned.change[0]:.2f} [{planned.change[1]:.2f}, {planned.change[2]:.2f}] at dose {planned.dose:.2f}, the "
                "most within range and fluency"
            )
    if options.beyond is not None:
        which = "the text was written at such a dose" if answer.beyond else "the text was written within it"
        note(f"doses beyond the validated range, from 0 to 1, were allowed; {which}")
    if not answer.outcome.reached:
        note(f"the goal was not reached ({options.goal}); the nearest text within the bounds follows")
        if told["unsteered_similarity"] is not None and told["unsteered_similarity"] < similarity:
            note(
                f"unsteered replies to this are {told['unsteered_similarity']:.2f} similar to one another: --similarity "
                f"{similarity:g} asks for more"
            )
    sys.stdout.flush()
    typer.echo(answer.text)


def _table(answer: Answer) -> Table:
    from rich.table import Table
    from rich.text import Text

    told = answer.to_json()
    wishes = answer.request.options.goal.wishes
    table = Table(
        "try",
        "dose",
        *(w.value for w in wishes),
        "perplexity",
        "similar",
        "best text of the try",
        "so",
        show_lines=True,
    )
    for number, tried in enumerate(told["tries"]):
        best = tried["texts"][tried["best"]]
        what = "unsteered" if tried["unsteered"] else f"{tried['dose']:.2f}" + (" + words" if tried["prompted"] else "")
        near, ratio = best["similarity"], best["perplexity_ratio"]
        shown = best["text"] if len(best["text"]) <= _SHOWN else best["text"][: _SHOWN - 1] + "…"
        table.add_row(
            ("→ " if number == told["best"]["try"] else "") + str(number + 1), what,
            *(f"{best['probabilities'][w.value]:.2f}" for w in wishes),
            "" if ratio is None else f"{ratio:.2f} ×", "" if near is None else f"{near:.2f}", Text(shown), tried["why"],
        )  # fmt: skip
    return table
