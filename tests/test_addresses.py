"""Addresses that can be used, and secrets that stand in no text, however they are spelled."""

from __future__ import annotations

import base64
import html
import json
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith import addresses
from rewardsmith.addresses import Redactor, fault_of_address, fault_of_secret, keep_hidden, redacted, without_userinfo

KEY = "sk-ab/c+d\"e&f=g'h_123-XYZ~0987"


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in addresses.SECRET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(addresses, "_named", set())


SPELLINGS = {
    "as it is": KEY,
    "JSON": json.dumps(KEY)[1:-1],
    "JSON in JSON": json.dumps(json.dumps(KEY))[3:-3],
    "JSON of PHP": json.dumps(KEY)[1:-1].replace("/", "\\/"),
    "JSON, every character": "".join(f"\\u{ord(one):04X}" for one in KEY),
    "URL": urllib.parse.quote(KEY),
    "URL, all": urllib.parse.quote(KEY, safe=""),
    "URL twice": urllib.parse.quote(urllib.parse.quote(KEY, safe="")),
    "HTML": html.escape(KEY),
    "HTML, numbers": "".join(f"&#{ord(one)};" for one in KEY),
    "repr": repr(KEY)[1:-1],
    "repr of bytes": repr(KEY.encode())[2:-1],
    "hexadecimal": KEY.encode().hex(),
    "cut at the end": KEY[:20],
    "cut at the beginning": KEY[9:],
    "within": "x" + KEY + "x",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_secret_is_found_in_every_spelling(name: str) -> None:
    spelled = SPELLINGS[name]
    wanted = "before x[key]x after" if name == "within" else "before [key] after"
    assert Redactor((KEY,)).clean(f"before {spelled} after") == wanted


@given(st.binary(max_size=7), st.binary(max_size=7), st.booleans())
def test_a_secret_is_found_within_base64(before: bytes, after: bytes, of_urls: bool) -> None:
    encode = base64.urlsafe_b64encode if of_urls else base64.b64encode
    found = Redactor((KEY,)).clean(encode(before + KEY.encode() + after).decode())
    kept = found.partition("[key]")
    assert kept[1] == "[key]"
    # what is left holds the neighbours, and less than a character of the secret at either side
    assert len(kept[0]) <= 4 * (len(before) // 3) + 3
    assert len(kept[2]) <= 4 * (len(after) // 3) + 7


@given(st.text(max_size=200))
def test_texts_without_a_secret_stay_as_they_are(text: str) -> None:
    assert Redactor((KEY,)).clean(text) == text
    assert redacted(text.replace("@", "")) == text.replace("@", "")


@pytest.mark.parametrize(
    "text", ["\\" * 400_000, "%25" * 150_000, "&#000" * 100_000, KEY[:11] * 20_000, KEY[:20] * 5_000]
)
def test_no_text_takes_long(text: str) -> None:
    started = time.monotonic()
    Redactor((KEY,)).clean(text)
    assert time.monotonic() - started < 5.0  # some tenths of a second; what is quadratic takes minutes


def test_the_secrets_of_the_environment_and_those_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghij\n")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("REWARDSMITH_TOKEN", "short")
    keep_hidden("a named secret")
    assert redacted("Illegal header value b'Bearer hf_abcdefghij\\n'") == "Illegal header value b'Bearer [key]'"
    assert redacted("0123456789abcdef, short, a%20named+secret") == "[key], short, [key]"
    assert redacted("http://any:TOKEN@host/x and s3://me@host") == "http://[key]@host/x and s3://[key]@host"
    assert redacted("mail me@host, http://host/@x") == "mail me@host, http://host/@x"
    assert redacted("http://me@firm.com:PASSWORD@host/x") == "http://[key]@host/x"
    assert without_userinfo("http://me@firm.com:PASSWORD@host/x?to=a@b") == "http://host/x?to=a@b"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        *(
            (url, "")
            for url in ("http://h:8000/v1", "https://a.b-c.d_e/", "http://[::1]:1", "http://127.0.0.1", "http://h.")
        ),
        *((url, "") for url in ("http://münchen.de/v1", "http://user:pw@h", "http://h:", "HTTP://H")),
        *((f"http://h:{port}/v1", "the port is not") for port in ("0", "65536", "99999", "x", "-1", "1.5", "٣")),
        *((url, "brackets hold no IPv6") for url in ("http://[::1", "http://::1]", "http://[x]")),
        *(
            (url, "no machine can be called so")
            for url in ("http://a..b", f"http://{'a' * 64}", "http://a%20b", "http://a,b")
        ),
        *((url, "names no machine") for url in ("http://", "http:///v1", "http://:80")),
        *((url, "does not begin with") for url in ("", "h:80", "ftp://h", "file:///etc/passwd", "//h", "javascript:x")),
        *(
            (url, "a space or a control")
            for url in ("http://a b", "http://a\n", "http://a\t", "http://a\x00", "http://a/\x7f")
        ),
        ("http://h/é", "others than ASCII"),
    ],
)
def test_what_is_wrong_with_an_address(url: str, fault: str) -> None:
    found = fault_of_address(url)
    assert found.startswith(fault) or fault in found
    assert bool(found) == bool(fault)


@given(st.text())
def test_any_text_is_an_address_or_has_a_fault(text: str) -> None:
    for url in (text, f"http://{text}", f"http://h:{text}"):
        assert fault_of_address(url) or urllib.parse.urlsplit(url).hostname


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", ""),
        (KEY, ""),
        *(
            (value, "begins or ends with a space or a line end")
            for value in (f"{KEY}\n", f" {KEY}", f"{KEY}\r\n", f"\t{KEY}")
        ),
        *((f"{KEY}{one}{KEY}", "holds a space") for one in ("\n", " ", "é", "\x00", "\x7f", "\u200b", "\ud800")),
    ],
)
def test_what_is_wrong_with_a_secret(value: str, fault: str) -> None:
    found = fault_of_secret(value)
    assert found.startswith(fault)
    assert bool(found) == bool(fault)
    assert KEY not in found
