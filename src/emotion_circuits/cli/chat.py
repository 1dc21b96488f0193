"""``emotion-circuits chat``: talk to a model, its own answer and the steered one side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion_circuits.cli.completing import MODELS, offering, values
from emotion_circuits.cli.shared import (
    AttributeName,
    Device,
    Dtype,
    JsonFlag,
    Pickle,
    Revision,
    attribute_for,
    long_running,
    model_of,
    note,
    prefix_of,
    print_table,
    show_json,
)
from emotion_circuits.cli.steer import ALPHA, DEPTH, fitted_vectors
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from rich.table import Table

    from emotion_circuits.model import LanguageModel, Sampling
    from emotion_circuits.model.stepping import Row, Task
    from emotion_circuits.prompts import Attribute
    from emotion_circuits.serve.vectors import Served

_MODEL = "smollm2-135m"
_HELP = "/dose 0.5 sets the dose, /emotion NAME the value, /new begins anew, /quit (or Ctrl-D) ends"


def chat(
    texts: Annotated[
        list[str] | None, typer.Argument(help="What to say, one turn each; nothing: ask for turns, until /quit.")
    ] = None,
    emotion: Annotated[
        str | None,
        typer.Option(
            help="A value of the run or the attribute; the first by default.", autocompletion=offering(values)
        ),
    ] = None,
    dose: Annotated[
        float, typer.Option(help="1 is the strongest within the run's fluency bound; negative: away from the value.")
    ] = 1.0,
    run: Annotated[Path | None, typer.Option(help="Use the directions and ranges of this finished run.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Bundled name, hub id, folder or .gguf file.", autocompletion=offering(MODELS))
    ] = None,
    attribute: AttributeName = None,
    tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Length of an answer.")] = 60,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Both answers share their random draws.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    allow_pickle: Pickle = False,
    as_json: JsonFlag = False,
) -> None:
    """Talk to a model whose tone is set, its own answer beside.

    Without --run, directions are fitted on the attribute's training sentences (once per model) and no strength was validated.
    A model without a chat template continues what is said.

    Example: emotion-circuits chat --emotion gratitude "What should I cook tonight?"
    """
    from emotion_circuits.model import Sampling, load_model, writing_model

    with long_running():
        name, revision = model_of(run, model, revision, default=_MODEL)
        loaded = load_model(
            name, device=device, dtype=dtype, revision=revision, allow_pickle=allow_pickle, prefix=prefix_of(run)
        )
        about = attribute_for(attribute, run)
        served = _served(loaded, about, run)
    served.vectors.check_fits(loaded)
    talk = _Talk(
        writing_model(loaded),
        served,
        emotion or about.values[0],
        dose,
        Sampling(max_new_tokens=tokens, temperature=temperature),
        seed,
    )
    talk.check()
    if run is None:
        note(
            "no run was given: directions are fitted on sentences, and no strength was validated (dose 1 is alpha 0.2)"
        )
    if texts:
        found = [talk.say(text, shown=not as_json) for text in texts]
        if as_json:
            show_json({"model": loaded.name, "emotion": talk.emotion, "dose": talk.dose, "turns": found})
        return
    if as_json:
        raise EmotionCircuitsError("--json: say something: emotion-circuits chat --json TEXT")
    note(_HELP)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line in ("/quit", "/exit", "/q"):
            return
        if not line:
            continue
        try:
            if line.startswith("/"):
                note(talk.told(line))
            else:
                talk.say(line)
        except EmotionCircuitsError as error:
            note(str(error))


def _served(model: LanguageModel, attribute: Attribute, run: Path | None) -> Served:
    """The vectors and ranges of a run, or directions fitted on sentences with a strength that is usually fluent."""
    from emotion_circuits.serve.vectors import Ranged, Served, of_run
    from emotion_circuits.steering import Condition

    if run is not None:
        return of_run(run)
    vectors = fitted_vectors(model, attribute)
    layers = (round(DEPTH * (model.n_layers - 1)),)
    arms = {v: Condition(name=v, emotion=v, layers=layers, alpha=ALPHA, positions="rest") for v in attribute.values}
    return Served(vectors, {v: Ranged(arm) for v, arm in arms.items() if v in vectors.unit}, {})


@dataclass
class _Talk:
    """A conversation in two versions."""

    model: LanguageModel
    served: Served
    emotion: str
    dose: float
    how: Sampling
    seed: int
    turns: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"base": [], "steered": []})

    def check(self) -> None:
        """Refuse a value that cannot be steered by dose, or a dose that is none.

        Raises:
            EmotionCircuitsError: naming what there is.
        """
        self._plan(1, None)

    def told(self, line: str) -> str:
        """Do what a line beginning with ``/`` says, and answer."""
        command, _, rest = line.partition(" ")
        before = self.emotion, self.dose
        if command == "/dose":
            try:
                self.dose = float(rest)
            except ValueError:
                return f"/dose needs a number, got {rest!r}"
        elif command == "/emotion":
            self.emotion = rest.strip()
        elif command == "/new":
            self.turns = {"base": [], "steered": []}
            return "begun anew"
        else:
            return _HELP
        try:
            self.check()
        except EmotionCircuitsError:
            self.emotion, self.dose = before
            raise
        return f"{self.emotion}, dose {self.dose:g}"

    def say(self, text: str, *, shown: bool = True) -> dict[str, Any]:
        """Say a turn to both versions."""
        from rich.live import Live

        from emotion_circuits.model.stepping import Stepper

        plans, tasks = zip(*(self._task(arm, text) for arm in ("base", "steered")), strict=True)
        with Stepper(self.model) as batch:
            rows = batch.join(tasks)
            if shown and sys.stdout.isatty():
                with Live(self._table(rows), transient=True, refresh_per_second=8) as live:
                    while batch.rows:
                        batch.step()
                        live.update(self._table(rows))
            while batch.rows:
                batch.step()
        for arm, row in zip(self.turns, rows, strict=True):
            if row.error:
                raise EmotionCircuitsError(f"{arm}: {row.error}")
        still = plans[1].still([rows[1]])
        if still is not None:
            raise EmotionCircuitsError(f"the projection on {still} did not move: this would be an unsteered answer")
        for turns, row in zip(self.turns.values(), rows, strict=True):
            turns += [{"role": "user", "content": text}, {"role": "assistant", "content": row.text.strip() or "…"}]
        if shown:
            print_table(self._table(rows))
        return {"said": text, "base": rows[0].text, "steered": rows[1].text, "steering": plans[1].report([rows[1]])}

    def _task(self, arm: str, text: str) -> tuple[Any, Task]:
        from emotion_circuits.model.chat import chat_prompts, has_chat_template, spoken
        from emotion_circuits.model.generation import row_seed
        from emotion_circuits.model.stepping import Task

        said = None
        if has_chat_template(self.model):
            turns = [*self.turns[arm], {"role": "user", "content": text}]
            (prompt,) = chat_prompts(self.model, [turns])
            encoded = self.model.encode([prompt], add_special_tokens=False, room=self.how.max_new_tokens)
            said = spoken(prompt, [turn["content"] for turn in turns], encoded.offsets[0])
        else:
            encoded = self.model.encode([text], room=self.how.max_new_tokens)
        plan = self._plan(len(encoded.ids[0]), said, steered=arm == "steered")
        task = Task(
            ids=encoded.ids[0], sampling=self.how, seed=row_seed(self.seed, text, len(self.turns[arm])),
            interventions=plan.interventions, along=plan.along, live=True,
        )  # fmt: skip
        return plan, task

    def _plan(self, tokens: int, said: list[int] | None, *, steered: bool = True) -> Any:
        from pydantic import ValidationError

        from emotion_circuits.serve.steering import STRONGEST, Push, plan
        from emotion_circuits.serve.vectors import Shelf

        try:
            wanted = {self.emotion: Push(dose=self.dose)} if steered else {}
        except ValidationError as error:
            raise EmotionCircuitsError(
                f"dose: must be from {-STRONGEST:g} to {STRONGEST:g}, got {self.dose:g}"
            ) from error
        shelf = Shelf((self.served,))
        return plan(self.model, shelf, wanted, tokens=tokens, spoken=said, chat=said is not None)

    def _table(self, rows: list[Row]) -> Table:
        from rich.table import Column, Table
        from rich.text import Text

        # Halves, so that nothing moves sideways while both are written.
        heads = (Column(head, ratio=1) for head in ("the model", f"{self.emotion}, dose {self.dose:g}"))
        table = Table(*heads, show_lines=True, expand=sys.stdout.isatty())
        table.add_row(*(Text(row.text.strip()) for row in rows))
        return table
