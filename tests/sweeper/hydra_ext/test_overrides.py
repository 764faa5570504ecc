"""Override texts: Hydra reads back what is written, with its types; a shell takes it to a command line unchanged."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import strategies as st

from mdaf.sweeper.hydra_ext.overrides import (
    choice_of,
    compact,
    hydra_value,
    key_of,
    meant,
    override_text,
    same,
    unquoted,
    words,
)
from tests.fuzz import fuzz, parts

HARD = [
    *(
        "[UNK]",
        "null",
        "1",
        "1e-3",
        "true",
        "inf",
        "nan",
        "",
        " ",
        "a b",
        "a,b",
        "x=y",
        "it's",
        '"',
        "\\",
        "a\\'b",
        "'a'",
    ),
    *(
        "${p.y}",
        "${a:${b}}",
        "\\${p}",
        "aü",
        "日本",
        "a\nb",
        "a\\\n",
        "~x",
        "+x",
        "@",
        "{a: 1}",
        "mdaf_bst",
        "/srv/x.y:1",
    ),
]
LETTERS = st.one_of(
    st.sampled_from(list("ab1 \t\n'\"\\,=:;{}[]()$#~+-*?!.ü/@%&|<>_e")),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
STRINGS = st.one_of(st.sampled_from(HARD), st.text(LETTERS, max_size=8))
KEYS = st.text("abc_-./ :=,()[]{}\\$1", min_size=1, max_size=5)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), STRINGS)
VALUES = st.recursive(
    PLAIN, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(KEYS, v, max_size=3)), max_leaves=6
)


def read(text: str) -> Any:
    """The value of an override, by Hydra's own parser."""
    return OverridesParser.create().parse_override(text).value()


def writable(value: Any) -> bool:
    """Whether Hydra's grammar has a text for a value: it has none for some keys of mappings."""
    try:
        hydra_value(value)
    except ValueError:
        return False
    return True


@parts
def test_hydra_reads_any_value_back_as_it_was(part: int) -> None:
    def check(value: Any) -> None:
        assert repr(read(f"key={hydra_value(value)}")) == repr(value)

    fuzz(VALUES.filter(writable), check, part, few=150)


@parts
def test_any_choice_reaches_job_and_rerun_as_the_value_that_was_typed(part: int) -> None:
    def check(value: Any) -> None:
        typed = OverridesParser.create().parse_override(f"key={hydra_value(value)},other")
        recorded = choice_of(typed.value().list[0])  # type: ignore[union-attr]
        assert recorded is None or isinstance(recorded, bool | int | float | str)
        assert repr(meant(recorded)) == repr(value)
        assert repr(read(override_text("key", recorded))) == repr(value)
        assert repr(read(compact(override_text("key", recorded)))) == repr(value)

    fuzz(VALUES.filter(writable), check, part, few=100)


@parts
def test_a_line_for_a_shell_is_read_rightly_with_its_quotes_and_without(part: int) -> None:
    def check(value: Any) -> None:
        override = f"key={hydra_value(value)}"
        line = words([override, "other=1"])
        typed, other = shlex.split(line)
        assert (repr(read(typed)), other) == (repr(value), "other=1")
        if not re.search(r"[^\S ]|  ", line):  # what splitting at spaces loses
            assert unquoted(re.split(" ", line)) == [typed, other]

    fuzz(VALUES.filter(writable), check, part, few=100)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_both_ways_of_a_shell_end_with_the_same_arguments(shell: str) -> None:
    overrides = ["head=[16,8]", "embedding={item:16,other:4}", "+a.b=4", "~x", "view='[UNK]'", "path='a b'", "p=${p.y}"]
    script = 'line=$(cat); printf "%s\\n" $line; echo --; eval "printf \'%s\\n\' $line"'
    ran = subprocess.run([shell, "-c", script], input=words(overrides), capture_output=True, text=True, check=True)
    split, evaluated = ran.stdout.split("--\n")
    arguments = unquoted(split.splitlines())
    assert arguments == evaluated.splitlines()
    assert [read(a) for a in arguments if "=" in a] == [read(o) for o in overrides if "=" in o]


@pytest.mark.parametrize(
    ("typed", "recorded", "value"),
    [
        ("\\[UNK\\]", "'[UNK]'", "[UNK]"),  # a string that reads as a list
        ("'null'", "'null'", "null"),
        ("null", "null", None),
        ("[8,4]", "[8,4]", [8, 4]),
        ("{item: 16}", "{item:16}", {"item": 16}),
        ("[str(1)]", "['1']", ["1"]),  # Hydra's own text of it would read as a number
        ("gate", "gate", "gate"),
        ('"${p.y}"', '"${p.y}"', "${p.y}"),
    ],
)
def test_a_study_records_a_choice_as_a_text_that_tells_its_type(typed: str, recorded: str, value: Any) -> None:
    choice = OverridesParser.create().parse_override(f"x={typed},other").value().list[0]  # type: ignore[union-attr]
    assert choice_of(choice) == recorded
    assert same(meant(recorded), value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        *(
            ("++a.b=1", "a.b"),
            ("~a", "a"),
            ("model@second=din", "model@second"),
            ("hydra/sweeper=study", "hydra/sweeper"),
        ),
        *(("head[0]=1", "head[0]"), ("a\\=b=1", "a\\=b"), ("not an override", "not an override")),
    ],
)
def test_the_key_of_an_override_is_what_hydra_takes_for_it(override: str, key: str) -> None:
    assert key_of(override) == key


def test_values_are_the_same_by_type_and_number() -> None:
    assert same(1, 1.0)
    assert same(float("nan"), float("nan"))
    assert same({"a": [1, None]}, {"a": (1.0, None)})
    assert not same(True, 1)
    assert not same("1", 1)
    assert not same({"a": 1}, {"a": 1, "b": 2})


def test_a_mapping_whose_key_has_no_text_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="a mapping with the key '1'"):
        hydra_value({"1": 2})
