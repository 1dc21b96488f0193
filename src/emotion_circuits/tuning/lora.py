"""LoRA adapters by peft and trl: supervised on preferred continuations (SFT), or by direct preference optimisation (DPO).

Sequences come as tokens, cut as the model reads and writes them, so that trl tokenizes nothing and puts no end of a text behind a
continuation that has none. The adapter is a folder in peft's own layout, which ``--adapter`` takes.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.adapters import ADAPTER_CONFIG, checked_adapter
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.model.opening import quiet
from emotion_circuits.model.replicas import replica
from emotion_circuits.paths import cannot_write, read_json, write_json
from emotion_circuits.temporaries import scratch_folder
from emotion_circuits.tuning.examples import Sequence3
from emotion_circuits.tuning.trained import Recipe, Trained

__all__ = ["RECORD", "Objective", "train_adapter"]

Objective = Literal["sft", "dpo"]
RECORD = "training.json"
"""Beside the adapter: how it was made."""


def train_adapter(
    model: LanguageModel,
    sequences: Sequence[Sequence3],
    recipe: Recipe,
    objective: Objective,
    folder: Path,
    *,
    rank: int = 8,
    seed: int = 0,
) -> Trained:
    """Train an adapter on all linear layers, or read what a finished training left in the folder.

    The model itself is not changed: what is trained stands on a replica with the same weights.

    Args:
        model: the base model.
        sequences: what is learnt from; SFT takes the preferred continuations alone.
        recipe: steps, rows per step, step size and strength of preference.
        objective: ``sft`` or ``dpo``.
        folder: of the adapter; written whole, under a temporary name first.
        rank: of the adapter; its scale is twice that.
        seed: of its start and of the order of examples.

    Raises:
        EmotionCircuitsError: the extra is not installed, nothing to learn from, a folder of something else, or a loss that is no
            number.
    """
    if (folder / RECORD).is_file():
        checked_adapter(folder)
        return Trained.from_json(read_json(folder / RECORD))
    if not sequences:
        raise EmotionCircuitsError(f"{objective}: there are no examples to learn from")
    needed()
    started = time.monotonic()
    try:
        with scratch_folder(folder.parent, folder.name) as new:
            with _silent(), understood(lambda error: f"{objective}: training failed: {one_line(error)}"):
                losses, parameters = _run(model, sequences, recipe, objective, new / "adapter", rank, seed)
            if not losses or not all(loss == loss for _, loss in losses):
                raise EmotionCircuitsError(f"{objective}: the loss is no number; give a smaller step size")
            used = min(len(sequences), recipe.steps * recipe.rows)
            found = Trained(
                tuple(step for step, _ in losses), tuple(loss for _, loss in losses), parameters,
                time.monotonic() - started, used,
            )  # fmt: skip
            write_json(new / "adapter" / RECORD, found.to_json())
            (new / "adapter").rename(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return found


def needed() -> None:
    """Refuse to begin without the libraries.

    Raises:
        EmotionCircuitsError: naming the extra.
    """
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise EmotionCircuitsError(
            f"tuning adapters needs the extra 'hybrid' ({error.name} is missing): pip install 'emotion-circuits[hybrid]', or "
            "leave the methods sft and dpo out"
        ) from error


def _run(
    model: LanguageModel,
    sequences: Sequence[Sequence3],
    recipe: Recipe,
    objective: Objective,
    folder: Path,
    rank: int,
    seed: int,
) -> tuple[list[tuple[int, float]], int]:
    """Losses by step and the number of trained parameters; the adapter is in the folder."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed

    lora = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM", bias="none"
    )
    shared: dict[str, Any] = {
        "output_dir": str(folder.parent / "work"), "max_steps": recipe.steps, "per_device_train_batch_size": recipe.rows,
        "learning_rate": recipe.rate, "lr_scheduler_type": "cosine", "seed": seed, "data_seed": seed,
        "save_strategy": "no", "logging_steps": 1, "report_to": "none", "disable_tqdm": True, "bf16": False,
        "gradient_checkpointing": False, "use_cpu": model.device.type == "cpu", "dataloader_pin_memory": False,
        "max_grad_norm": 1.0, "weight_decay": 0.0, "remove_unused_columns": False,
    }  # fmt: skip
    copy = replica(model)
    if copy.tokenizer.pad_token is None:
        copy.tokenizer.pad_token = copy.tokenizer.convert_ids_to_tokens(model.pad_id)
    set_seed(seed)
    trainer: Any
    if objective == "sft":
        from trl import SFTConfig, SFTTrainer

        class Supervised(SFTTrainer):
            def _send_telemetry(self) -> None:
                """Nothing is sent anywhere."""

        rows = {
            "input_ids": [[*s.prompt, *s.chosen] for s in sequences],
            "labels": [[*([-100] * len(s.prompt)), *s.chosen] for s in sequences],
        }
        how = SFTConfig(**shared, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
        trainer = Supervised(
            copy.hf, args=how, train_dataset=Dataset.from_dict(rows), processing_class=copy.tokenizer, peft_config=lora
        )
    else:
        from trl import DPOConfig, DPOTrainer

        class Preferring(DPOTrainer):
            def _send_telemetry(self) -> None:
                """Nothing is sent anywhere."""

            def _prepare_dataset(self, dataset: Any, *_args: Any, **_options: Any) -> Any:
                return dataset

        rows = {
            "prompt_ids": [list(s.prompt) for s in sequences],
            "chosen_ids": [list(s.chosen) for s in sequences],
            "rejected_ids": [list(s.rejected) for s in sequences],
        }
        how = DPOConfig(**shared, max_length=None, beta=recipe.beta)
        trainer = Preferring(
            copy.hf, args=how, train_dataset=Dataset.from_dict(rows), processing_class=copy.tokenizer, peft_config=lora
        )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    found = [(int(row["step"]), float(row["loss"])) for row in trainer.state.log_history if "loss" in row]
    parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    trainer.model.peft_config["default"].base_model_name_or_path = model.name
    trainer.model.save_pretrained(folder, save_embedding_layers=False)
    _settle(folder / ADAPTER_CONFIG)
    return found, parameters


def _settle(file: Path) -> None:
    """The same adapter is to be the same bytes: peft writes sets in no order."""
    said = read_json(file)
    for name, value in said.items():
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            said[name] = sorted(value)
    file.write_text(json.dumps(said, indent=2, sort_keys=True), encoding="utf-8")


@contextmanager
def _silent() -> Iterator[None]:
    """Without the notes and bars of the libraries, whose figures are kept."""
    names = ("transformers", "trl", "peft", "accelerate", "datasets")
    levels = {name: logging.getLogger(name).level for name in names}
    with quiet(), warnings.catch_warnings(action="ignore"):
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
