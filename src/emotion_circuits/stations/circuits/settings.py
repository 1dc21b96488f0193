"""What the circuits station can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import N_
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.trace.settings import lacks as few_sentences

if TYPE_CHECKING:
    from emotion_circuits.model import LanguageModel

__all__ = ["CircuitsSettings", "lacks", "measures_carried", "pairs_of", "possible"]

NO_PAIRS = N_("{attribute} names no minimal pairs")


class CircuitsSettings(Settings):
    """How heads are screened and circuits are sought, on minimal pairs.

    Attributes:
        pairs: bundled set or JSONL file of minimal pairs; null: the attribute's.
        train_pairs: at most so many train pairs, on which parts are scored.
        validation_pairs: at most so many validation pairs, on which the circuit's size is chosen.
        test_pairs: at most so many test pairs, on which everything is reported.
        steps: points of the integrated gradients.
        edge_pairs: train pairs on which edges are estimated.
        exact: so many of the strongest heads and MLPs (by attribution on train) are noised exactly; null: all of them.
        sizes: circuit sizes tried.
        n_random: random orderings beside the faithfulness curve.
        samples: random circuits of the chosen size; fewer than 19 support nothing, and p is 1/(samples + 1) at best. Where no
            circuit reaches the target, at most 19 are shown beside the best.
        roles: of how many heads the role is estimated.
        thorough: also joint effects, completeness, minimality and weights.
        emotion_heads: heads per emotion for the comparison of emotions, and patched while generating.
        random_heads: sets of random heads that texts are written with, per emotion; the fewest with which one of three
            emotions alone can reach q = 0.05 are 59.
        generation_prompts: neutral openings on which texts are written with patched heads; 0: none.
        max_new_tokens: length of these texts.
        temperature: of their sampling.
        carried: whether what every part carries to the directions is measured too, on traced sentences: ``auto``, where there
            are no minimal pairs and in a thorough study.
        batch_rows: rows run at once (memory).
    """

    pairs: str | None = None
    train_pairs: int = Field(default=48, ge=8)
    validation_pairs: int = Field(default=16, ge=4)
    test_pairs: int = Field(default=24, ge=4)
    steps: int = Field(default=2, ge=1)
    edge_pairs: int = Field(default=4, ge=1)
    exact: int | None = Field(default=10, ge=3)
    sizes: int = Field(default=5, ge=3)
    n_random: int = Field(default=2, ge=1)
    samples: int = Field(default=99, ge=2)
    roles: int = Field(default=0, ge=0)
    thorough: bool = False
    emotion_heads: int = Field(default=10, ge=1)
    random_heads: int = Field(default=59, ge=2)
    generation_prompts: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    carried: Literal["auto", "always", "never"] = "auto"
    batch_rows: int = Field(default=256, ge=1)


def pairs_of(config: StudySettings) -> str | None:
    """Minimal pairs of a study; ``None`` where its attribute has none."""
    return config.of(CircuitsSettings).pairs or studied(config).attribute.pairs


def lacks(config: StudySettings) -> NotMeasured | None:
    """Minimal pairs, and sentences that can be traced in their place."""
    if pairs_of(config) is not None:
        return None
    if config.of(CircuitsSettings).carried == "never":
        return NotMeasured(reason=NO_PAIRS, values={"attribute": studied(config).attribute.name})
    return few_sentences(config)


def measures_carried(config: StudySettings, *, paired: bool) -> bool:
    """Whether what parts carry to the directions is asked for and can be measured.

    Args:
        config: of the study.
        paired: whether there are minimal pairs that fit the model.
    """
    own = config.of(CircuitsSettings)
    wanted = own.carried == "always" or (own.carried == "auto" and (own.thorough or not paired))
    return wanted and few_sentences(config) is None


def possible(config: StudySettings, model: LanguageModel) -> None:
    """Refuse more heads than a model has.

    Raises:
        EmotionCircuitsError: naming how many it has.
    """
    own, heads = config.of(CircuitsSettings), model.n_layers * model.n_heads
    for key, asked in (("circuits.emotion_heads", own.emotion_heads), ("circuits.roles", own.roles)):
        if asked > heads:
            raise EmotionCircuitsError(f"{key}: {asked} heads asked for, {model.name} has {heads}")
