"""The doctor against released wheels: every rule's range, and what it finds in scripts that were published.

    python bench/doctor_wheels.py WHEELS --save

WHEELS is a folder of wheels, as `pip download --no-deps --only-binary=:all: trl==0.28.0` writes them; the more versions
of a package, the closer a range is held. Nothing in them is imported: names are read from their source.

For each rule some wheel before its range must have the old name, and the first wheel of the range must not; where a
new name is given, that wheel must have it. A name counts as there if its module defines, imports or lists it, an
argument if the class or its bases in the same package declare it, a flag if the program adds it. Rules about values,
methods and keys of dictionaries cannot be judged so, and were read by hand. The findings below were checked by hand.
What the doctor cannot follow in these scripts: `model_args` is an unannotated parameter of `main` in TRL's, so that
`model_args.trust_remote_code` (gone from ModelConfig in 1.7.0) is not found there.
"""

from __future__ import annotations

import argparse
import ast
import re
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import yaml
from packaging.version import Version

from rewardsmith.doctor import Rule, applied_rules, load_rules, scan_text
from tables import about, bench_parser, markdown_table, publish

SCANNED = {"trl": ("0.28.0", "trl/scripts/"), "openrlhf": ("0.9.5", "openrlhf/cli/")}
"""Package → the wheel whose scripts are scanned, and the folder in it."""

TRL_COMMANDS = {name: f"{name.upper()}Config" for name in ("sft", "dpo", "kto", "grpo", "rloo")} | {
    "reward": "RewardConfig"
}


INHERITED = {"report_to", "use_liger_kernel", "--use_liger_kernel"}
"""Fields of transformers' TrainingArguments that rules about TRL write."""
_TRAINING = {"transformers/training_args.py", "transformers/trainer.py"}


class Wheel:
    """The sources of one wheel by module path; `a/b.py` as a.b."""

    def __init__(self, path: Path) -> None:
        self.version = Version(path.name.split("-")[1])
        self._archive = zipfile.ZipFile(path)
        names = self._archive.namelist()
        self.files = {
            re.sub(r"^[^/]+\.data/purelib/", "", name): name for name in names if name.endswith((".py", ".yaml"))
        }

    def text(self, file: str) -> str:
        """The content of a file."""
        return self._archive.read(self.files[file]).decode("utf-8", "replace")

    @cache  # noqa: B019 - a wheel lives as long as the bench
    def tree(self, file: str) -> ast.Module:
        """The parsed source of a file."""
        return ast.parse(self.text(file))

    def module_file(self, module: str) -> str | None:
        """The file of a module, or None."""
        base = module.replace(".", "/")
        return next((name for name in (f"{base}.py", f"{base}/__init__.py") if name in self.files), None)

    def has(self, full: str) -> bool:
        """Whether a full name is a module, or a name in one."""
        if self.module_file(full):
            return True
        module, _, name = full.rpartition(".")
        file = self.module_file(module)
        if file is None:
            return False
        return name in self._names(file) or (module == "transformers" and name in self._lazy_names())

    @cache  # noqa: B019
    def _names(self, file: str) -> frozenset[str]:
        names: set[str] = set()
        for node in ast.walk(self.tree(file)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Assign):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
                if "_import_structure" in ast.unparse(node.targets[0]):
                    names |= _strings(node.value)
            elif isinstance(node, ast.Call) and "_import_structure" in ast.unparse(node.func):
                names |= _strings(node)
        return frozenset(names)

    @cache  # noqa: B019
    def _lazy_names(self) -> frozenset[str]:
        """What transformers ≥ 4.52 exports beside its first file: the `__all__` of its auto classes."""
        names: set[str] = set()
        for file in self.files:
            if file.startswith("transformers/models/auto/"):
                for listed in re.findall(r"^__all__ \+?= \[(.*?)\]", self.text(file), re.MULTILINE | re.DOTALL):
                    names |= set(re.findall(r"['\"](\w+)['\"]", listed))
        return frozenset(names)

    def takes(self, owner: str, argument: str) -> bool | None:
        """Whether a class (by its last name) has an argument; None if the wheel has no such class."""
        classes = self._classes().get(owner)
        return None if classes is None else argument in self._arguments(owner, frozenset())

    @cache  # noqa: B019
    def _classes(self) -> dict[str, list[ast.ClassDef]]:
        found: dict[str, list[tuple[bool, ast.ClassDef]]] = {}
        for file in self.files:
            if file.endswith(".py") and (not file.startswith("transformers/") or file in _TRAINING):
                for node in self.tree(file).body:
                    if isinstance(node, ast.ClassDef):
                        found.setdefault(node.name, []).append(("experimental" in file, node))
        stable = {
            name: [node for trial, node in nodes if not trial] or [node for _, node in nodes]
            for name, nodes in found.items()
        }
        shims = {name for name, nodes in stable.items() if all(_is_shim(node) for node in nodes)}
        return stable | {name: [node for _, node in found[name]] for name in shims}

    def _arguments(self, owner: str, seen: frozenset[str]) -> set[str]:
        names: set[str] = set()
        for node in self._classes().get(owner, ()):
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    names.add(part.target.id)
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    names |= {one.arg for one in (*part.args.args, *part.args.kwonlyargs)}
            own = any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in node.body)
            for base in (ast.unparse(base).rpartition(".")[2] for base in node.bases):
                if base not in seen and not own:
                    names |= self._arguments(base, seen | {owner})
        return names

    def flags(self, module: str) -> set[str]:
        """The flags that a program adds; those in a loop over actor and critic for both."""
        file = self.module_file(module) or next((name for name in self.files if name.endswith(module)), "")
        added: set[str] = set()
        for node in ast.walk(self.tree(file)) if file else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument") and node.args:
                name = node.args[0]
                written = str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name)[2:-1]
                added |= {written.replace("{prefix}", prefix) for prefix in ("actor", "critic")}
        return added

    def settings(self) -> set[str]:
        """Dotted keys of verl's generated PPO configuration."""
        folder = "verl/trainer/config/"
        name = next(one for one in ("_generated_ppo_trainer.yaml", "ppo_trainer.yaml") if folder + one in self.files)
        return set(_dotted(yaml.safe_load(self.text(folder + name))))


