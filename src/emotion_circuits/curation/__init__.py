"""Is this corpus fit to carry a claim? Checks of rows and whole corpora, what the surface gives away, the data card."""

from emotion_circuits.curation.agreement import Agreement, agreement, agreement_of_set, labelled_twice
from emotion_circuits.curation.balance import Balance, balance
from emotion_circuits.curation.card import card_sections, write_card
from emotion_circuits.curation.checking import CheckedFile, Finding, Report, check_corpora, write_corpus
from emotion_circuits.curation.describing import Description, SetDescription, describe_corpora, telling_ngrams
from emotion_circuits.curation.duplicates import Duplicate, find_duplicates
from emotion_circuits.curation.rows import alignment_problems, row_problems
from emotion_circuits.curation.surface import Accuracy, across_groups, bag_of_words, length_only, punctuation_only
from emotion_circuits.curation.words import across_sets

__all__ = [
    "Accuracy",
    "Agreement",
    "Balance",
    "CheckedFile",
    "Description",
    "Duplicate",
    "Finding",
    "Report",
    "SetDescription",
    "across_groups",
    "across_sets",
    "agreement",
    "agreement_of_set",
    "alignment_problems",
    "bag_of_words",
    "balance",
    "card_sections",
    "check_corpora",
    "describe_corpora",
    "find_duplicates",
    "labelled_twice",
    "length_only",
    "punctuation_only",
    "row_problems",
    "telling_ngrams",
    "write_card",
    "write_corpus",
]
