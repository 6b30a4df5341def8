"""What the docs show works: YAML is a spec, JSON is a pair, Python runs, commands parse, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from cli_world import as_row

from conftest import make_pairs
from rewardsmith.cli.app import application
from rewardsmith.data.sources import read_source
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import SourceSpec, Spec, load_spec

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SPECS = sorted((ROOT / "examples").rglob("*.yaml"))
COMMANDS = typer.main.get_command(application())


def blocks(*languages: str) -> list[pytest.param]:
    """Code blocks of these languages in all pages, each known by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


def shown_commands() -> Iterator[pytest.param]:
    """Every `rewardsmith …` line of the docs' shell blocks and of the examples' comments."""
    lines = [(block.id, line) for block in blocks("bash", "sh") for line in block.values[0].splitlines()]
    lines += [(path.name, line.lstrip("# ")) for path in SPECS for line in path.read_text("utf-8").splitlines()]
    for origin, line in lines:
        command = re.search(r"^(?:accelerate launch .* -m )?(rewardsmith .*)$", re.sub(r"\s{2,}[#(].*", "", line))
        if command:
            yield pytest.param(command[1], id=f"{origin} {command[1]}")


def parse(command: str) -> click.Context:
    """The arguments as the command line understands them, without running anything."""
    name, *arguments = shlex.split(command)[1:]
    assert isinstance(COMMANDS, click.Group) or hasattr(COMMANDS, "commands")
    assert name in COMMANDS.commands, f"there is no command {name!r}"
    command = COMMANDS.commands[name]
    if hasattr(command, "commands"):
        name, *arguments = arguments
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    return command.make_context(name, arguments)


@pytest.mark.parametrize("command", list(shown_commands()))
def test_a_shown_command_is_understood(command: str) -> None:
    assert parse(command).params


def test_a_wrong_command_would_be_found() -> None:
    with pytest.raises(Exception, match=r"[Nn]o such option"):
        parse("rewardsmith run spec.yaml --sett a=b")
    assert len(list(shown_commands())) >= 8


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_shown_spec_loads(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    assert load_spec(tmp_path / "spec.yaml").fingerprint() != Spec().fingerprint()


@pytest.mark.parametrize("text", blocks("json"))
def test_a_shown_pair_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text, encoding="utf-8")
    intake = read_source(SourceSpec(path=str(path)), role="train", strings="chat", seed=0, embedded={})
    assert (len(intake.pairs), intake.rejected) == (len(text.splitlines()), [])


@pytest.fixture
def checkout_with_a_run(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout as after `make demo`: the examples, a (tiny) model in runs/quickstart, and held-out pairs."""
    from rewardsmith.modeling.checkpoint import save_checkpoint
    from rewardsmith.modeling.loading import load_base

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    renderer = load_renderer(str(tiny_base), max_length=128)
    model = load_base(Spec(), tiny_base, renderer.tokenizer, seed=0)
    record = CheckpointRecord(
        rewardsmith_version="0", base_model="tiny", rendering=renderer.record, data_fingerprints=("none",)
    )
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    save_checkpoint(tmp_path / "runs" / "quickstart" / "model", model, renderer, record)
    (tmp_path / "policy").symlink_to(tiny_base)
    pairs = [json.dumps(as_row(pair)) for pair in make_pairs(8, seed=0)]
    (tmp_path / "held_out.jsonl").write_text("\n".join(pairs) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", blocks("python"))
def test_shown_python_runs(source: str, checkout_with_a_run: Path) -> None:
    assert Path.cwd() == checkout_with_a_run
    exec(compile(source, "docs", "exec"), {"__name__": "docs"})  # noqa: S102 - the project's own pages


def test_there_is_something_to_run() -> None:
    assert blocks("python")
    assert blocks("yaml")
    assert blocks("json")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_a_shown_make_target_is_there() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert {"demo", "test"} <= shown <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_stands_in_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    results = {f"../bench/results/{path.stem}" for path in (ROOT / "bench" / "results").glob("*.md")}
    entries = re.findall(r"^(?:.*<)?([\w./-]+)>?$", index, flags=re.MULTILINE)
    assert sorted((pages | results) - set(entries)) == []
    untitled = [place for place in entries if not _page(place).read_text(encoding="utf-8").startswith("# ")]
    assert untitled == [], "a page without a title has no link"


def _page(entry: str) -> Path:
    """The file of an entry of the site's table of contents."""
    return ROOT / "docs" / f"{entry}.md"


def test_the_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `rewardsmith (\w+)", readme, flags=re.MULTILINE))
    assert listed == set(COMMANDS.commands)


def test_every_dependency_is_explained() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for group in project["optional-dependencies"].values() for name in group),
    ]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in wanted]
    assert [name for name in names if name not in page] == []


def test_versions_are_exact_and_nothing_else_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin)] == []
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    versions = dict(pin.split("==") for pin in pins)
    for name, version in re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", page, flags=re.MULTILINE):
        assert versions[name] == version, name
