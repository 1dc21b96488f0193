"""Trained circuits: small transformers that learnt to follow a known algorithm, and to let nothing else matter.

As in InterpBench (Gupta et al. 2024) weights come from training and the truth from the alignment: see
:mod:`emotion_circuits.planted.programs` for the algorithms and :mod:`emotion_circuits.planted.interchange` for the training. A
model that does not reach :meth:`~emotion_circuits.planted.interchange.Fidelity.reached` on fresh prompts is rejected and counted,
and the next initialisation is tried. Weights are kept in the user's cache, by spec and by the code that made them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.paths import cache_dir, hash_json, replacing
from emotion_circuits.planted.interchange import Training, fidelity, train
from emotion_circuits.planted.models import PlantedModel, RejectedError
from emotion_circuits.planted.placement import Role
from emotion_circuits.planted.programs import Program, draw_program
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.texts import Sentences, planted_pairs, planted_tokenizer

__all__ = ["Trained"]

LAYERS, HEADS, KV_HEADS, WIDTH = 3, 4, 2, 12


@dataclass(frozen=True)
class Trained:
    """The generator of trained circuits.

    Attributes:
        training: of every model; about 40 s on one core.
        tries: initialisations before a spec is given up.
    """

    training: Training = field(default_factory=Training)
    tries: int = 3
    name: str = "trained"
    empty: bool = False

    def plant(self, spec: PlantedSpec) -> PlantedModel:
        """The trained model of a spec: from the cache, else trained now.

        Raises:
            EmotionCircuitsError: no circuit is asked for.
            RejectedError: no try reached the fidelity.
        """
        if not spec.circuit:
            raise EmotionCircuitsError("trained circuits come with a circuit: plant another generator's empty model")
        generator = torch.Generator().manual_seed(spec.seed * 7919 + 3_000_017)
        program = draw_program(spec, LAYERS, HEADS, generator)
        tokenizer, vocabulary = planted_tokenizer(spec)
        pairs = planted_pairs(spec, generator)
        hf = _untrained(spec, len(vocabulary), tokenizer)
        name = f"planted-trained-{spec.architecture}-{spec.seed}"
        model = LanguageModel(hf, tokenizer, family_of(hf.config), name)
        rejected = self._weights(model, program, spec, Sentences(spec, vocabulary))
        if rejected >= self.tries:
            raise RejectedError(name, rejected)
        hf.set_attn_implementation("sdpa")
        return PlantedModel(
            spec=spec,
            model=model,
            pairs=pairs,
            roles={variable.node: _role(variable.name) for variable in program.variables if variable.name != "answer"},
            decoys=program.decoys,
            mlps=(program.nodes[-1],),
            edges=program.edges,
            rejected=rejected,
        )

    def _weights(self, model: LanguageModel, program: Program, spec: PlantedSpec, sentences: Sentences) -> int:
        """Fill the model's weights; how many tries were rejected (all of them: no weights)."""
        kept = cache_dir() / "planted" / f"{self._key(spec)}.safetensors"
        if (rejected := _read(kept, model)) is not None:
            return rejected
        rejected = 0
        while rejected < self.tries:
            generator = torch.Generator().manual_seed((spec.seed * 31 + rejected) * 7919 + 3_000_029)
            _initialise(model, generator)
            with _one_thread():
                train(model, program, spec, sentences, generator, self.training)
                reached = fidelity(model, program, spec, sentences, generator).reached()
            if reached:
                break
            rejected += 1
        state = {name: value.contiguous() for name, value in model.hf.state_dict().items()}
        with replacing(kept) as temporary:
            save_file(state, temporary, metadata={"rejected": str(rejected)})
        return rejected

    def _key(self, spec: PlantedSpec) -> str:
        """Hash of all that weights follow from: the spec but for its number of pairs, the training, the code."""
        code = [
            (files("emotion_circuits.planted") / f"{name}.py").read_text(encoding="utf-8")
            for name in ("programs", "interchange", "texts", "trained")
        ]
        described = {**asdict(spec), "n_pairs": 0}
        return hash_json([described, asdict(self.training), self.tries, torch.__version__, code])[:24]


def _role(variable: str) -> Role:
    return "detector" if variable.startswith("found") else "aggregator"


def _read(kept: Path, model: LanguageModel) -> int | None:
    """Load kept weights; how many models were rejected before them, or ``None``: there are none, or they are damaged."""
    if not kept.is_file():
        return None
    try:
        with safe_open(kept, "pt") as stored:
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
            rejected = int(stored.metadata()["rejected"])
    except (OSError, SafetensorError):
        return None
    model.hf.load_state_dict(state)
    model.hf.eval().requires_grad_(False)
    return rejected


class _one_thread:  # noqa: N801 - used as a context
    """Sums in one order, so that the same spec gives the same weights however many cores there are."""

    def __enter__(self) -> None:
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.threads)


def _initialise(model: LanguageModel, generator: torch.Generator) -> None:
    """Fresh weights from the generator alone: norms 1, biases 0, all else Gaussian."""
    for name, parameter in model.hf.named_parameters():
        with torch.no_grad():
            if "norm" in name or ".ln_" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                scale = 0.02 if model.config.model_type == "gpt2" else 0.1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def _untrained(spec: PlantedSpec, vocabulary: int, tokenizer: Any) -> Any:
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    d = HEADS * WIDTH
    if spec.architecture == "gpt2":
        config = GPT2Config(
            vocab_size=vocabulary,
            n_embd=d,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=64,
            n_inner=2 * d,
            tie_word_embeddings=False,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            attn_implementation="eager",
            **ids,
        )
        return GPT2LMHeadModel(config).eval()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=d,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            intermediate_size=2 * d,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            attn_implementation="eager",
            **ids,
        )
    ).eval()
