"""A tokenizer is read from its files, or refused."""

from __future__ import annotations

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.tokenizing import load_tokenizer


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="no tokenizer there"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(EmotionCircuitsError, match="is not a tokenizer"):
        load_tokenizer(tmp_path)