def _strings(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def _is_shim(node: ast.ClassDef) -> bool:
    return not any(isinstance(part, ast.AnnAssign) for part in node.body) and any(
        "_" in ast.unparse(b) for b in node.bases
    )


def _dotted(tree: object, above: str = "") -> Iterator[str]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield f"{above}{key}"
        yield from _dotted(value, f"{above}{key}.")


def wheels_in(folder: Path) -> dict[str, list[Wheel]]:
    """Wheels by package, oldest first."""
    found: dict[str, list[Wheel]] = {}
    for path in sorted(folder.glob("*.whl")):
        found.setdefault(path.name.split("-")[0].lower(), []).append(Wheel(path))
    return {name: sorted(wheels, key=lambda wheel: wheel.version) for name, wheels in found.items()}


def there(wheel: Wheel, rule: Rule, kind: str, old: str) -> bool | None:
    """Whether a wheel has what a rule calls old (or new) by that kind; None if it says nothing about it."""
    if kind == "name":
        return None if "()" in old or "*" in old else wheel.has(old)
    if kind == "argument":
        answers = [
            wheel.takes(call.rpartition(".")[2], old) for call in rule.calls if not call.endswith("from_pretrained")
        ]
        known = [answer for answer in answers if answer is not None]
        return any(known) if known else None
    if rule.package in ("openrlhf", "rewardbench"):
        programs = [wheel.flags(command) for command in rule.commands]
        return any(old in flags for flags in programs) if any(programs) else None
    if rule.package == "verl":
        return old in wheel.settings()
    if rule.package == "vllm":
        return old.replace("_", "-") in wheel.flags("vllm.engine.arg_utils")  # its parser takes both
    if rule.package == "trl":
        owners = [TRL_COMMANDS.get(command.split()[1], "") for command in rule.commands]
        names = [old.lstrip("-").split()[0]]
        known = [wheel.takes(owner, name) for owner in (*owners, "ModelConfig") for name in names]
        return any(answer for answer in known if answer is not None)
    if rule.package == "transformers":
        return wheel.takes("TrainingArguments", old.lstrip("-").split()[0])
    return None


def subjects(rule: Rule) -> list[tuple[str, str, str]]:
    """(kind, old, new) of everything that a rule names and a wheel can answer for."""
    if rule.value or rule.reverse:
        return []
    names = [("name", old, new) for old, new in rule.names.items()] + [("name", module, "") for module in rule.modules]
    arguments = [("argument", old, new) for old, new in rule.arguments.items()]
    return [*names, *arguments, *(("flag", old, new) for old, new in rule.flags.items())]


def judged_range(rule: Rule, wheels: list[Wheel]) -> tuple[str, str, int, list[str]]:
    """The two wheels that hold a range, how many names they answered for, and the names for which they disagree."""
    start = rule.since or rule.until
    before = [wheel for wheel in wheels if start and wheel.version < Version(start)]
    after = [wheel for wheel in wheels if start and wheel.version >= Version(start)]
    if not before or not after or not rule.since:
        return (str(before[-1].version) if before else "", str(after[0].version) if after else "", 0, [])
    last, first = before[-1], after[0]
    asked, wrong = 0, []
    named = subjects(rule)
    known = {old for kind, old, _ in named if any(there(wheel, rule, kind, old) for wheel in reversed(before))}
    spelled = {old.rpartition(".")[2] for old in known}
    for kind, old, new in named:
        now = there(first, rule, kind, old)
        if now is None or there(last, rule, kind, old) is None:
            continue
        asked += 1
        if now:
            wrong.append(f"{old} (still there)")
        # A module of configurations never had the trainer: what counts is that one of its places had it.
        if old not in known and not (kind == "name" and old.rpartition(".")[2] in spelled):
            wrong.append(f"{old} (not there before)")
        for part in new.split() if new and not rule.words else ():
            if there(first, rule, kind, part) is False and not _elsewhere(rule, kind, part):
                wrong.append(f"{part} (new, not there)")
    return str(last.version), str(first.version), asked, wrong


def _elsewhere(rule: Rule, kind: str, new: str) -> bool:
    """A new name of another package, or a field that a configuration of TRL inherits from transformers."""
    return not new.startswith(f"{rule.package}.") if kind == "name" else rule.package == "trl" and new in INHERITED


def range_rows(found: dict[str, list[Wheel]]) -> list[list[str]]:
    """A row a rule."""
    rows = []
    for rule in load_rules().rules:
        last, first, asked, wrong = judged_range(rule, found.get(rule.package, []))
        verdict = "; ".join(wrong) if wrong else ("holds" if asked else "read by hand")
        rows.append([f"`{rule.id}`", rule.starts or f"before {rule.until}", last, first, str(asked), verdict])
    return rows


def finding_rows(found: dict[str, list[Wheel]], package: str, version: str, folder: str) -> list[list[str]]:
    """What the doctor says of the scripts of one wheel, by the newest versions that it knows."""
    wheel = next(one for one in found[package] if one.version == Version(version))
    book = load_rules()
    applied = applied_rules(book.rules, book.newest)
    rows = []
    for file in sorted(name for name in wheel.files if name.startswith(folder) and name.endswith(".py")):
        scanned = scan_text(Path(file), wheel.text(file), applied)
        rows += [
            [f"{file}:{scanned.line(cell, hit)}", hit.found, hit.severity, hit.rule.id] for cell, hit in scanned.hits
        ]
    return rows


def page(found: dict[str, list[Wheel]], notes: Iterable[str] = ()) -> str:
    """The page: findings in the two wheels, then the ranges."""
    parts = [f"# The doctor against released wheels\n\n{about(__doc__)}"]
    for package, (version, folder) in SCANNED.items():
        rows = finding_rows(found, package, version, folder)
        newest = load_rules().newest[package]
        parts += [f"## `{folder}` of {package} {version}, judged by {package} {newest}\n"]
        parts += [markdown_table(["where", "found", "severity", "rule"], rows, numbers=False)]
    ranges = range_rows(found)
    held = sum(row[5] == "holds" for row in ranges)
    by_hand = sum(row[5] == "read by hand" for row in ranges)
    asked = sum(int(row[4]) for row in ranges)
    parts += [
        f"## The ranges\n\n{held} of {len(ranges)} rules hold by script ({asked} names); {by_hand} were read by hand.\n"
    ]
    parts += [
        markdown_table(
            ["rule", "from", "last wheel before", "first wheel of it", "names", "verdict"], ranges, numbers=False
        )
    ]
    return "\n".join([*parts, *notes])


def main() -> None:
    """Read the wheels, print the page, save it if asked."""
    parser = bench_parser(__doc__)
    parser.add_argument("wheels", type=Path, help="a folder of wheels")
    arguments: argparse.Namespace = parser.parse_args()
    publish("doctor_wheels", page(wheels_in(arguments.wheels)), arguments)


if __name__ == "__main__":
    main()
