"""Characters that nobody wrote, differences that nobody sees: found where they stand, and nowhere else."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import pair

from rewardsmith.data import checks
from rewardsmith.types import Message, PreferencePair

NOTES = (checks.IDENTICAL_FOLDED, checks.CONTROL_CHARACTER, checks.REPLACEMENT_CHARACTER, checks.MOJIBAKE)


def noted(one: PreferencePair) -> dict[str, str]:
    """What the checks say of a pair, by code."""
    said = {check.code: check.note(one) for check in NOTES} | {
        checks.NUL_CHARACTER.code: checks.NUL_CHARACTER.pair(one)
    }
    return {code: detail for code, detail in said.items() if detail}


def misread(text: str, encoding: str = "windows-1252") -> str:
    return text.encode().decode(encoding)


GOOD = "Ça va? “Naïve café” – 10 € für 5 °C… 日本語, Привет, שלום, 😀 👩‍👩‍👧 ½ × ² ≤ ∑ → │ ™ © ¿Qué? œuvre, Þór, ß."


@pytest.mark.parametrize(
    "text",
    [GOOD, "tab\tnewline\nreturn\r\n", "(ง'⌣')ง", "ÀÉÎÕÜ", "¡Hola! ¿Sí?", "œ", "Œuvres complètes", "± 0.5 µm", "CAFÉ™"],
)
def test_sound_texts_show_nothing(text):
    assert noted(pair(text, text + " a", text + " b")) == {}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (misread("It’s fine."), "'â€™s' at character 2 was '’'"),
        ("first line\n" + misread("naïve"), "'Ã¯ve' at character 13 was 'ï'"),
        (misread("Zoë sagt: „ja“", "latin-1"), "at character 2 was 'ë'"),
        (misread("Привет", "windows-1251"), "was 'П'"),
        (misread("日本語"), "was '日'"),
        (misread(misread("naïve")), "was 'ï'"),
    ],
)
def test_mojibake_is_shown_with_what_it_was(text, detail):
    found = noted(pair("p", text, "b"))
    assert set(found) == {"mojibake"}
    assert found["mojibake"].startswith("chosen: ")
    assert found["mojibake"].endswith(detail)


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("a\0b", "nul_character", "NUL at character 1"),
        ("\x1b[31mred", "control_character", "U+001B at character 0"),
        ("page\x0cbreak", "control_character", "U+000C at character 4"),
        ("rub\x7fout", "control_character", "U+007F at character 3"),
        ("é\x08", "control_character", "U+0008 at character 1"),
        ("lost \ufffd", "replacement_character", "U+FFFD at character 5"),
    ],
)
@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected"])
def test_stray_characters(text, code, detail, field):
    found = noted(pair(**{"prompt": "p", "chosen": "a", "rejected": "b", field: text}))
    assert found[code] == f"{field}: {detail}"
    assert set(found) - {code} <= {"control_character"}  # NUL is one of them, but its rows are left out


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("The Loire.", "The Loire.\n"),
        ("The  Loire.", "The Loire."),
        ("a\n\n- b\n- c", "a - b - c"),
        ("a\u00a0b", "a b"),
        ("caf\u00e9", "cafe\u0301"),
        ("x " * 200 + "end", "x\n" * 200 + "end"),
    ],
)
def test_responses_that_differ_in_layout_only(chosen, rejected):
    assert noted(pair("p", chosen, rejected)) == {
        "identical_folded": "chosen and rejected differ in whitespace or Unicode form only"
    }


@pytest.mark.parametrize(("chosen", "rejected"), [("ab", "a b"), ("A b", "a b"), ("x" * 100, "x" * 99), ("", "a")])
def test_responses_that_differ(chosen, rejected):
    assert noted(pair("p", chosen, rejected)) == {}


def test_responses_of_other_turns_differ():
    ask, one, two = Message("user", "And?"), Message("assistant", "a"), Message("assistant", "a ")
    assert noted(PreferencePair((ask,), (one,), (two, ask, one))) == {}
    assert noted(PreferencePair((ask,), (one, ask, one), (two, Message("tool", "And?"), two))) == {}
    assert set(noted(PreferencePair((ask,), (one, ask, one), (two, ask, two)))) == {"identical_folded"}


def folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


@given(
    st.text(st.sampled_from("ab é\u0301\n\t\u00a0"), max_size=90), st.text(st.sampled_from("ab é\u0301\n"), max_size=90)
)
def test_the_look_at_the_beginning_changes_nothing(one, other):
    for rejected in (other, one.replace(" ", "\n "), unicodedata.normalize("NFD", one)):
        assert ("identical_folded" in noted(pair("p", one, rejected))) == (folded(one) == folded(rejected))


FAULTS = {
    "nul_character": "\0",
    "control_character": "\x1b[0m",
    "replacement_character": "caf\ufffd",
    "mojibake": misread("It’s a naïve café"),
}


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("code", [*FAULTS, "identical_folded"])
def test_planted_rows_are_all_found_and_no_others(code, rate):
    draw = random.Random(f"{code}{rate}")
    pairs = [pair(f"Name river {n}. {GOOD}", f"The Loire, {n}.", f"Nantes, {n}.") for n in range(1000)]
    assert [n for n, one in enumerate(pairs) if noted(one)] == []
    planted = sorted(draw.sample(range(1000), round(1000 * rate)))
    for place in planted:
        sides = [f"The Loire, {place}.", f"Nantes, {place}."]
        side = draw.randrange(2)
        sides[side] = sides[1 - side] + "\n" if code == "identical_folded" else f"{sides[side]} {FAULTS[code]} {place}"
        pairs[place] = pair(f"Name river {place}.", *sides)
    assert [n for n, one in enumerate(pairs) if code in noted(one)] == planted
    assert {c for one in pairs for c in noted(one)} - {"control_character"} <= {code}


@given(st.text(max_size=60))
def test_no_text_breaks_a_check(text):
    noted(pair(text, text, text + "x"))
