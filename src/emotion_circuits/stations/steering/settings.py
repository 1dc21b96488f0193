"""What the steering station can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from emotion_circuits.record.settings import Settings, StudySettings

if TYPE_CHECKING:
    from emotion_circuits.model import LanguageModel

__all__ = ["SteeringSettings", "possible"]

Depth = Annotated[float, Field(ge=0)]


class SteeringSettings(Settings):
    """Which conditions are written and how many texts each.

    Attributes:
        layers: relative depths in [0, 1) or layer numbers (whole numbers of 1 or more) to steer at. A list inside the
            list is a group of layers that are steered together, each with the whole alpha.
        alphas: strengths as a fraction of the layer's residual norm. Null: strengths, and whether the first token is pushed
            (unless ``sink`` says it), are looked for on validation openings, coarse to fine: every layer at two strengths on
            eight openings, the best at the strength that fluency bears on twenty-four, two of those and a fifth less on all.
        contrast: directions of the emotion minus ``neutral``, or minus the ``rest`` (the mean of all other labels), which
            leaves out what all emotions share.
        texts: what is written: ``openings`` of texts are continued, or ``chat``: requests are answered through the model's chat
            template, whose own tokens are not steered. What is chosen then holds for chat.
        sources: of chat, where directions may come from: ``sentences`` (the directions station's set), ``replies`` (differences
            of the replies that the model writes under contrasting instructions, of those that the judge says came out as asked).
            The better one on validation requests is taken. Null: both; of openings it is ``sentences`` always.
        reply_samples: replies per request, value and instruction that directions are fitted on.
        operation: ``add`` the direction, or ``clamp`` the projection on it: alpha is then where it is held, counted from
            the mean of neutral sentences. Neither touches the first token.
        sink: with ``add``: strengths at the first token, in the unit of ``alphas``. That token is an attention sink, whose
            state may be a hundred times as long as others': it bears several residual norms, and what is added to it reaches
            every later token at little cost in fluency. Where both act, each is also written without the other.
        raw_layers: layers of a second grid in raw units, ``residual += alpha * emotion_vector``; none by default.
        raw_alphas: its strengths.
        share_places: ``always``: emotions take one place and strength that is within the bound for all of them, where
            there is one, and so share its random directions; ``equal``: only where it cannot be told from their best
            one; ``never``: each emotion takes its own best.
        validation_prompts: openings on which place and strength are chosen; beyond the validation split's they come
            from the train split, since nothing is fitted on openings. Null: all there are, up to 62.
        test_prompts: openings on which the choice is reported; null: all there are, up to 36.
        test_openings: corpus whose test split they come from; null: the attribute's; ``held``: its held ones.
        samples: texts per opening and condition.
        validation_samples: the same where conditions are chosen and direction sets compared; null: ``samples``. A large
            grid is chosen from well enough with one.
        random_directions: random directions of the same norm among which each chosen condition is ranked. With N of them no
            p-value is below 1/(N + 1). They are written once per place and strength, whatever the number of values there. Null:
            as many as a family of so many values needs, 20 for each and 99 at least.
        shuffled_directions: the same for directions fitted on labels shuffled within groups; 0 leaves that question out.
        null_prompts: at most so many of the test openings, evenly among them, are those that random and shuffled directions
            are written on; null: all. The chosen condition is ranked by the same ones, so that fewer cost power alone.
        compare_prompts: openings (chosen like ``validation_prompts``) on which all fitted direction sets and raw-unit
            strengths are compared at the chosen place; 0 leaves the comparison out.
        max_new_tokens: length of a continuation.
        temperature: sampling temperature; 0 is greedy.
        max_perplexity_ratio: fluency bound of the choice.
        batch_rows: rows written at once (memory); on a CPU several such batches are written beside one another.
    """

    layers: tuple[Depth | tuple[Depth, ...], ...] = (0.35, 0.45, 0.55, 0.7)
    contrast: Literal["neutral", "rest"] = "rest"
    texts: Literal["openings", "chat"] = "openings"
    sources: tuple[Literal["sentences", "replies"], ...] | None = None
    reply_samples: int = Field(default=1, ge=1)
    operation: Literal["add", "clamp"] = "add"
    sink: tuple[Annotated[float, Field(ge=0, le=1000)], ...] | None = None
    alphas: tuple[float, ...] | None = None
    raw_layers: tuple[Depth | tuple[Depth, ...], ...] = ()
    raw_alphas: tuple[float, ...] = (-2, -1, -0.5, 0.5, 1, 2)
    share_places: Literal["always", "equal", "never"] = "always"
    validation_prompts: int | None = Field(default=None, ge=2)
    test_prompts: int | None = Field(default=None, ge=2)
    test_openings: str | None = None
    samples: int = Field(default=1, ge=1)
    validation_samples: int | None = Field(default=None, ge=1)
    random_directions: int | None = Field(default=99, ge=1)
    shuffled_directions: int | None = Field(default=99, ge=0)
    null_prompts: int | None = Field(default=12, ge=8)
    compare_prompts: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    max_perplexity_ratio: float = Field(default=1.5, gt=1)
    batch_rows: int = Field(default=128, ge=1)

    def nulls(self, values: int) -> tuple[int, int]:
        """Random and label-shuffled directions per place and strength, for so many values.

        A value that is steered moves each of its metrics, so of V values with m metrics each the smallest q of such a value is
        V·m/m times the smallest p, and 20 directions for each value let it come to 0.05.
        """
        scaled = max(99, 20 * values)
        return tuple(scaled if n is None else n for n in (self.random_directions, self.shuffled_directions))  # type: ignore[return-value]

    @field_validator("layers", "raw_layers")
    @classmethod
    def _depths(cls, layers: tuple[Any, ...]) -> tuple[Any, ...]:
        for group in layers:
            for layer in group if isinstance(group, tuple) else (group,):
                if layer >= 1 and layer != int(layer):
                    raise ValueError(f"{layer}: give a relative depth in [0, 1) or a whole layer number")
            if isinstance(group, tuple) and not group:
                raise ValueError("an empty group of layers")
        return layers

    @model_validator(mode="after")
    def _sink_is_added_to(self) -> SteeringSettings:
        if self.sink is not None and (not self.sink or (self.operation != "add" and any(self.sink))):
            raise ValueError("sink: give at least one strength, and only 0 with operation 'clamp'")
        return self

    @model_validator(mode="after")
    def _replies_are_of_chat(self) -> SteeringSettings:
        if self.sources is not None and (not self.sources or len(set(self.sources)) < len(self.sources)):
            raise ValueError("sources: name each once, one at least")
        if self.texts != "chat" and self.sources not in (None, ("sentences",)):
            raise ValueError("sources: replies are written in chat; give texts 'chat' as well")
        if self.texts == "chat" and (self.raw_layers or self.compare_prompts):
            raise ValueError(
                "texts: raw strengths and the comparison of direction sets are of openings; leave them out in chat"
            )
        if self.texts == "chat" and self.test_openings is not None:
            raise ValueError("test_openings: chat is reported on requests; leave it out")
        return self

    @property
    def chat(self) -> bool:
        """Whether requests are answered."""
        return self.texts == "chat"

    @property
    def source_names(self) -> tuple[str, ...]:
        """Where directions may come from."""
        return self.sources or (("sentences", "replies") if self.chat else ("sentences",))

    @property
    def sinks(self) -> tuple[float, ...]:
        """Strengths at the first token of the grid of given ``alphas``."""
        if self.sink is not None:
            return self.sink
        return (6.0,) if self.operation == "add" else (0.0,)

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        if alphas is None:
            return None
        sink = info.data.get("sink")
        least = 0 if (info.data.get("operation") == "add" if sink is None else any(sink)) else 1e-9
        if not alphas or any(not least <= a <= 4 for a in alphas):
            raise ValueError(
                "alphas are fractions of the residual norm above 0 and at most 4 (useful: 0.05 to 0.4); 0 where 'sink' acts"
            )
        return alphas


def possible(config: StudySettings, model: LanguageModel) -> None:
    """Refuse layers that a model does not have.

    Raises:
        EmotionCircuitsError: naming the layers it has; chat of a model without a chat template.
    """
    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.model.chat import has_chat_template
    from emotion_circuits.model.layers import check_layers

    own = config.of(SteeringSettings)
    check_layers("steering.layers", own.layers, model.n_layers, model.name)
    check_layers("steering.raw_layers", own.raw_layers, model.n_layers, model.name)
    if own.chat and not has_chat_template(model):
        raise EmotionCircuitsError(
            f"steering.texts: {model.name} has no chat template, so that it cannot be asked; leave out 'chat'"
        )
