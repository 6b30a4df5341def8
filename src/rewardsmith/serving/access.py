"""Who may ask: a token as Bearer or as HTTP Basic, and the names under which this server may be addressed.

    access = Access(tokens=("…",), hosts=frozenset({"rm.internal"}), addresses=True)
    access.check_host(headers); access.check_token(headers)          # Refusal 400, 401, 403, 421

Basic is there because OpenRLHF's client sends no headers of its own: the token travels in the URL's userinfo
(`http://any:TOKEN@host:8000/get_reward`). Tokens are compared by their SHA-256 in constant time, all of them.

A page of another site that a browser on this machine shows can send requests to 127.0.0.1, under a name that its owner
points there (DNS rebinding). So a name in `Host` must be known, and an address must be this machine's own (127.0.0.1,
[::1]). Where others may ask (`addresses`), any address is accepted there: which ones lead here, past bridges and port
mappings, is not known, and an address needs no name server. The same pages send `Origin`: it must be of this machine or
one of the names, an address of another machine is another site.

Nothing here needs the extra `serve`: `rewardsmith open` asks the same of its requests.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rewardsmith.addresses import keep_hidden
from rewardsmith.errors import UserError
from rewardsmith.records.bounded import read_bounded
from rewardsmith.serving.limits import Refusal

LOCAL = frozenset({"localhost"})
# Of the 64 characters that `secrets.token_urlsafe` draws from, 16 are 96 bits.
LEAST_TOKEN = 16
_AUTHORITY = re.compile(r"[\w.\-]+(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?", re.ASCII)
_CHALLENGE = {"www-authenticate": 'Bearer realm="rewardsmith", Basic realm="rewardsmith", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class Access:
    """The tokens that open the server (none: it is open), and the names and addresses in `Host` beside this machine's.

    `addresses`: any address in `Host` is accepted, because the server listens beyond this machine.
    """

    tokens: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    addresses: bool = False
    _digests: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digests", tuple(_digest(token) for token in self.tokens))

    def without_tokens(self) -> Access:
        """The same rules, with the tokens' digests alone: for another process."""
        other = Access(hosts=self.hosts, addresses=self.addresses)
        object.__setattr__(other, "_digests", self._digests)
        return other

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse names of other sites.

        Raises:
            Refusal: `Host` is missing or doubled (400) or not ours (421), or `Origin` is another site's (403).
        """
        host = headers.get("host")
        # `_Visit` puts the values of a doubled header together with a comma.
        if not host or "," in host:
            raise Refusal(
                400, "host_missing", "the Host header is missing, or stands twice", fix="send Host: ADDRESS:PORT"
            )
        name = _host_name(host)
        if not (self._knows(name) or (self.addresses and _is_address(name))):
            raise Refusal(
                421, "unknown_host", "the Host header names another site", fix="start the server with --allow-host NAME"
            )
        origin = headers.get("origin")
        if origin is not None and not self._knows(_origin_name(origin)):
            raise Refusal(
                403, "unknown_origin", "a page of another site asks", fix="start the server with --allow-host NAME"
            )

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without a token.

        Raises:
            Refusal: 401.
        """
        if not self._digests:
            return
        # Digests are equally long, so that the time of a comparison does not tell a token's length.
        given = [_digest(secret) for secret in _secrets(headers.get("authorization", ""))]
        matches = [hmac.compare_digest(one, other) for one in given for other in self._digests]
        if not any(matches):
            raise Refusal(
                401,
                "unauthorized",
                "the token is missing or wrong",
                fix="send Authorization: Bearer TOKEN, or http://any:TOKEN@host/",
                headers=dict(_CHALLENGE),
            )

    def _knows(self, name: str | None) -> bool:
        return name is not None and ("*" in self.hosts or name in self.hosts or is_loopback(name))


def read_tokens(file: Path | None, variable: str) -> tuple[str, ...]:
    """Tokens of a file, one a line, or of an environment variable; none where neither is given.

    Raises:
        UserError: the file cannot be read, is empty, or a token can be guessed.
    """
    if file is not None:
        try:
            text = read_bounded(file).decode("utf-8")
            found = tuple(line.strip() for line in text.splitlines() if line.strip())
        except (OSError, ValueError) as error:
            raise UserError(
                "the token file cannot be read", where=str(file), fix="name a readable text file"
            ) from error
        if not found:
            raise UserError("the token file is empty", where=str(file), fix="write a token into it, one a line")
        where = str(file)
    else:
        value = os.environ.get(variable, "").strip()
        found, where = ((value,) if value else ()), f"${variable}"
    if any(len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() for token in found):
        raise UserError(
            f"a token has fewer than {LEAST_TOKEN} characters, or others than printable ASCII: it can be guessed",
            where=where,
            fix='make one with: python -c "import secrets; print(secrets.token_urlsafe())"',
        )
    for token in found:
        keep_hidden(token)
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host in LOCAL
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
    return bool((mapped or address).is_loopback)


def _secrets(authorization: str) -> list[str]:
    """What an Authorization header may hold as the token: of Basic, the password or the name."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return [value]
    if scheme.lower() != "basic":
        return []
    try:
        name, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except ValueError:  # no base64, or no UTF-8
        return []
    # http://TOKEN@host/ makes the token the name, http://any:TOKEN@host/ the password.
    return [name, password]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _host_name(host: str) -> str | None:
    """The name or address of `name:port`; None where it is neither."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    # urlsplit drops tabs and line ends, and takes a comma (two headers, put together) for a part of a name
    if not _AUTHORITY.fullmatch(host) or parts.username is not None or not parts.hostname:
        return None
    # A name may end with the dot of the root, and case does not count.
    return parts.hostname.rstrip(".").lower()


def _origin_name(origin: str) -> str | None:
    """The name or address of `http://name:port`; None where it is none, as `null`."""
    scheme, separator, host = origin.partition("://")
    return _host_name(host) if separator and scheme.lower() in ("http", "https") else None


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True
