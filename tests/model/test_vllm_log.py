"""What a vLLM that ended has to say, read out of its log."""

import pytest

from emotion_circuits.model.vllm.service import cause_in


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("", ""),
        ("Loading\nReady", "Ready"),
        (
            "(Worker pid=5) ERROR RuntimeError: CPU Generator does not use offset\n"
            "(APIServer) ERROR vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.\nShutting down",
            "(Worker pid=5) ERROR RuntimeError: CPU Generator does not use offset",
        ),
        ("ERROR EngineDeadError: see above", "ERROR EngineDeadError: see above"),
        ("RuntimeError: x\n(pid=3) emotion-circuits: no list of blocks\nTypeError: y", "emotion-circuits: no list of blocks"),
    ],
)  # fmt: skip
def test_the_cause_is_the_plugins_word_or_the_first_error_not_its_news(log, cause):
    assert cause_in(log) == cause
