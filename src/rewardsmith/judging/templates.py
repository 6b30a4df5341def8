"""Prompt files: read, checked, hashed, filled.

    prompts = load_prompts(spec.prompts)         {"ranking": Prompt, "pairwise": Prompt, "rating": Prompt}
    prompts["ranking"].messages("text", {"conversation": …, "answers": …, "mark": …, "labels": …})

A file has sections, each under a line of its own: `--- system ---`, `--- user ---`, and one for each form of the reply,
`--- reply: text ---`, `--- reply: json ---`, `--- reply: token ---`; what stands above them is a comment. Names in
double braces are filled in once, so that braces in the material stay what they are. The files of this project lie in
`prompts/`; a user's own takes the place of one. A prompt is known by the SHA-256 of its file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from rewardsmith.errors import SpecError
from rewardsmith.spec import JudgePrompts
from rewardsmith.spec.section import nearest

Kind = Literal["ranking", "pairwise", "rating"]
Form = Literal["text", "json", "token"]
"""How a reply is written: reasoned text that ends with the verdict, a JSON object, or the verdict alone."""

KINDS: tuple[Kind, ...] = ("ranking", "pairwise", "rating")
BUILT_IN = "built in"

_FILLED = ("conversation", "answers", "mark", "labels", "reply")
_NEEDED = ("conversation", "answers", "reply")
_SECTIONS = ("system", "user", "reply: text", "reply: json", "reply: token")
_HEADING = re.compile(r"^--- (.+?) ---[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt file: where it came from, its hash, and its sections by name."""

    source: str
    sha256: str
    sections: Mapping[str, str]

    def messages(self, form: Form, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The chat messages of one question, for a reply of this form."""
        reply = _fill(self.sections[f"reply: {form}"], values)
        user = _fill(self.sections["user"], {**values, "reply": reply})
        system = self.sections.get("system", "")
        return [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": user}]

    def reply_form(self, form: Form, values: Mapping[str, str]) -> str:
        """What the prompt says about the reply: repeated where a first one could not be read."""
        return _fill(self.sections[f"reply: {form}"], values)


def load_prompts(spec: JudgePrompts) -> dict[Kind, Prompt]:
    """The three prompts: the spec's files, and those of this project in place of what it leaves out.

    Raises:
        SpecError: a file cannot be read, lacks a section or a name, or has one that nothing fills.
    """
    files: dict[Kind, str | None] = {kind: getattr(spec, kind) for kind in KINDS}
    return {kind: _built_in(kind) if path is None else _own(kind, path) for kind, path in files.items()}


def _built_in(kind: Kind) -> Prompt:
    text = resources.files(__package__).joinpath("prompts", f"{kind}.md").read_text(encoding="utf-8")
    return parse_prompt(text, source=BUILT_IN, where=f"judging/prompts/{kind}.md")


def _own(kind: Kind, path: str) -> Prompt:
    field = f"judge.prompts.{kind}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(
            f"{path!r} cannot be read: {reason}", where=field, fix="name a prompt file, or leave the line out"
        ) from error
    return parse_prompt(text, source=path, where=f"{path}, {field}")


def parse_prompt(text: str, *, source: str, where: str) -> Prompt:
    """A prompt from the text of its file.

    Raises:
        SpecError: a section or a name is missing or unknown.
    """
    parts = _HEADING.split(text)
    sections = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    for name in sections:
        if name not in _SECTIONS:
            raise SpecError(f"there is no section {name!r}", where=where, fix=nearest(name, _SECTIONS))
    missing = [name for name in _SECTIONS if name != "system" and not sections.get(name, "").strip()]
    if missing:
        raise SpecError(
            f"has no section {missing[0]!r}",
            where=where,
            fix=f"write a line `--- {missing[0]} ---` and the text under it; docs/judge.md shows a whole file",
        )
    named = [name for body in sections.values() for name in _NAME.findall(body)]
    for name in named:
        if name not in _FILLED:
            raise SpecError(f"nothing fills {{{{{name}}}}}", where=where, fix=nearest(name, _FILLED))
    for name in _NEEDED:
        if name not in _NAME.findall(sections["user"]):
            raise SpecError(
                f"its section 'user' has no {{{{{name}}}}}", where=where, fix=f"write {{{{{name}}}}} where it belongs"
            )
    return Prompt(source, hashlib.sha256(text.encode()).hexdigest(), sections)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _NAME.sub(lambda match: values.get(match[1], ""), text)
