"""Secrets and personal data in the texts: how many, of which kind and in which rows, and never the data itself.

    worth_a_look(texts)                   # (N,): False where none of it can be; microseconds a text
    kinds = suspected(text)               # kinds that may be there
    find_private(text, kinds)             # Counter({"email": 2}); never the text that matched

Neither a record nor a message nor a log line gets the text that matched: the row number is enough to find it.

A kind is a pattern and a proof that weeds out look-alikes. Secrets are tokens with a fixed mark (the patterns follow
gitleaks' rules, as do the ways of weeding out placeholders: the entropy of the token, and EXAMPLE in it). Personal data
are what has a check digit or an unmistakable shape: card numbers (Luhn, ISO/IEC 7812-1), IBANs (mod 97 and the
country's length, ISO 13616), US social security numbers, telephone numbers with separators or a country code, e-mail
addresses. Names, street addresses and IP addresses are not: nothing of a few lines tells them from fiction, examples
and version numbers.

Most texts have none of it, so the cheap question comes first, for many texts at once: is there an @, a word of twenty
letters and digits (all secrets have one), or nine digits close to each other? A pattern is tried where its mark is.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.survey import Found, Setting, Surveyed, Table
from rewardsmith.records.data import DataPrivate, PrivateKind
from rewardsmith.types import Conversation, PreferencePair

_FIELDS = ("prompt", "chosen", "rejected")


class Private:
    """Remembers 14 bytes for a row that has something: its place, and for each field which kinds."""

    def __init__(self, setting: Setting) -> None:
        del setting
        self._seen = 0
        self._places = array("q")
        # A bit for each kind; there are fewer than sixteen.
        self._kinds = array("H")
        self._matches: Counter[str] = Counter()

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Look into every text of the next rows."""
        pairs = [row.pair for row in rows]
        texts = ["\n".join(m.text for side in _sides(pair) for m in side) for pair in pairs]
        for number in np.flatnonzero(worth_a_look(texts)).tolist():
            kinds = suspected(texts[number])
            if kinds:
                self._look(self._seen + number, pairs[number], kinds)
        self._seen += len(rows)

    def finish(self, table: Table) -> Surveyed:
        """Two findings at most, and a `DataPrivate`."""
        places = np.array(self._places, dtype=np.int64)
        kinds = np.array(self._kinds, dtype=np.uint16).reshape(-1, len(_FIELDS))
        anywhere = np.bitwise_or.reduce(kinds, axis=1)
        rows = {group: anywhere & mask != 0 for group, mask in _GROUPS.items()}
        found = [
            _found("secret_in_text", "secret", places[rows["secret"]], kinds[rows["secret"]], fix=True),
            _found("personal_data", "personal", places[rows["personal"]], kinds[rows["personal"]], fix=False),
        ]
        section = DataPrivate(
            pairs=self._seen,
            secret_rows=int(rows["secret"].sum()),
            personal_rows=int(rows["personal"].sum()),
            kinds=tuple(self._counted(kind, kinds) for kind in KINDS if self._matches[kind.code]),
            looked_for=tuple(kind.title for kind in KINDS),
        )
        return Surveyed(found, section)

    def _look(self, place: int, pair: PreferencePair, kinds: Sequence[Kind]) -> None:
        found = [_in_side(side, kinds) for side in _sides(pair)]
        if any(found):
            self._places.append(place)
            self._kinds.extend(sum(_BITS[code] for code in side) for side in found)
            for side in found:
                self._matches.update(side)

    def _counted(self, kind: Kind, kinds: NDArray[np.uint16]) -> PrivateKind:
        has = kinds & _BITS[kind.code] != 0
        prompt, chosen, rejected = (int(count) for count in has.sum(axis=0))
        return PrivateKind(
            kind=kind.code,
            title=kind.title,
            group=kind.group,
            matches=self._matches[kind.code],
            rows=int(has.any(axis=1).sum()),
            prompt_rows=prompt,
            chosen_rows=chosen,
            rejected_rows=rejected,
        )


def _sides(pair: PreferencePair) -> tuple[Conversation, Conversation, Conversation]:
    return pair.prompt, pair.chosen, pair.rejected


