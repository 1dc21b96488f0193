"""``emotion-circuits human``: people judge what a run wrote, by a study that is frozen before anybody reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, Language, long_running, note, print_table, show_json
from emotion_circuits.errors import EmotionCircuitsError

app = typer.Typer(
    help="Human evaluation: freeze a study of a run's texts, have it rated, analyse it as declared.",
    no_args_is_help=True,
)

StudyFolder = Annotated[Path, typer.Argument(help="Folder of a study, of 'human design'.")]


@app.command()
def design(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    raters: Annotated[
        int | None, typer.Option(min=2, max=2000, help="How many; by default the fewest whose power is 0.8.")
    ] = None,
    openings: Annotated[
        int | None, typer.Option(min=8, help="How many; by default all that every arm was written on.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--value", help="A value to study; repeat. By default all with steered texts.")
    ] = None,
    singles: Annotated[int, typer.Option(min=4, help="Single texts per rater, at most one per opening.")] = 30,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs per rater, at most one per opening.")] = 18,
    gold: Annotated[
        int, typer.Option(min=0, help="Unmistakable texts per rater, from the attribute's labelled corpora.")
    ] = 3,
    attention: Annotated[int, typer.Option(min=0, help="Checks per rater that name the answer they want.")] = 2,
    repeats: Annotated[int, typer.Option(min=0, help="Texts per rater that come twice.")] = 3,
    effect: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.89,
            help="Share of raters naming the value, above the controls, not to be missed. Default: the "
            "smallest of 0.2, 0.25, 0.3, 0.4 and 0.5 that so many openings can show.",
        ),
    ] = None,
    base: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="That share in unsteered texts, as it is assumed.")
    ] = 0.1,
    preference: Annotated[
        float, typer.Option(min=0.5, max=0.99, help="How often the steered text of a pair is taken, not to be missed.")
    ] = 0.65,
    tuned: Annotated[
        Path | None, typer.Option(help="Folder of 'tune' for this run: its texts are a further arm, 'tuned'.")
    ] = None,
    method: Annotated[str, typer.Option(help="Which of its methods writes that arm.")] = "sft",
    studies: Annotated[int, typer.Option(min=2, help="Studies simulated per plan, for power.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Freeze a study: texts, raters' forms, hypotheses, tests, exclusion rules and power; the key goes into a file apart.

    Arms: unsteered, steered, a random direction of the same size, prompted, and with --tuned what tuned weights write. An arm
    that the run did not write is said to be missing. Raters see texts under names that tell nothing, in a balanced order, on
    balanced sides.

    Example: emotion-circuits human design runs/demo --out study
    """
    from emotion_circuits.human.choosing import Tuned
    from emotion_circuits.human.designing import Wanted, design_study
    from emotion_circuits.human.records import Assumed

    smallest, *larger = (effect,) if effect is not None else (0.2, 0.25, 0.3, 0.4, 0.5)
    wanted = Wanted(
        raters=raters, openings=openings, values=None if not values else tuple(values), singles=singles, pairs=pairs,
        gold=gold, attention=attention, repeats=repeats, seed=seed, studies=studies,
        tuned=None if tuned is None else Tuned(tuned, method),
        assumed=Assumed(base=base, effect=smallest, prompted=smallest, preference=preference), larger=tuple(larger),
    )  # fmt: skip
    with long_running():
        note("power: simulating whole studies")
        found = design_study(run, out, wanted).design
    if as_json:
        kept = {"name", "values", "arms", "missing", "openings", "hypotheses", "rules", "assumed", "power"}
        show_json({"out": str(out), "raters": list(found.forms), **found.model_dump(mode="json", include=kept)})
        return
    planned = found.assumed.effect
    if planned != smallest:
        note(
            f"an effect of {smallest:g} is out of reach of these openings; the study is planned for one of {planned:g}"
        )
    power = Table(*_PLANNED, title=f"Power for an effect of {planned:g}, {studies} simulated studies each")
    for plan in found.power:
        power.add_row(
            str(plan.raters), str(plan.openings), *(_share(plan.power.get(f"human.{k}")) for k in _PLANNED[2:])
        )
    print_table(power)
    each = next(iter(found.forms.values()))
    typer.echo(
        f"{out}: {len(found.forms)} raters, {len(each.singles)} texts and {len(each.pairs)} pairs each, "
        f"{found.openings} openings, arms {', '.join(found.arms)}"
    )
    for arm, why in found.missing.items():
        typer.echo(f"no arm {arm}: {why}")
    typer.echo(f"{len(found.hypotheses)} hypotheses; keep {out / 'key.json'} from whoever rates or runs the study")


_PLANNED = ("raters", "openings", "transmitted", "intense", "stronger")


def _share(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}"


