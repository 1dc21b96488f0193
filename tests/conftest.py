"""What every test shares."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _speeds_of_tests_are_not_the_users(tmp_path_factory):
    from emotion_circuits.study import speeds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speeds, "_file", lambda: tmp_path_factory.getbasetemp() / "speeds.json")
        yield