def _in_side(side: Conversation, kinds: Sequence[Kind]) -> Counter[str]:
    found: Counter[str] = Counter()
    for message in side:
        found.update(find_private(message.text, kinds))
    return found


def _found(code: str, group: str, places: NDArray[np.int64], kinds: NDArray[np.uint16], *, fix: bool) -> Found:
    """`kinds` (R, 3) belongs to `places` (R,)."""

    def named(place: int) -> str:
        fields = kinds[int(np.searchsorted(places, place))] & _GROUPS[group]
        shown = (
            f"{', '.join(kind.title for kind in KINDS if mask & _BITS[kind.code])} in {field}"
            for field, mask in zip(_FIELDS, fields, strict=True)
            if mask
        )
        return "; ".join(shown)

    return Found(code, places, named, remove=places if fix else None)


Proof = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of secret or personal datum. `marks`: one of them stands in every text that has it (none: nine digits)."""

    code: str
    title: str
    group: Literal["secret", "personal"]
    pattern: re.Pattern[str]
    marks: tuple[str, ...] = ()
    proof: Proof = lambda found: True


_LONG = 20  # letters and digits in a row: an AWS key, the shortest secret
_MANY = 8  # digits after the first: a social security number
_CLOSE = 20  # characters from the first to the last of them: an account number in groups with letters
_BATCH = 64  # texts at once: they fit into the processor's cache
_IN_WORDS = set(b"-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TABLES = tuple(
    bytes(code in wanted for code in range(256)) for wanted in (set(range(256)) - _IN_WORDS, b"0123456789", b"@")
)


def worth_a_look(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts may have something, shape (N,): none of the others has."""
    parts = [_worth(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    return np.concatenate([np.zeros(0, dtype=np.bool_), *parts])


def _worth(texts: Sequence[str]) -> NDArray[np.bool_]:
    data = [text.encode() for text in texts]
    joined = b"\n".join([b"", *data, b""])
    breaks, digits, ats = (np.flatnonzero(np.frombuffer(joined.translate(table), np.bool_)) for table in _TABLES)
    # A long run of letters and digits, many digits close together, or an @: each kind has one of the three.
    seen = (
        breaks[1:][np.diff(breaks) > _LONG],
        digits[_MANY:][digits[_MANY:] - digits[:-_MANY] <= _CLOSE],
        ats,
    )
    # 1, since a line break stands before the first text.
    starts = np.cumsum([1, *(len(one) + 1 for one in data)])
    worth = np.zeros(len(texts), dtype=np.bool_)
    worth[np.searchsorted(starts[1:], np.concatenate(seen), side="right")] = True
    return worth


_SEPARATORS = b" -.()"
_DIGITS = b"000000000"
_DIGIT_MAP = bytes(ord("0") if chr(code) in "0123456789" else ord("x") for code in range(256))


def suspected(text: str) -> tuple[Kind, ...]:
    """Kinds that a text may have: all others it has not."""
    kinds = [kind for mark, kind in _BY_MARK.items() if mark in text]
    if _DIGITS in text.encode().translate(_DIGIT_MAP, _SEPARATORS):
        kinds.extend(_NUMBERS)
    return tuple(dict.fromkeys(kinds))


def find_private(text: str, kinds: Iterable[Kind]) -> Counter[str]:
    """How often each of some kinds stands in a text, by code."""
    found: Counter[str] = Counter()
    for kind in kinds:
        count = sum(1 for match in kind.pattern.finditer(text) if kind.proof(match[0]))
        if count:
            found[kind.code] = count
    return found


def _is_random(token: str) -> bool:
    """Three bits a character and no EXAMPLE: placeholders such as xxxx or 1234 repeat themselves."""
    counts = Counter(token).values()
    bits = -sum(count / len(token) * math.log2(count / len(token)) for count in counts)
    return bits >= 3.0 and "EXAMPLE" not in token.upper()


_NO_DOMAINS = {"example", "test", "invalid", "localhost", "local"}
_EXAMPLE_DOMAINS = {
    "example",
    "domain",
    "yourdomain",
    "mydomain",
    "email",
    "mail",
    "yourcompany",
    "company",
    "mycompany",
    "test",
}
_NO_NAMES = {"git", "user", "username", "you", "name", "email", "someone", "noreply", "no-reply"}


def _is_address(address: str) -> bool:
    """Not at a domain that is reserved for examples (RFC 2606), nor one that everybody writes for one."""
    name, _, domain = address.lower().rpartition("@")
    parts = domain.split(".")
    return (
        parts[-1] not in _NO_DOMAINS
        and not set(parts) & _EXAMPLE_DOMAINS
        and name not in _NO_NAMES
        and not name.startswith("your")
        and not domain.endswith((".png", ".jpg", ".gif", ".svg"))
    )


# Toll-free prefixes of North America, and 555, which is no area's.
_FREE = {"555", "800", "833", "844", "855", "866", "877", "888"}
_COUNTED = {"1234567890", "0123456789", "11234567890", "12345678", "123456789", "9876543210"}


def _is_phone(number: str) -> bool:
    """8 to 13 digits, not counted up; in North America neither free of charge nor 555, which fiction uses."""
    digits = _digits(number)
    if not 8 <= len(digits) <= 13 or len(set(digits)) < 3 or digits in _COUNTED:
        return False
    is_abroad = number.startswith("+") and not number.startswith("+1")
    local = digits[-10:]
    return is_abroad or (local[:3] not in _FREE and local[3:6] != "555")


_ISSUERS = re.compile(
    r"4\d{15}"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"  # American Express, Diners Club
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"  # Discover, JCB
)
_TEST_CARDS = {
    "4111111111111111", "4012888888881881", "4242424242424242", "5555555555554444",
    "5105105105105100", "2223003122003222", "378282246310005", "371449635398431", "6011111111111117",
    "6011000990139424", "3530111333300000", "3566002020360505", "30569309025904", "38520000023237",
}  # fmt: skip


def _is_card(number: str) -> bool:
    """An issuer's number range and length, and Luhn's check digit; not one of the published test numbers."""
    digits = _digits(number)
    if not _ISSUERS.fullmatch(digits) or digits in _TEST_CARDS or len(set(digits)) < 4:
        return False
    # Luhn: from the right every second digit is doubled, and the digits of the result are added.
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


_EXAMPLE_IBANS = {"GB82WEST12345698765432", "GB29NWBK60161331926819", "DE89370400440532013000"}
_IBAN_LENGTHS = {
    code: length
    for length, codes in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for code in codes.split()
}  # fmt: skip


def _is_iban(number: str) -> bool:
    """As many characters as the country has, and 1 modulo 97; not the examples that everybody copies."""
    length = _IBAN_LENGTHS.get(number[:2], 0)
    # The pattern may have taken the next word along: an account is as long as its country says.
    ends = [end for end in range(1, len(number) + 1) if len(number[:end].replace(" ", "")) == length]
    if not ends or number[ends[0] :][:1] not in ("", " "):
        return False
    account = number[: ends[0]].replace(" ", "")
    # ISO 13616: the first four characters go to the end, and A to Z stand for 10 to 35.
    is_valid = int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97 == 1
    return is_valid and account not in _EXAMPLE_IBANS


_NO_PERSONS = {"078-05-1120", "219-09-9999", "123-45-6789"}  # advertised, misused or counted up: nobody's


def _is_social_security(number: str) -> bool:
    return number not in _NO_PERSONS


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


_NO_WORD = r"(?<![\w.+-])"

KINDS: tuple[Kind, ...] = (
    Kind(
        "private_key",
        "private key",
        "secret",
        re.compile(r"-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----[\s\S]{64,}?KEY(?: BLOCK)?-----"),
        ("PRIVATE KEY",),
    ),
    Kind(
        "aws_key",
        "AWS access key",
        "secret",
        # Key ids are written in base32: A to Z and 2 to 7.
        re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
        ("AKIA", "ASIA", "ABIA", "ACCA"),
        _is_random,
    ),
    Kind(
        "github_token",
        "GitHub token",
        "secret",
        re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{82})\b"),
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        _is_random,
    ),
    Kind(
        "slack_token",
        "Slack token or webhook",
        "secret",
        re.compile(
            r"\bxox[abeoprs]-(?:\d-)?[0-9]{8,}-[0-9A-Za-z-]{20,}"
            r"|\bxapp-\d-[A-Z0-9]{8,}-\d{8,}-[a-z0-9]{20,}|hooks\.slack\.com/services/T\w{8,}/B\w{8,}/\w{20,}"
        ),
        ("xox", "xapp-", "hooks.slack.com"),
        _is_random,
    ),
    Kind(
        "openai_key",
        "OpenAI key",
        "secret",
        # T3BlbkFJ is base64 for OpenAI: its keys hold it in the middle.
        re.compile(r"\bsk-(?:(?:proj|svcacct|admin)-[\w-]{20,80}|[0-9A-Za-z]{20})T3BlbkFJ[\w-]{20,80}"),
        ("T3BlbkFJ",),
        _is_random,
    ),
    Kind(
        "anthropic_key",
        "Anthropic key",
        "secret",
        re.compile(r"\bsk-ant-(?:api|admin)\d\d-[\w-]{93}AA\b"),
        ("sk-ant-",),
        _is_random,
    ),
    Kind(
        "google_key",
        "Google API key",
        "secret",
        re.compile(r"\bAIza[\w-]{35}(?![\w-])"),
        ("AIza",),
        _is_random,
    ),
    Kind(
        "hugging_face_token",
        "Hugging Face token",
        "secret",
        re.compile(r"\bhf_[A-Za-z]{34}\b"),
        ("hf_",),
        _is_random,
    ),
    Kind(
        "stripe_key",
        "Stripe key",
        "secret",
        re.compile(r"\b[rs]k_(?:live|prod)_[0-9A-Za-z]{16,99}\b"),
        ("k_live_", "k_prod_"),
        _is_random,
    ),
    Kind(
        "json_web_token",
        "JSON web token",
        "secret",
        # eyJ is base64 for {", with which the header and the claims begin.
        re.compile(r"\beyJ[\w-]{14,}\.eyJ[\w-]{14,}\.[\w-]{20,}"),
        (".eyJ",),
        # The subject 1234567890 is that of the example on jwt.io.
        lambda found: _is_random(found) and not found.split(".")[1].startswith("eyJzdWIiOiIxMjM0NTY3ODkwI"),
    ),
    Kind(
        "email",
        "e-mail address",
        "personal",
        re.compile(r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
        ("@",),
        _is_address,
    ),
    Kind(
        "phone",
        "telephone number",
        "personal",
        re.compile(
            _NO_WORD + r"(?:\+?1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{4}(?![\d.-])"
            r"|(?<![\w+)}\]])\+[1-9]\d{0,2}(?:[ .-]?(?:\(\d{1,5}\)|\d{1,5})){2,6}(?!\d)"
        ),
        (),
        _is_phone,
    ),
    Kind(
        "card",
        "payment card number",
        "personal",
        re.compile(_NO_WORD + r"(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5}|\d{14,16})(?![\w-]|\.\d)"),
        (),
        _is_card,
    ),
    Kind(
        "iban",
        "bank account (IBAN)",
        "personal",
        re.compile(r"\b[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
        (),
        _is_iban,
    ),
    Kind(
        "social_security",
        "US social security number",
        "personal",
        # Never issued: areas 000, 666 and 900 to 999, group 00, serial number 0000.
        re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])"),
        (),
        _is_social_security,
    ),
)
"""All kinds, secrets first."""

_NUMBERS = tuple(kind for kind in KINDS if not kind.marks)
_BY_MARK: dict[str, Kind] = {mark: kind for kind in KINDS for mark in kind.marks}
_BITS = {kind.code: 1 << number for number, kind in enumerate(KINDS)}
_GROUPS = {group: sum(_BITS[kind.code] for kind in KINDS if kind.group == group) for group in ("secret", "personal")}

SECRET_IN_TEXT = Check(
    code="secret_in_text",
    severity="warning",
    title="Secrets",
    meaning="A text has what looks like a private key, an access key or a token of a service.",
    why="Whoever gets the data, a report with example rows or a copy of the run gets the secret with it.",
    fix="revoke the secret, then leave the rows out or write a placeholder in its place",
    of="kept",
)
PERSONAL_DATA = Check(
    code="personal_data",
    severity="note",
    title="Personal data",
    meaning="A text has an e-mail address, a telephone, payment card, bank account or social security number.",
    why="The law may forbid to keep it or pass it on; and a model that rewards answers with such data invites more.",
    fix="write placeholders in their place, or leave the rows out",
    of="kept",
)
