"""Write continuations for every (prompt, condition, sample), in full batches; an interruption loses those being written.

Every row of a batch has its own condition. Both arms of any comparison share their random draws: a row's seed comes
from the sweep's seed, the prompt and the sample, never from the condition. Rows are put into chunks by the sweep's
configuration alone, so a sweep that was interrupted and run again writes the same bytes as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain, groupby, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import Generated, LanguageModel, Sampling, generate, weights_sha256, writing_model
from emotion_circuits.model.chat import chat_turns, spoken
from emotion_circuits.model.generation import row_seed
from emotion_circuits.model.halving import in_halves
from emotion_circuits.paths import hash_json, replacing
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt, prompts_sha256
from emotion_circuits.prompts.attribute_parts import Prompting
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import PARTS, Kept, Parts, Tables
from emotion_circuits.steering.conditions import Condition, check_conditions
from emotion_circuits.steering.injecting import interventions_for, layer_interventions, said_only
from emotion_circuits.steering.prompting import all_prompted, examples_for
from emotion_circuits.steering.vectors import SteeringVectors

__all__ = ["MANIFEST", "TABLE", "Asking", "sweep", "sweep_config"]

MANIFEST, TABLE = "manifest.json", "sweep.parquet"
FORMAT = 5
_KEPT = Kept("sweep", Tables(), note=MANIFEST, inside=PARTS, anew="its texts are written anew")


@dataclass(frozen=True)
class _Cell:
    """One row to write."""

    prompt: Prompt
    condition: Condition
    sample: int
    context: str
    rendered: bool
    tokens: int
    place: tuple[int, int, int]  # prompt, condition, sample: the order of the finished table
    asked: str | None = None  # of chat: the unadorned request as the template renders it
    said: tuple[int, ...] = ()  # of chat: places of the tokens that are not the template's


@dataclass(frozen=True)
class Asking:
    """What prompting arms ask with: the phrases, and by emotion the sentences shown; nothing where there are no such arms."""

    phrases: Prompting | None
    examples: Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class _Writing:
    """What every batch needs."""

    cells: Sequence[_Cell]
    vectors: SteeringVectors
    how: Sampling
    seed: int


def sweep_config(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    conditions: Sequence[Condition],
    vectors: SteeringVectors,
    sampling: Sampling,
    samples: int,
    seed: int,
    batch_rows: int,
    asking: Asking,
    *,
    chat: bool = False,
) -> dict[str, Any]:
    """Everything the texts depend on."""
    found = {
        "format": FORMAT,
        "model": model.name,
        "revision": model.revision,
        "weights_sha256": weights_sha256(model),
        "dtype": str(model.dtype),
        "device": model.device.type,
        "prompts_sha256": prompts_sha256(prompts),
        "vectors_sha256": vectors.sha256(),
        "sampling": asdict(sampling),
        "samples": samples,
        "seed": seed,
        "batch_rows": batch_rows,
        "examples": {k: list(v) for k, v in asking.examples.items()},
        "conditions": [c.to_json() for c in conditions],
    }
    if chat:
        found["chat"] = True
    if model.written_by is not None:
        found["writer"] = model.written_by.identity(model)
    if asking.phrases is not None:
        found["phrases"] = asking.phrases.model_dump(mode="json", exclude={"examples"})
    return found


def sweep(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    conditions: Sequence[Condition],
    vectors: SteeringVectors,
    *,
    folder: Path | str,
    sampling: Sampling | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_rows: int = 64,
    phrases: Prompting | None = None,
    examples: Mapping[str, Sequence[str]] | None = None,
    engine: Engine | None = None,
    chat: bool = False,
) -> pd.DataFrame:
    """Continue every prompt under every condition.

    Args:
        model: the model; texts are written in its ``writes`` dtype (:func:`emotion_circuits.model.writing_model`).
        prompts: openings; their ids must be unique.
        conditions: arms, with different names. Include :data:`NONE`, which every effect is measured against.
        vectors: directions and norms.
        folder: where the table goes; run again with the same arguments, it is completed or read.
        sampling: length and choice of tokens; 20 tokens at temperature 1 by default. With temperature 0 more than one
            sample repeats itself and is refused.
        samples: continuations per prompt and condition.
        seed: of the sweep.
        batch_rows: rows generated together at most, and written together; on a CPU with several cores so many are
            generated on each of up to four of them.
        phrases: of the attribute; needed where an arm is prompted.
        examples: emotion → sentences for few-shot prompting; by default those of ``phrases``.
        engine: where batches are written; in this process by default.
        chat: the prompts are requests, which the model answers through its chat template. Conditions act on what was said and on
            what is written, not on the template's tokens (:func:`emotion_circuits.steering.injecting.said_only`).

    Returns:
        One row per (condition, prompt, sample), in that order: ``condition kind emotion alpha layers how units first
        prompt_id group split sample prompt context text ids n_tokens finished``; of chat also ``asked``, the request without
        any instruction as the template renders it.

    Raises:
        EmotionCircuitsError: bad arguments, a folder that holds another sweep, one in use by another process, or a
            finished table that is not what was written.
    """
    how = sampling or Sampling(max_new_tokens=20, temperature=1.0)
    arms = check_conditions(conditions)
    model = writing_model(model)
    vectors.check_fits(model)
    rows = list(prompts)
    if not rows or samples < 1 or batch_rows < 1:
        raise EmotionCircuitsError("a sweep needs at least one prompt, one sample and one row per batch")
    if len({p.id for p in rows}) != len(rows):
        raise EmotionCircuitsError("a sweep needs prompts with different ids")
    if how.temperature == 0 and samples > 1:
        raise EmotionCircuitsError("greedy decoding gives one continuation per prompt: use samples=1 or a temperature")
    asking = _asking(arms, phrases, examples)
    config = sweep_config(model, rows, arms, vectors, how, samples, seed, batch_rows, asking, chat=chat)
    writing = _Writing(_cells(model, rows, arms, samples, asking, how.max_new_tokens, chat=chat), vectors, how, seed)
    batches = _chunks(writing.cells, batch_rows)
    edges = [0, *accumulate(map(len, batches))]
    work, tasks = {"sha256": hash_json(config), **config}, [list(pair) for pair in pairwise(edges)]
    finished = Path(folder) / TABLE
    with Parts(Path(folder), work, tasks, _KEPT) as parts:
        if not finished.is_file():
            _write(parts, Compute(_run, writing, model, beside=True), engine, finished)
        parts.remove()
        if Ledger(finished.parent).verdict(finished) == "damaged":
            raise EmotionCircuitsError(
                f"{finished}: is damaged, or was changed after it was written; delete this file, and its texts are written anew"
            )
        return pd.read_parquet(finished)


def _asking(arms: Sequence[Condition], phrases: Prompting | None, given: Mapping[str, Sequence[str]] | None) -> Asking:
    asked = [c for c in arms if c.kind == "prompting"]
    if not asked:
        return Asking(None, {})
    if phrases is None:
        raise EmotionCircuitsError(
            f"condition {asked[0].name!r}: prompting needs the attribute's phrases: sweep(…, phrases=attribute.prompting)"
        )
    wanted = sorted({str(c.emotion) for c in asked if c.style == "few_shot"})
    return Asking(phrases, {e: list((given or {}).get(e) or examples_for(e, phrases)) for e in wanted})


def _cells(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    conditions: Sequence[Condition],
    samples: int,
    asking: Asking,
    room: int = 0,
    *,
    chat: bool = False,
) -> list[_Cell]:
    """All cells, ordered so that a batch changes about the same layers of prompts of about one length.

    What rows of a batch share is read once, up to the first layer that any of them changes.
    """
    asked = [(p.text, c) for p in prompts for c in conditions if c.kind == "prompting"]
    renderings = iter(
        all_prompted(model, asked, asking.phrases, examples=asking.examples, requests=chat)
        if asking.phrases is not None
        else ()
    )
    turns = chat_turns(model, [prompt.text for prompt in prompts]) if chat else None
    found: list[_Cell] = []
    for p, prompt in enumerate(prompts):
        plain = (prompt.text, False) if turns is None else (turns[p], True)
        for c, condition in enumerate(conditions):
            text, rendered = next(renderings) if condition.kind == "prompting" else plain
            for s in range(samples):
                found.append(
                    _Cell(prompt, condition, s, text, rendered, 0, (c, p, s), None if turns is None else turns[p])
                )
    lengths: dict[tuple[str, bool], int] = {}
    said: dict[str, tuple[int, ...]] = {}
    for rendered in (False, True):
        of = {cell.context: cell.prompt for cell in found if cell.rendered == rendered}
        names = [prompt.id for prompt in of.values()]
        read = model.encode(list(of), add_special_tokens=not rendered, room=room, names=names)
        lengths |= {(text, rendered): len(row) for text, row in zip(of, read.ids, strict=True)}
        if chat:
            for (text, prompt), row, offsets in zip(of.items(), read.ids, read.offsets, strict=True):
                places = spoken(text, [prompt.text], offsets)
                # Where the template changed the request, nothing can be told from it.
                said[text] = tuple(range(len(row)) if places is None else places)
    sized = [
        replace(cell, tokens=lengths[cell.context, cell.rendered], said=said.get(cell.context, ())) for cell in found
    ]
    return sorted(sized, key=_order)


def _order(cell: _Cell) -> tuple[Any, ...]:
    first = min(cell.condition.layers, default=-1)
    prompt_and_sample, condition = cell.place[1:], cell.place[0]
    return cell.rendered, first, cell.tokens, prompt_and_sample, condition


def _chunks(cells: Sequence[_Cell], batch_rows: int) -> list[list[_Cell]]:
    """Batches; text from a chat template never shares one with plain text (special tokens differ).

    More than one of a kind are of even size and of an even number, so that those written beside one another end together.
    """
    chunks: list[list[_Cell]] = []
    for _, group in groupby(cells, key=lambda cell: cell.rendered):
        rows = list(group)
        count = -(-len(rows) // batch_rows)
        count = min(count + (count > 1 and count % 2), len(rows))
        edges = [len(rows) * k // count for k in range(count + 1)]
        chunks += [rows[start:stop] for start, stop in pairwise(edges)]
    return chunks


def _write(parts: Parts[pd.DataFrame], compute: Compute[pd.DataFrame], engine: Engine | None, table: Path) -> None:
    """Write what is missing, and the table of all texts."""
    done, started = 0, time.monotonic()
    sizes = [stop - start for start, stop in (part.task for part in parts.all)]
    with progress_bar("Steering", sum(sizes)) as bar:
        bar.advance(sum(sizes) - sum(sizes[part.index] for part in parts.missing()))
        for _, texts in parts.compute(compute, engine):
            done += int(texts["n_tokens"].sum())
            bar.advance(len(texts), note=f"{done / max(time.monotonic() - started, 1e-9):.0f} tokens/s")
    whole = pd.concat(list(parts.read()), ignore_index=True).sort_values("place", kind="stable").drop(columns="place")
    with replacing(table) as temporary:
        whole.reset_index(drop=True).to_parquet(temporary, index=False)
        Ledger(table.parent).record(TABLE, temporary)


def _run(model: LanguageModel, writing: _Writing, task: Sequence[int]) -> pd.DataFrame:
    """The texts of one batch: the cells from the first number up to the second."""
    start, stop = task
    chunk = writing.cells[start:stop]

    def write(cells: Sequence[_Cell]) -> list[Generated]:
        return _generate(
            model,
            [cell.context for cell in cells],
            [cell.condition for cell in cells],
            writing,
            said=[cell.said for cell in cells] if cells[0].asked is not None else None,
            seeds=[row_seed(writing.seed, cell.prompt.id, cell.sample) for cell in cells],
            add_special_tokens=not cells[0].rendered,
        )

    written = chain.from_iterable(in_halves(chunk, write, what="texts"))
    return pd.DataFrame(
        [
            {
                "condition": cell.condition.name,
                "kind": cell.condition.kind,
                "emotion": cell.condition.emotion or "",
                "alpha": float(cell.condition.alpha),
                "layers": " ".join(map(str, cell.condition.layers)),
                "how": cell.condition.how,
                "units": cell.condition.units,
                "first": float(cell.condition.first),
                "prompt_id": cell.prompt.id,
                "group": cell.prompt.group,
                "split": cell.prompt.split,
                "sample": cell.sample,
                "prompt": cell.prompt.text,
                **({} if cell.asked is None else {"asked": cell.asked}),
                "context": cell.context,
                "text": out.text,
                "ids": " ".join(map(str, out.token_ids)),
                "n_tokens": len(out.token_ids),
                "finished": out.finished,
                "place": "{:06d} {:06d} {:06d}".format(*cell.place),
            }
            for cell, out in zip(chunk, written, strict=True)
        ]
    )


def _generate(
    model: LanguageModel,
    texts: Sequence[str],
    conditions: Sequence[Condition],
    writing: _Writing,
    *,
    said: Sequence[Sequence[int]] | None,
    **rest: Any,
) -> list[Generated]:
    """By the model itself, or by what writes in its place, which is told of every row by itself."""
    if model.written_by is None:
        done = interventions_for(conditions, writing.vectors, said)
        return generate(model, texts, writing.how, interventions=done, **rest)
    by_row = {condition: layer_interventions(condition, writing.vectors) for condition in set(conditions)}
    each = [by_row[condition] for condition in conditions]
    if said is not None:
        each = [said_only(own, [places]) for own, places in zip(each, said, strict=True)]
    written: list[Generated] = model.written_by.generate(model, texts, writing.how, interventions=each, **rest)
    return written
