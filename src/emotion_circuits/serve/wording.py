"""What the studio says: a sentence by the name that the page's scripts and ``data-say`` know it under."""

from __future__ import annotations

from emotion_circuits.language import N_, gap, say, speaking

__all__ = ["WORDS", "words"]

WORDS = {
    # the head
    "title": N_("Emotion Circuits studio"),
    "skip": N_("Skip to the prompt"),
    "language": N_("Language"),
    "theme": N_("Appearance"),
    "theme-system": N_("as the system"),
    "theme-light": N_("light"),
    "theme-dark": N_("dark"),
    "key-why": N_("This server asks for a key. It stays in this tab and is gone when the tab is closed."),
    "key": N_("Key"),
    "key-use": N_("Use this key"),
    "key-wrong": N_("The server does not accept this key."),
    # what is to be written
    "write-title": N_("Write"),
    "mode": N_("What the model does"),
    "mode-continue": N_("continue a text"),
    "mode-chat": N_("answer in a chat"),
    "no-chat": N_("This model has no chat template."),
    "prompt-continue": N_("Beginning of a text"),
    "prompt-chat": N_("Your message"),
    "prompt-keys": N_("Ctrl + Enter writes, Esc stops."),
    "readings": N_("colour every token by its reading"),
    "blind": N_("blind: hide which answer is steered until I have chosen"),
    "options": N_("Length, sampling, seed"),
    "max-tokens": N_("Tokens at most"),
    "temperature": N_("Temperature (0: greedy)"),
    "top-p": N_("Top p"),
    "seed": N_("Seed"),
    "seed-about": N_("Both answers are drawn with the same seed. An empty one is drawn anew each time."),
    "go": N_("Write both answers"),
    "stop": N_("Stop"),
    "anew": N_("New conversation"),
    "anew-done": N_("The next message begins a new conversation."),
    "say-something": N_("Give the model something to begin with."),
    "blind-needs-dose": N_("A blind comparison needs a dose: move a slider first."),
    "writing": N_("Both answers are being written."),
    "written": N_("Both answers are written."),
    "written-blind": N_("Both answers are written. Which is better?"),
    "not-written": N_("Not both answers could be written."),
    # doses
    "tone-title": N_("Tone"),
    "tone-about": N_(
        "Dose 1 is the strongest push that the run found within its bound on fluency; 0 changes nothing. Under each slider: what "
        "the run measured at the strengths that it tried, with 95 % intervals."
    ),
    "dose": N_("dose {dose}"),
    "dose-of": N_("Dose of {value}"),
    "dose-figure": N_("Dose of {value}, as a figure"),
    "own-dose": N_("the run's choice: {dose}"),
    "outside": N_("Beyond the validated range: nothing was measured here."),
    "no-range": N_(
        "No strength that the run tried kept perplexity within {bound} times the unsteered, so there is no dose."
    ),
    "beyond": N_("allow doses beyond the validated range, and negative ones"),
    "beyond-warning": N_(
        "Beyond doses from 0 to 1 the run vouches for nothing: texts may fall apart, and a negative dose need not be the "
        "opposite tone."
    ),
    "zero": N_("All doses to 0"),
    "curve-effect": N_("change of the value's probability"),
    "curve-cost": N_("perplexity ratio; line: bound"),
    "curve-label": N_("Dose and response of {value}. {points}"),
    "curve-point": N_("dose {dose}: probability {effect}, perplexity ratio {cost}, {n} openings"),
    "curve-none": N_("Nothing was measured by dose."),
    "curve-nearest": N_(
        "Measured nearest, at dose {dose}: probability changes by {effect}, perplexity ratio {cost} ({n} validation openings)."
    ),
    "dose-zero": N_("At 0 nothing is changed."),
    "curve-first": N_(
        "There the first token was pushed by {first} (hollow dot); a dose scales that push too."
    ),
    "presets": N_("Presets"),
    "preset": N_("Preset"),
    "preset-own": N_("{value}, the run's choice"),
    "preset-use": N_("Use"),
    "preset-drop": N_("Delete"),
    "preset-name": N_("Name"),
    "preset-keep": N_("Keep these doses"),
    "preset-kept": N_("Kept as “{name}”."),
    "preset-used": N_("The preset's doses are set."),
    "preset-left": N_("Set, but for what this run has no dose of: {values}."),
    "elsewhere": N_("Use this setting elsewhere"),
    "form": N_("As"),
    "form-vector": N_("control vector"),
    "copy": N_("Copy"),
    "download": N_("Save as a file"),
    "copied": N_("Copied."),
    "copy-marked": N_("This browser lets no page copy here; the text is marked, copy it with Ctrl + C."),
    "vector-llama": N_("For llama.cpp, which pushes all tokens alike."),
    "vector-first": N_("The run pushes the first token otherwise; this file cannot carry that."),
    "vector-whole": N_("All that the run pushes."),
    "vector-none": N_("All doses are 0: there is no vector to write."),
    # answers
    "answers-title": N_("Answers"),
    "no-answers": N_("Answers come here, the latest first."),
    "colour-by": N_("Colour by"),
    "colour-strongest": N_("the strongest value"),
    "legend-about": N_(
        "Stronger colour: the state that wrote the token lies further beyond the reader's threshold; none: it does not lie "
        "beyond it."
    ),
    "readings-table": N_("Readings as a table"),
    "token": N_("token"),
    "round-continue": N_("{n}. A text continued"),
    "round-chat": N_("{n}. A turn of a chat; each side goes on from its own answers"),
    "side-base": N_("Without steering"),
    "side-steered": N_("Steered"),
    "side-hidden": N_("Answer {letter}"),
    "stopped": N_("Stopped."),
    "empty": N_("The model ended the text at once."),
    "verdict": N_("Which answer is better?"),
    "better-a": N_("A is better"),
    "better-b": N_("B is better"),
    "better-none": N_("Neither is"),
    "preferred-base": N_("You preferred the answer without steering."),
    "preferred-steered": N_("You preferred the steered answer."),
    "preferred-tie": N_("You preferred neither."),
    "acted": N_("Steering acted"),
    "not-acted": N_("Nothing was pushed"),
    "not-steered": N_("All doses were 0: both answers are the model's own."),
    "acted-on": N_(
        "{value}, layer {layer}: {n} tokens pushed, mean projection {before} → {after} residual norms"
    ),
    "acted-first": N_("{value}, layer {layer}, first token: projection {before} → {after} residual norms"),
    "left-out": N_("{n} tokens of the chat template were left alone"),
    "expected": N_("What the run measured, on test openings"),
    "expected-effect": N_(
        "{value} at dose {dose}: {metric} changes by {change}; of {n} openings a share of {wrong} moves the wrong way"
    ),
    "expected-cost": N_("{value}: perplexity ratio {cost}"),
    "expected-none": N_("{value}: nothing was measured"),
    "other-metrics": N_("Other metrics"),
    "metric-share": N_("share of texts classed as the value"),
    "metric-probability": N_("probability of the value"),
    "metric-words": N_("share of texts with a word of the value"),
    "metric-vader": N_("sentiment (VADER)"),
    "warnings": N_("Where this answer leaves what was measured"),
    # what stays in the browser
    "kept-title": N_("Kept in this browser"),
    "kept-about": N_("Presets, preferences and history stay here until you delete them; nothing is sent anywhere."),
    "preferences": N_("Preferences from blind comparisons"),
    "tally": N_("{n} given: steered {steered}, without steering {base}, neither {tie}."),
    "history": N_("History"),
    "again": N_("Use this prompt and these doses"),
    "save-json": N_("Save as JSON"),
    "save-csv": N_("Save as CSV"),
    "delete-all": N_("Delete all"),
    "delete-preferences": N_("Delete all preferences of this browser?"),
    "delete-history": N_("Delete the history of this browser?"),
}  # fmt: skip

_NAMES = {"value-name": "{value}", "value-dose": "{value} {dose}"}
"""Alike in every language: a value's name comes translated."""


def words(code: str) -> dict[str, str]:
    """All of it in a language.

    Args:
        code: of the language.

    Raises:
        EmotionCircuitsError: no such language.
    """
    with speaking(code):
        return {name: say(text) for name, text in WORDS.items()} | _NAMES | {"gap": gap()}
