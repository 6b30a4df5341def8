"""Who may ask a server: tokens and where they come from, names and addresses, and what is refused before it starts."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_world import TOKEN

from rewardsmith.errors import UserError
from rewardsmith.pipeline.commands.serve import ServeOptions, choose_access, model_folders
from rewardsmith.serving.access import Access, is_loopback, read_tokens
from rewardsmith.serving.limits import Refusal

VARIABLE = "REWARDSMITH_TOKEN"


@given(st.text(max_size=40))
def test_no_header_opens_but_the_token(given_text: str) -> None:
    access = Access((TOKEN,))
    for header in (given_text, f"Bearer {given_text}", f"Basic {given_text}"):
        if given_text.strip() == TOKEN:
            continue
        with pytest.raises(Refusal):
            access.check_token({"authorization": header})


def test_each_of_several_tokens_opens() -> None:
    access = Access((TOKEN, "another-token-here"))
    for token in access.tokens:
        access.check_token({"authorization": f"Bearer {token}"})
    Access().check_token({})


OWN = ["localhost", "LOCALHOST.:1", "127.0.0.1:80", "127.9.9.9", "[::1]:80", "[::ffff:127.0.0.1]", "rm", "RM.:9"]
ADDRESSES = ["192.168.1.1", "203.0.113.5:80", "[2001:db8::1]:80", "0.0.0.0"]  # noqa: S104
NONE = ["::1", "[::1", "[::1]x", "a@rm", "rm:x", "rm/", "rm, rm", "r\tm", "rm\n", "evil.example", "127.0.0.1.evil"]


@pytest.mark.parametrize("addresses", [False, True])
@pytest.mark.parametrize("host", [*OWN, *ADDRESSES, *NONE])
def test_hosts_that_are_ours(host: str, addresses: bool) -> None:
    access = Access(hosts=frozenset({"rm"}), addresses=addresses)
    if host in OWN or (addresses and host in ADDRESSES):
        access.check_host({"host": host})
        assert access.without_tokens().addresses is addresses
    else:
        with pytest.raises(Refusal) as raised:
            access.check_host({"host": host})
        assert raised.value.status == (400 if host == "rm, rm" else 421)
    with pytest.raises(Refusal) if host not in OWN else nullcontext():
        access.check_host({"host": "rm", "origin": f"http://{host}"})


@given(st.from_regex(r"[a-z0-9.@:/\-]{1,20}", fullmatch=True))
def test_a_name_that_nobody_allowed_is_refused(host: str) -> None:
    import ipaddress

    name = host.rsplit(":", 1)[0].rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if name == "localhost":
            return
        with pytest.raises(Refusal):
            Access().check_host({"host": host})


def test_a_star_allows_all_names() -> None:
    Access(hosts=frozenset({"*"})).check_host({"host": "any.example", "origin": "https://other.example"})


def test_tokens_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_tokens(None, VARIABLE) == ()
    monkeypatch.setenv(VARIABLE, f" {TOKEN}\n")
    assert read_tokens(None, VARIABLE) == (TOKEN,)
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n\nsecond-token-of-two\n")
    assert read_tokens(file, VARIABLE) == (TOKEN, "second-token-of-two")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("short\n", "can be guessed"),
        ("ünïcödé-tökens-are-bad\n", "can be guessed"),
        (None, "cannot be read"),
    ],
)
def test_a_token_file_that_cannot_be_used(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        read_tokens(file, VARIABLE)
    assert content is None or not content or content.strip() not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "rm.internal")),  # noqa: S104
    ],
)
def test_only_loopback_may_be_open_without_being_told_so(
    host: str, loopback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_loopback(host) is loopback
    monkeypatch.delenv(VARIABLE, raising=False)
    options = ServeOptions(models=("m",), host=host)
    if loopback:
        assert choose_access(options).tokens == ()
        assert choose_access(options).addresses is False
    else:
        with pytest.raises(UserError, match="everyone who reaches"):
            choose_access(options)
    assert choose_access(ServeOptions(models=("m",), host=host, no_auth=True)).tokens == ()
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert choose_access(options).tokens == (TOKEN,)
    assert choose_access(options).addresses is not loopback
    with pytest.raises(UserError, match="would ignore it"):
        choose_access(ServeOptions(models=("m",), host=host, no_auth=True))


def test_models_get_their_names() -> None:
    wanted = ["a=x/y", "runs/helpful/model", "some/folder", "b=runs/c=d/model"]
    assert model_folders(wanted) == {
        "a": "x/y",
        "helpful": "runs/helpful/model",
        "folder": "some/folder",
        "b": "runs/c=d/model",
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["a=x", "a=y"], "two models are called 'a'"),
        (["../x=y"], "cannot be the name"),
        (["a b=y"], "cannot be the name"),
    ],
)
def test_names_that_cannot_be_used(wanted: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        model_folders(wanted)