@app.command()
def analyse(
    study: StudyFolder,
    lang: Language = "en",
    as_json: JsonFlag = False,
) -> None:
    """Analyse the ratings as the study declared: exclusions, agreement, claims with verdicts, preferences, judges beside people.

    Raters' files are taken from the folder 'ratings' of the study, the server's answers from 'ratings.sqlite'. Claims are given
    with and without the raters whom the rules leave out. Writes analysis.json and analysis.html.

    Example: emotion-circuits human analyse study
    """
    from emotion_circuits.human.analysing import analyse as analysed
    from emotion_circuits.human.page import write_human_page
    from emotion_circuits.human.records import open_study
    from emotion_circuits.human.words import KINDS
    from emotion_circuits.page.telling import claim_json, figure_words, tell

    found, opened = analysed(study), open_study(study)
    page = write_human_page(study, opened, found, language=lang)
    told = tell(found.claims, KINDS)
    if as_json:
        show_json({**found.model_dump(mode="json"), "claims": [claim_json(one) for one in told], "page": str(page)})
        return
    everybody = {c.id: c for c in found.claims_of_all}
    claims = Table("claim", "figure", "verdict", "with everybody")
    for one in told:
        claims.add_row(one.statement, figure_words(one), one.claim.verdict, everybody[one.claim.id].verdict)
    print_table(claims)
    for row in found.agreement:
        typer.echo(
            f"agreement on {row.scale}: alpha {_alpha(row.alpha)} {_range(row.by_text)} by text, {_range(row.by_rater)} by rater"
        )
    for judge in found.judges:
        typer.echo(
            f"judge {judge.judge} on {judge.value}: ICC {_alpha(judge.icc)} {_range(judge.interval)}, {judge.texts} texts"
        )
    for out in found.excluded:
        typer.echo(f"left out: {out.rater} ({', '.join(out.reasons)})")
    typer.echo(f"{len(found.raters) - len(found.excluded)} of {len(found.raters)} raters count. Page: {page.resolve()}")
    typer.echo(f"In the run's report: emotion-circuits report {opened.key.run} --human {study}")


def _alpha(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _range(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"


@app.command()
def sheet(
    study: StudyFolder,
    rater: Annotated[str | None, typer.Option(help="Only this rater's page; by default everybody's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one offline HTML page per rater, which keeps what is answered, saves it as a file and goes on from it.

    Send each rater their file from the study's folder 'sheets'; put what they send back into its folder 'ratings'. Pages fetch
    nothing and can send nothing.

    Example: emotion-circuits human sheet study
    """
    from emotion_circuits.human.sheet import write_sheets

    made = write_sheets(study, rater=rater)
    if as_json:
        show_json({"sheets": [str(path) for path in made]})
        return
    typer.echo(f"{len(made)} pages in {made[0].parent}; put raters' files into {study / 'ratings'}")


@app.command()
def serve(
    study: StudyFolder,
    host: Annotated[
        str, typer.Option(help="Address to listen at; raters' links are secret, but the connection is not.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at; 0: a free one.")] = 8010,
    as_json: JsonFlag = False,
) -> None:
    """Serve raters' pages, one secret link each; answers are kept in the study's 'ratings.sqlite' as they come.

    Stopped and started again it goes on where it was. Links stay the same; they are in 'links.json'.

    Example: emotion-circuits human serve study
    """
    try:
        from emotion_circuits.human.serving import links_of, make_app
        from emotion_circuits.serve.guarding import is_loopback, server_of
    except ImportError as error:
        raise EmotionCircuitsError(
            f"serving needs the extra 'serve' ({error}): pip install 'emotion-circuits[serve]'"
        ) from error
    from emotion_circuits.human.records import read_design
    from emotion_circuits.human.storing import Store

    found = read_design(study)
    links = links_of(study, found)
    with Store(study, found) as store:
        made = server_of(make_app(found, store, links, loopback=is_loopback(host)), host=host, port=port)
        try:
            sock = made.config.bind_socket()
        except SystemExit as error:
            raise EmotionCircuitsError(
                f"--port {port}: cannot listen at {host}:{port}; is something else there?"
            ) from error
        with sock:
            root = f"http://{host}:{sock.getsockname()[1]}"
            urls = {rater: f"{root}/r/{link}" for rater, link in links.items()}
            if as_json:
                show_json({"url": root, "links": urls})
            else:
                for rater, url in urls.items():
                    typer.echo(f"{rater}  {url}")
            sys.stdout.flush()
            note(f"serving {len(urls)} raters at {root}; then: emotion-circuits human analyse {study}")
            made.run(sockets=[sock])


@app.command()
def export(
    study: StudyFolder,
    to: Annotated[Literal["csv", "potato"], typer.Option("--to", help="Tables, or projects of Potato.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    lang: Annotated[Literal["en", "ja"], typer.Option("--lang", help="Language of questions and labels.")] = "en",
    as_json: JsonFlag = False,
) -> None:
    """Write a study's items and forms, and as csv its ratings, for other programs; nothing in them tells a condition.

    Example: emotion-circuits human export study --to csv --out tables
    """
    from emotion_circuits.human.exporting import export_study

    made = export_study(study, to, out, language=lang)
    if as_json:
        show_json({"files": [str(path) for path in made]})
        return
    for path in made:
        typer.echo(str(path))
