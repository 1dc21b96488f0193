"""The page about TransformerLens' names is the code's table."""

import re
from pathlib import Path

from emotion_circuits.model.hook_names import HOOK_NAMES, WITHOUT_SITE

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")


def test_the_table_of_names_is_the_codes():
    assert dict(re.findall(r"^\| `blocks\.LAYER\.(\S+)` \| `(\w+)` \|$", PAGE, re.M)) == HOOK_NAMES


def test_the_table_of_what_has_no_site_is_the_codes():
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| `(\S+)` \|$", PAGE, re.M)
    assert {hook: (why, near) for hook, why, near in rows} == WITHOUT_SITE
