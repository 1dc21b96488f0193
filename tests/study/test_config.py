import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.study.config import PROFILES, StudyConfig, load_config


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_profiles_are_valid(profile):
    assert isinstance(load_config(profile), StudyConfig)


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(EmotionCircuitsError, match=r"no profile 'fast'.*quick"):
        load_config("fast")


def test_yaml_changes_the_profile_and_overrides_change_the_yaml(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("model: tiny\nsteering:\n  alphas: [0.1, 0.2]\n  samples: 3\n", encoding="utf-8")
    config = load_config("quick", file=file, overrides={"steering.samples": 2, "seed": 5})
    assert (config.model, config.steering.alphas, config.steering.samples, config.seed) == ("tiny", (0.1, 0.2), 2, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: x\n", r"study\.yaml: modle: unknown key; known: .*model"),
        ("steering:\n  alpha: [0.1]\n", r"steering\.alpha: unknown key; known: layers, .*alphas"),
        ("steering:\n  samples: many\n", r"steering\.samples: .*integer"),
        ("steering:\n  layers: [0.5, 2.5]\n", r"steering\.layers: 2\.5: give a relative depth"),
        ("steering:\n  alphas: [0]\n  sink: [0]\n", r"steering\.alphas: alphas are fractions"),
        ("steering:\n  operation: clamp\n  sink: [6]\n", r"only 0 with operation 'clamp'"),
        ("emotions: [neutral]\n", r"emotions: name at least one emotion"),
        ("directions:\n  poolings: [last, mean]\ncapture:\n  poolings: [last]\n", "mean not among capture.poolings"),
        ("- a\n", "must hold keys and values"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_bad_yaml_says_which_key(tmp_path, text, message):
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match=message):
        load_config("quick", file=file)


def test_missing_yaml(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="cannot be read"):
        load_config("quick", file=tmp_path / "none.yaml")
