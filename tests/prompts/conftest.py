"""Rows and files of rows."""

from corpus_cases import corpus, row  # noqa: F401
