"""Emotion directions: fitted on train, chosen on validation, reported on test; their geometry; reading with them."""

from emotion_circuits.directions.baseline import WordLabels, WordReader, static_embeddings, word_readers, words_of
from emotion_circuits.directions.choosing import ReaderChoice, fit_reader, reader_report
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.evaluating import (
    auroc,
    choose_directions,
    choose_layer,
    evaluate_directions,
    held_out_report,
    null_accuracies,
)
from emotion_circuits.directions.extractor_table import compare_extractors
from emotion_circuits.directions.extractors import EXTRACTORS, Examples, extract
from emotion_circuits.directions.fitting import fit_directions, fit_extractors
from emotion_circuits.directions.geometry import (
    chance_cosine,
    cosines_by_layer,
    norms_by_layer,
    shuffled_vectors,
    split_half_stability,
)
from emotion_circuits.directions.reading import Reader, pooled_states, save_reader
from emotion_circuits.directions.subspace_tables import subspace_reliability, subspaces_between
from emotion_circuits.directions.trace_files import load_trace, save_trace
from emotion_circuits.directions.trace_questions import averaged_traces
from emotion_circuits.directions.trace_reading import reading_components
from emotion_circuits.directions.trace_sets import average_attention, average_components
from emotion_circuits.directions.trace_text import Trace, trace
from emotion_circuits.directions.two_models import Comparison, compare_models

__all__ = [
    "EXTRACTORS",
    "Comparison",
    "DirectionSet",
    "Examples",
    "Reader",
    "ReaderChoice",
    "Trace",
    "WordLabels",
    "WordReader",
    "auroc",
    "average_attention",
    "average_components",
    "averaged_traces",
    "chance_cosine",
    "choose_directions",
    "choose_layer",
    "compare_extractors",
    "compare_models",
    "cosines_by_layer",
    "evaluate_directions",
    "extract",
    "fit_directions",
    "fit_extractors",
    "fit_reader",
    "held_out_report",
    "load_trace",
    "norms_by_layer",
    "null_accuracies",
    "pooled_states",
    "reader_report",
    "reading_components",
    "save_reader",
    "save_trace",
    "shuffled_vectors",
    "split_half_stability",
    "static_embeddings",
    "subspace_reliability",
    "subspaces_between",
    "trace",
    "word_readers",
    "words_of",
]
