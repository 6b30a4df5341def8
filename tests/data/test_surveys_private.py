"""Secrets and personal data: every kind is found, look-alikes are not, and nothing of it is ever repeated.

The tokens here are made up, and put together from parts so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import codes_of, found_in, pair, rows_of, survey

from rewardsmith.data.surveys.private import KINDS, Private, find_private, suspected, worth_a_look
from rewardsmith.records.files import to_json

LETTERS = string.ascii_letters + string.digits


def made_up(length: int, alphabet: str = LETTERS, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


REAL = {
    "private_key": f"-----BEGIN RSA PRIVATE {'KEY'}-----\n{made_up(120)}\n-----END RSA PRIVATE {'KEY'}-----",
    "aws_key": "AKIA" + made_up(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "github_token": "ghp_" + made_up(36),
    "slack_token": "xoxb-" + "123456789012-" + made_up(24),
    "openai_key": "sk-" + made_up(20) + "T3Blbk" + "FJ" + made_up(20, seed=2),
    "anthropic_key": "sk-ant-" + "api03-" + made_up(93) + "AA",
    "google_key": "AIza" + made_up(35),
    "hugging_face_token": "hf_" + made_up(34, string.ascii_letters),
    "stripe_key": "sk_live_" + made_up(24),
    "json_web_token": f"eyJ{made_up(30)}.eyJ{made_up(60, seed=3)}.{made_up(43, seed=4)}",
    "email": "jane.roe@uni-bonn.de",
    "phone": "(415) 867-2671",
    "card": "4539 1488 0343 6467",
    "iban": "FR14 2004 1010 0505 0001 3M02 606",
    "social_security": "536-90-4399",
}
MORE = {
    "github_token": ["github_pat_" + made_up(82), "gho_" + made_up(36)],
    "slack_token": ["https://hooks.slack.com/services/" + f"T{made_up(9)}/B{made_up(9)}/{made_up(24)}"],
    "openai_key": ["sk-proj-" + made_up(40) + "T3Blbk" + "FJ" + made_up(40, seed=2)],
    "email": ["Jane_Roe+x@mail-01.uni-bonn.co.uk", "<jroe@web.de>", "mailto:jane@web.de?subject=x", "jane@web.de."],
    "phone": [
        "+49 228 73 0000",
        "+4915112345678",
        "1-415-867-2671",
        "415.867.2671",
        "+1 (415) 867-2671",
        "+33 1 42 68 53 00",
    ],
    "card": ["4539148803436467", "3710 839834 56556", "6011954723955045", "5425-2334-3010-9903"],
    "iban": [
        "DE89370400440532013001"[:0] + "GB33BUKB20201555555555",
        "NO93 8601 1117 947",
        "MT84MALT011000012345MTLCAST001S, my account",
    ],
    "social_security": ["SSN: 536-90-4399."],
}
LOOK_ALIKES = [
    "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "x" * 36,
    "xoxb-your-token-here",
    "sk-...",
    "AIza" + "0" * 35,
    "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0." + made_up(43),
    "someone@example.com",
    "your@email.com",
    "user@host",
    "git@github.com",
    "@app.route('/x')",
    "icon@2x.png",
    "555-867-5309",
    "(415) 555-0123",
    "1-800-867-2671",
    "1234567890",
    "x = 415 - 867 - 2671",
    "3.14159265358979",
    "+1234567890",
    "4539 1488 0343 6468",  # Luhn's digit is wrong
    "4111 1111 1111 1111",
    "0.4539148803436467",
    "1609459200000",
    "9781861972712",
    "FR14 2004 1010 0505 0001 3M02 607",
    "DE89 3704 0044 0532 0130 00",  # everybody's example
    "123-45-6789",
    "000-12-3456",
    "2023-12-31",
    "192.168.178.101",
    "100 200 300 400 500",
    "472547338\n+960397912423686",
    "1000(1.01)^{36}+3750(1.0066667)^{36}",
    "your_email@gmail.com",
    "f(x) = 12 - 34 - 56 - 78",
]


def kinds_in(text: str) -> dict[str, int]:
    return dict(find_private(text, suspected(text)))


@pytest.mark.parametrize("code", REAL)
@pytest.mark.parametrize("around", ["{}", "My data: {}, as you asked.", "x\n{}\ny", '{{"key": "{}"}}', "({})"])
def test_every_kind_is_found_once(code, around):
    assert kinds_in(around.format(REAL[code])) == {code: 1}


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in MORE.items() for text in texts])
def test_other_spellings_are_found(code, text):
    assert kinds_in(text) == {code: 1}


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alikes_are_not_found(text):
    assert kinds_in(text) == {}
    assert kinds_in(f"It is {text}, said she.") == {}


def test_all_kinds_are_tested():
    assert set(REAL) == {kind.code for kind in KINDS}


def test_most_texts_are_not_worth_a_look():
    texts = ["", "Name river 12.", "In 1984, of 34 children 12.5 % did.", "a-b" * 6, "", "x" * 19, "1 " * 7]
    assert not worth_a_look(texts).any()
    assert worth_a_look([*texts * 30, "jane@web.de", *texts]).nonzero()[0].tolist() == [210]
    assert worth_a_look([]).tolist() == []


@pytest.mark.parametrize("text", [*REAL.values(), *(text for texts in MORE.values() for text in texts)])
def test_the_first_question_finds_every_kind_in_its_own_text(text):
    texts = ["", "Name river 12.", f"My data: {text}", "", text, "x"]
    assert worth_a_look(texts).tolist() == [False, False, True, False, True, False]
    assert worth_a_look([text]).all()


def test_several_are_counted():
    assert kinds_in("jane@web.de or joe@web.de, call +49 228 73 0000") == {"email": 2, "phone": 1}


@given(st.text(max_size=200), st.sampled_from(sorted(REAL)))
def test_the_cheap_question_never_hides_a_kind(text, code):
    whole = text + "\n" + REAL[code] + "\n" + text
    assert worth_a_look([text, whole, text]).tolist()[1]
    assert worth_a_look([whole]).all()
    assert find_private(whole, suspected(whole)) == find_private(whole, KINDS)


def test_rows_kinds_and_parts():
    rows = rows_of(
        [
            pair("Write to jane@web.de", "Done: jane@web.de, joe@web.de", "No."),
            pair("Hello?", "Hi.", "Yes."),
            pair("Which key?", REAL["aws_key"], f"{REAL['aws_key']} {REAL['card']}"),
        ]
    )
    surveyed = survey(Private, rows)
    assert codes_of(surveyed) == {"secret_in_text": [2], "personal_data": [0, 2]}
    secret, personal = (found_in(surveyed, code) for code in ("secret_in_text", "personal_data"))
    assert secret.detail(2) == "AWS access key in chosen; AWS access key in rejected"
    assert (personal.detail(0), personal.detail(2)) == (
        "e-mail address in prompt; e-mail address in chosen",
        "payment card number in rejected",
    )
    assert secret.remove.tolist() == [2]
    section = surveyed.section
    assert (section.pairs, section.secret_rows, section.personal_rows) == (3, 1, 2)
    found = {k.kind: (k.matches, k.rows, k.prompt_rows, k.chosen_rows, k.rejected_rows) for k in section.kinds}
    assert found == {"aws_key": (2, 1, 0, 1, 1), "email": (3, 1, 1, 1, 0), "card": (1, 1, 0, 0, 1)}
    assert section.looked_for == tuple(kind.title for kind in KINDS)


def test_what_matched_is_never_repeated(capfd, caplog):
    rows = rows_of([pair(f"p {text}", f"a {text}", "b") for text in REAL.values()])
    surveyed = survey(Private, rows)
    said = to_json(surveyed.section) + "".join(
        found.summary + "".join(found.detail(place) for place in found.places.tolist()) for found in surveyed.found
    )
    written = capfd.readouterr()
    for text in REAL.values():
        for part in (text, text[-8:]):
            assert part not in said + written.out + written.err + caplog.text


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("code", REAL)
def test_planted_rows_are_all_found_and_no_others(code, rate):
    draw = random.Random(f"{code}{rate}")
    pairs = [pair(f"Name river {n}.", f"The Loire, {n}.", f"Nantes, {n}.") for n in range(1000)]
    assert codes_of(survey(Private, rows_of(pairs))) == {}
    planted = sorted(draw.sample(range(1000), round(1000 * rate)))
    for place in planted:
        texts = [f"one {place}", f"two {place}", f"three {place}"]
        texts[draw.randrange(3)] += f"\n{REAL[code]}"
        pairs[place] = pair(*texts)
    surveyed = survey(Private, rows_of(pairs))
    group = next(kind.group for kind in KINDS if kind.code == code)
    assert codes_of(surveyed) == {{"secret": "secret_in_text", "personal": "personal_data"}[group]: planted}
    assert [(kind.kind, kind.rows) for kind in surveyed.section.kinds] == [(code, len(planted))]
