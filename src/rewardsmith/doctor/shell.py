r"""Old programs, flags and keys: shell commands under any launcher, and YAML.

    hits = scan_shell(text, applied)
    hits = scan_yaml(text, applied)                                  # raises yaml.YAMLError
    for command in commands_in(text): [word.value for word in command]

Programs are `trl`, `openrlhf.cli.*`, RewardBench, verl, vLLM. One is found wherever it stands in a command, so that
`deepspeed`, `torchrun`, `ray job submit --` and `srun` do not matter; a command that only prints or installs is none. A
flag is looked at only behind the program it belongs to.

Shell text is read as commands made of words, each with its place; enough of the grammar to find flags, and no more.
Known: quotes, `\` before a line break, comments, `;`, `&&`, `|`, here-documents (their lines are commands too: that is
how OpenRLHF's examples write theirs), arrays and strings in variables that a command then names.

YAML is the configuration files of TRL, accelerate, verl and vLLM, and commands inside any (jobs, pods, workflows). The
keys of a file tell which program it is for; in any other file only the commands are looked at. Keys are read by their
place, so `reward_model.strategy` is one thing and `strategy` another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import yaml

from rewardsmith.doctor.rules import Applied, Edit, Hit, Rule, each_once
from rewardsmith.records.bounded import BoundedLoader

_TOKEN = re.compile(
    r"""(?P<join>\\\r?\n|[ \t\r]+)
      | (?P<comment>\#[^\n]*)
      | (?P<heredoc><<-?[ \t]*(?:'[^'\n]+'|"[^"\n]+"|\\?[\w.-]+))
      | (?P<redirect>\d*(?:<<<|>>|>&|<&|[<>])&?)
      | (?P<array>[A-Za-z_]\w*\+?=\()
      | (?P<break>[\n;|&()]+)
      | (?P<word>(?:
            \\[^\n] | \\\n | \$?'[^']*' | \$?"(?:\\.|[^"\\])*" | \$\((?:[^()]|\([^()]*\))*\) | `[^`]*` | \$\{[^}\n]*\}
          | [^\s;|&()<>'"`\\]
        )+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
_NAMED = re.compile(r"\"?\$\{?([A-Za-z_]\w*)(?:\[[@*]\])?\}?\"?$")


@dataclass(frozen=True)
class Word:
    """A word: its text without quotes, as written, and its span."""

    value: str
    start: int
    end: int


Command = tuple[Word, ...]


def commands_in(text: str) -> list[Command]:
    """All commands of a script in order; a variable that holds words stands for them, at the place where they stand."""
    variables: dict[str, Command] = {}
    commands = _Reader(text, variables).commands()
    return [whole for command in commands if (whole := _expanded(command, variables))]


@dataclass
class _Reader:
    """What has been read of the script so far: the words of the open command, an open array, bodies still to come."""

    text: str
    variables: dict[str, Command]
    words: list[Word] = field(default_factory=list)
    array: str | None = None
    pending: list[str] = field(default_factory=list)
    skip: bool = False
    at: int = 0

    def commands(self) -> Iterator[Command]:
        """Read token by token; a break ends a command, and the line break after a `<<` starts its body."""
        while (match := _TOKEN.match(self.text, self.at)) is not None:
            self.at = match.end()
            if match.lastgroup == "break":
                yield from self._break(match)
            else:
                self._token(match)
        yield from self._finished()

    def _token(self, match: re.Match[str]) -> None:
        kind, written = match.lastgroup, match[0]
        if kind == "word":
            if not self.skip:
                self.words.append(Word(_unquoted(written), match.start(), match.end()))
            self.skip = False
        elif kind == "redirect":
            # The word behind a redirection is a file's name and no argument.
            self.skip = True
        elif kind == "heredoc":
            self.pending.append(written.lstrip("<-").strip(" \t'\"\\"))
        elif kind == "array":
            self.array, self.words = written.rstrip("(+="), []

    def _break(self, match: re.Match[str]) -> Iterator[Command]:
        if self.array is not None:
            if ")" in match[0]:
                self.variables[self.array], self.words, self.array = tuple(self.words), [], None
            return
        yield from self._finished()
        if "\n" in match[0] and self.pending:
            self.at = match.start() + match[0].index("\n") + 1
            for mark in self.pending:
                start, end, self.at = _heredoc(self.text, self.at, mark)
                inner = _Reader(self.text[start:end], self.variables)
                yield from (_moved(command, start) for command in inner.commands())
            self.pending = []

    def _finished(self) -> Iterator[Command]:
        """The open command, unless it is an assignment of a string of words, kept for the command that names it."""
        words, self.words, self.skip = self.words, [], False
        if len(words) == 1 and (assigned := _ASSIGNED.fullmatch(self.text[words[0].start : words[0].end])):
            quoted = assigned[2][:1] in ('"', "'")
            start = words[0].start + assigned.start(2) + quoted
            inner = _Reader(self.text[start : words[0].end - quoted], {})
            if parts := tuple(word for command in inner.commands() for word in command):
                self.variables[assigned[1]] = _moved(parts, start)
        elif words:
            yield tuple(words)


def _heredoc(text: str, at: int, mark: str) -> tuple[int, int, int]:
    """Start and end of the body, and where the line after its end mark begins."""
    end = re.compile(rf"^[\t ]*{re.escape(mark)}[ \t\r]*$", re.MULTILINE).search(text, at)
    return (at, end.start(), end.end()) if end else (at, len(text), len(text))


def _moved(command: Command, by: int) -> Command:
    return tuple(replace(word, start=word.start + by, end=word.end + by) for word in command)


def _expanded(command: Command, variables: Mapping[str, Command]) -> Command:
    """The words of variables in place of their names; a command that names none is itself."""
    words: list[Word] = []
    for word in command:
        named = _NAMED.match(word.value)
        words += variables.get(named[1], (word,)) if named else (word,)
    return tuple(words)


def _unquoted(word: str) -> str:
    return re.sub(r"\\\r?\n", "", word).replace('"', "").replace("'", "")


_NOT_RUN = {"echo", "printf", "pip", "pip3", "conda", "git", "cd", "grep", "apt-get", "cat", "rm", "ls", "#"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class _Program:
    """A program in a command: what a rule calls it, its own words, and those behind it."""

    words: Command
    arguments: Command


def scan_shell(text: str, applied: Sequence[Applied]) -> list[Hit]:
    """Every old program and flag of a script, in the order of the text."""
    return each_once(hit for command in commands_in(text) for hit in scan_command(text, command, applied))


def scan_command(text: str, command: Command, applied: Sequence[Applied]) -> Iterator[Hit]:
    """The hits of one command, whose words lie in `text`."""
    first = next((word.value for word in command if not _ASSIGNMENT.match(word.value)), "")
    if first.rpartition("/")[2] in _NOT_RUN:
        return
    for rule, severity in applied:
        for name in rule.commands:
            program = _find(name, command)
            if program is None:
                continue
            if not rule.flags:
                yield Hit(rule, severity, " ".join(word.value for word in program.words), "", program.words[0].start)
            for index in range(len(program.arguments)):
                yield from _flag(text, (rule, severity), program, index)


def _find(name: str, command: Command) -> _Program | None:
    """Where a command runs the program that a rule names; modules also by their path, repositories by theirs."""
    parts = name.split()
    for at in range(len(command) - len(parts) + 1):
        words = command[at : at + len(parts)]
        if all(_is(part, word.value) for part, word in zip(parts, words, strict=True)):
            return _Program(words, command[at + len(parts) :])
    return None


def _is(name: str, word: str) -> bool:
    owner, mark, path = name.rpartition(":")
    if path.endswith(".py"):
        pattern = rf"(.*/)?{re.escape(path)}"
        return bool(re.fullmatch(pattern, word)) and (not mark or owner in word.replace("-", "").lower())
    if "." in name and "/" in word:
        return word.endswith(f"{name.replace('.', '/')}.py")
    return word == name or (name == "trl" and word.endswith("/trl"))


def _flag(text: str, applied: Applied, program: _Program, index: int) -> Iterator[Hit]:
    (rule, severity), words = applied, program.arguments
    word = words[index]
    name, equals, given = word.value.partition("=")
    # Hydra puts + or ++ before keys that it adds.
    old = name.lstrip("+")
    # Hydra's overrides have no dashes, and always a `=`.
    if old not in rule.flags or (not old.startswith("-") and not equals):
        return
    values = [] if equals else _values(words, index)
    if rule.value and not re.search(rule.value, given if equals else " ".join(one.value for one in values[:1])):
        return
    new = rule.flags[old]
    edits = _edits(text, rule, word, new, values) if new else ()
    yield Hit(rule, severity, old, new, word.start, edits, command=program.words[0].start)


def _values(words: Command, index: int) -> list[Word]:
    """The words up to the next flag."""
    values = []
    for word in words[index + 1 :]:
        if word.value.startswith("--"):
            break
        values.append(word)
    return values


def _edits(text: str, rule: Rule, word: Word, new: str, values: Sequence[Word]) -> tuple[Edit, ...]:
    """The flag's name replaced where it stands; a flag that became two takes its values along to the second."""
    written = text[word.start : word.end]
    name = re.match(r"['\"]?\+*([\w.-]+)", written)
    if name is None:
        return ()
    start, end = word.start + name.start(1), word.start + name.end(1)
    flags = [new] if rule.words else new.split()
    edits = [Edit(start, end, flags[0])]
    rest, at = written[name.end(1) :], values[-1].end if values else word.end
    same = text[values[0].start : at] if values else ""
    edits += [Edit(at, at, f" {flag}{rest}" + (f" {same}" if same else "")) for flag in flags[1:]]
    return tuple(edits)


_Keys = frozenset[str]
_TRL_SIGNS = frozenset({"model_name_or_path", "dataset_name", "datasets", "output_dir", "per_device_train_batch_size"})
_OTHERS = frozenset({"stage", "finetuning_type", "base_model", "adapter", "sft", "template"})
"""Keys that LLaMA-Factory and axolotl have beside the same names."""

_VLLM_SIGNS = frozenset(
    {"tensor-parallel-size", "max-model-len", "gpu-memory-utilization", "served-model-name", "max-num-seqs"}
)
"""Options of `vllm serve` that a file of `--config` has beside `model`; underscores are hyphens to it."""

_UNSET = "tag:yaml.org,2002:null"

DIALECTS: dict[str, Callable[[_Keys], bool]] = {
    "accelerate": lambda keys: bool(keys & {"distributed_type", "compute_environment"}),
    "verl": lambda keys: "actor_rollout_ref" in keys or {"reward_model", "trainer", "data"} <= keys,
    "vllm": lambda keys: "model" in keys and bool({key.replace("_", "-") for key in keys} & _VLLM_SIGNS),
    "trl": lambda keys: len(keys & _TRL_SIGNS) >= 2 and not keys & _OTHERS,
}
"""By the name that rules use: whether a file with these top-level keys is one."""


def scan_yaml(text: str, applied: Sequence[Applied]) -> list[Hit]:
    """Every old key and every old flag of a command, in the order of the text.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    hits: list[Hit] = []
    for document in yaml.compose_all(text, Loader=BoundedLoader):
        if isinstance(document, yaml.MappingNode):
            keys = frozenset(str(key.value) for key, _ in document.value)
            dialects = {name for name, claims in DIALECTS.items() if claims(keys)}
            hits += _keys(document, "", [one for one in applied if one[0].yaml in dialects])
        if document is not None:
            hits += _commands(text, document, applied)
    return each_once(hits)


def _keys(mapping: yaml.MappingNode, above: str, applied: Sequence[Applied]) -> Iterator[Hit]:
    siblings = {str(key.value) for key, _ in mapping.value}
    for key, value in mapping.value:
        path, start = f"{above}{key.value}", key.start_mark.index
        for rule, severity in applied:
            if path in rule.keys and value.tag != _UNSET:
                new = rule.keys[path]
                at = start + (1 if key.style in ("'", '"') else 0)
                # A new name that is there already is not written a second time.
                fixes = (Edit(at, at + len(str(key.value)), new),) if new and new not in siblings else ()
                yield Hit(rule, severity, path, new, start, fixes)
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, f"{path}.", applied)


def _commands(text: str, node: yaml.Node, applied: Sequence[Applied]) -> Iterator[Hit]:
    """Commands in scalars (as they are written, line by line) and in lists of words."""
    if isinstance(node, yaml.ScalarNode):
        start, end = node.start_mark.index, node.end_mark.index
        if node.tag == "tag:yaml.org,2002:str" and " " in node.value:
            quoted = node.style in ("'", '"')
            start, end = start + quoted, end - quoted
            yield from (hit.shifted(start) for hit in scan_shell(text[start:end], applied))
    elif isinstance(node, yaml.SequenceNode):
        words = [part for part in node.value if isinstance(part, yaml.ScalarNode)]
        command = tuple(Word(str(one.value), one.start_mark.index, one.end_mark.index) for one in words)
        yield from scan_command(text, command, applied)
        for part in node.value:
            yield from _commands(text, part, applied)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _commands(text, value, applied)
