"""JSON and YAML that could be taken in two ways, or unfold without end, are refused with their line."""

from __future__ import annotations

import pytest

from emotion_circuits.documents import UnreadableError, loads, parse_yaml, read_document
from emotion_circuits.errors import EmotionCircuitsError

# Ten lines that unfold to 10^10 words, as "billion laughs" does in XML.
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGED = "a0: &a0 {k0: 1}\n" + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: *a{i - 1}}}\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (BOMB, 1, "unfolds to more values"),
        (MERGED, 1, "unfolds to more values"),
        ("a: &a [*a]", 1, "an alias that refers to itself"),
        ("a: &a {b: *a}", 1, "an alias that refers to itself"),
        ("a: *nowhere", 1, "is not YAML: found undefined alias"),
        ("seed: 1\nmodel: m\nseed: 2", 3, "holds the key 'seed' twice"),
        ("a: {b: 1, c: 2, b: 3}", 1, "holds the key 'b' twice"),
        ("a: 1\n'a': 2", 2, "holds the key 'a' twice"),
        ("a: !!python/name:os.system", 1, "could not determine a constructor"),
        ("a:\n  b: !!python/object/apply:os.system [ls]", 2, "could not determine a constructor"),
        ("a: !mine 1", 1, "could not determine a constructor"),
        ("a: !!int x", 1, "is not YAML"),
        ("a: !!float [1]", 1, "is not YAML"),
        ("a: !!bool x", 1, "is not YAML"),
        ("a: !!timestamp x", 1, "could not determine a constructor"),
        ("a: !!binary x", 1, "could not determine a constructor"),
        ("a: !!set {b}", 1, "could not determine a constructor"),
        ("? [a, b]\n: 1", 1, "unhashable key"),
        ("a: 1\n---\na: 2", 2, "found another document"),
        ("a: .inf", 1, "no finite number"),
        ("a: .NaN", 1, "no finite number"),
        ("a: 1e999", 1, "no finite number"),
        (f"a: {'9' * 5000}", 1, "a whole number of 5000 digits"),
        ("[" * 5000, 1, "nested more than 64 deep"),
        ("- " * 200, 1, "nested more than 64 deep"),
        ("a: \x07", 1, "the character U+0007 may not stand in it"),
        ('a: "\\ud83d"', 1, "half of a character"),
        ("a:\n\t- b", 2, "is not YAML"),
        ("a: " + "x" * 300_000, 1, "longer than 256 KiB"),
    ],
)
def test_yaml_that_is_doubtful_is_refused_with_its_line(text, line, message):
    with pytest.raises(UnreadableError) as refused:
        parse_yaml(text)
    assert message in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 12:30", "12:30"),  # sixty-based numbers of YAML 1.1
        ("a: 2024-01-01", "2024-01-01"),
        ("a: 1e-3", 0.001),
        ("a: 010", 10),
        ("a: 0o10", 8),
        ("a: 1_000", "1_000"),
        ("a: ''", ""),
        ("a: ~", None),
        ("language: no", "no"),  # Norwegian, which YAML 1.1 denies
        ("a: [Yes, off, y, true, FALSE]", ["Yes", "off", "y", True, False]),
    ],
)
def test_yaml_means_what_a_person_reads(text, value):
    assert list(parse_yaml(text).values()) == [value]


def test_what_was_read_once_is_nobodys_to_change():
    parse_yaml("a: {b: [1]}")["a"]["b"].append(2)
    assert parse_yaml("a: {b: [1]}") == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "holds the key 'a' twice"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": 1e999}', "no finite number"),
        ('{"a": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ('"\\ud83d"', "half of a character"),
        ("{} {}", "goes on behind the end"),
        ("", "is not JSON"),
    ],
)
def test_json_that_is_doubtful_is_refused(text, message):
    with pytest.raises(UnreadableError, match=message):
        loads(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "latin-1"])
def test_settings_of_another_encoding_are_named_with_their_line(encoding, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_bytes("# Zürich\nseed: 1\n".encode(encoding))
    with pytest.raises(EmotionCircuitsError, match=r"study\.yaml:1: is (not UTF-8|UTF-16|UTF-32|not YAML)"):
        read_document(file)
