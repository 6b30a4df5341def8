"""`rewardsmith push` against a stand-in hub: what arrives, what stays here, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import report_records
from checkpoint_maker import make_checkpoint
from cli_world import World
from hub_stand_in import COMMIT, StandIn
from huggingface_hub import constants
from report_records import checkpoint
from safetensors.torch import load_file, save_file
from test_card_text import probes

from rewardsmith.records.files import write_json
from rewardsmith.records.probes import ProbeExample, ProbesRecord
from rewardsmith.records.run import GatesRecord

# huggingface_hub 2.4 gives httpx raw bytes by a name that httpx2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN = "hf_stand_in"
MARK = "zanzibar-prompt"


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(TOKEN) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def run(world: World) -> Path:
    """A run directory that passes, with a small checkpoint; its probes and findings quote a user's text."""
    folder = report_records.build_run(world.folder / "runs" / "helpful")
    gates = report_records.gates("")
    passing = [outcome.model_copy(update={"verdict": "PASS"}) for outcome in gates.outcomes]
    write_json(folder / "gates.json", GatesRecord(passed=True, outcomes=tuple(passing)))
    write_json(folder / "probes.json", quoting(probes()))
    write_json(folder / "model" / "rewardsmith.json", checkpoint())
    made = make_checkpoint(world.folder / "made", world.base)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(made / name, folder / "model" / name)
    (folder / "model" / "tokenizer.json").write_text("{}")
    (folder / "model" / ".cache").write_text("nothing of yours")
    return folder


def quoting(record: ProbesRecord) -> ProbesRecord:
    """The same with an example of a user in each probe."""
    example = ProbeExample(
        id="1", subset="s", prompt=MARK, original="short", edited="long", reward=0.1, reward_edited=0.9, shift=1.0
    )
    changed = {name: probe.model_copy(update={"examples": (example,)}) for name, probe in record.probes.items()}
    return record.model_copy(update={"probes": changed})


EXPECTED = {
    "README.md",
    "config.json",
    "model.safetensors",
    "report.html",
    "rewardsmith.json",
    "summary.md",
    "tokenizer.json",
}


def test_one_commit_holds_checkpoint_card_and_report_and_is_private(world: World, hub: StandIn, run: Path) -> None:
    done = world("push", str(run), "acme/helpful-rm", "--json")
    assert done.code == 0, done.err
    record = done.json()
    files = hub.files("acme/helpful-rm")
    assert set(files) == EXPECTED == {file["path"] for file in record["files"]}
    assert files["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert {file["path"]: file["bytes"] for file in record["files"]} == {name: len(one) for name, one in files.items()}
    assert hub.repositories["acme/helpful-rm"]["private"] is True
    assert (record["commit"], record["verdict"], record["visibility"]) == (COMMIT, "PASS", "private")
    assert [path for method, path in hub.requests if "/commit/" in path] == ["/api/models/acme/helpful-rm/commit/main"]
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert card.data.model_name == "acme/helpful-rm"
    assert "[report.html](report.html)" in card.text
    assert b"<!doctype html>" in files["report.html"].lower()


def test_texts_of_users_stay_here_unless_asked_for(world: World, hub: StandIn, run: Path) -> None:
    world("push", str(run), "acme/quiet")
    world("push", str(run), "acme/open", "--texts")
    quiet, loud = hub.files("acme/quiet"), hub.files("acme/open")
    assert [name for name, content in quiet.items() if MARK.encode() in content] == []
    assert MARK.encode() in loud["README.md"]
    assert set(quiet) == set(loud)


def test_the_token_is_written_nowhere(world: World, hub: StandIn, run: Path) -> None:
    done = world("push", str(run), "acme/helpful-rm")
    assert TOKEN not in done.out + done.err
    here = [path for path in world.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert (here, [name for name, one in hub.files("acme/helpful-rm").items() if TOKEN.encode() in one]) == ([], [])


def test_a_dry_run_lists_the_same_files_and_asks_nothing(world: World, hub: StandIn, run: Path) -> None:
    done = world("push", str(run), "acme/helpful-rm", "--dry-run")
    assert (done.code, hub.requests) == (0, [])
    assert {line.split()[-1] for line in done.out.splitlines() if line.startswith(" ")} == EXPECTED
    assert "nothing was uploaded" in done.out
    assert "private" in done.out


def test_a_model_that_failed_is_refused_unless_said_and_then_the_card_says_so(
    world: World, hub: StandIn, run: Path
) -> None:
    write_json(run / "gates.json", report_records.gates(""))
    refused = world("push", str(run), "acme/bad")
    assert (refused.code, hub.requests) == (1, [])
    assert "--even-if-failed" in refused.err
    assert world("push", str(run), "acme/bad", "--even-if-failed").code == 0
    assert "**FAIL.**" in hub.files("acme/bad")["README.md"].decode()


def test_a_checkpoint_alone_is_not_judged(world: World, hub: StandIn, run: Path) -> None:
    alone = world.folder / "alone"
    (run / "model").rename(alone)
    refused = world("push", str(alone), "alone")
    assert (refused.code, "no gate has judged" in refused.err) == (1, True)
    assert world("push", str(alone), "alone", "--even-if-failed").code == 0
    assert set(hub.files("me/alone")) == EXPECTED - {"report.html", "summary.md"}
    assert "**Not judged**" in hub.files("me/alone")["README.md"].decode()


def test_the_model_folder_of_a_run_is_known_as_the_runs(world: World, hub: StandIn, run: Path) -> None:
    assert world("push", str(run / "model"), "acme/x").code == 0
    assert "report.html" in hub.files("acme/x")


def test_nothing_becomes_public_by_accident(world: World, hub: StandIn, run: Path) -> None:
    hub.public.add("acme/known")
    refused = world("push", str(run), "acme/known")
    assert (refused.code, "everybody can read it" in refused.err) == (2, True)
    assert hub.files("acme/known") == {}
    assert world("push", str(run), "acme/known", "--public").code == 0


def test_a_wrong_token_is_one_line_with_the_fix(
    world: World, hub: StandIn, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = world("push", str(run), "acme/x")
    assert (done.code, "hf auth login" in done.err, "Traceback" in done.err) == (2, True, False)
    assert "hf_wrong" not in done.err


def test_offline_and_unreachable_are_said(
    world: World, hub: StandIn, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = world("push", str(run), "acme/x")
    assert (done.code, "HF_HUB_OFFLINE" in done.err) == (2, True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    done = world("push", str(run), "acme/x")
    assert (done.code, "cannot be reached" in done.err) == (2, True)


def test_an_adapter_on_a_folder_of_this_machine_is_refused(world: World, hub: StandIn, run: Path) -> None:
    (run / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/data/base"}))
    done = world("push", str(run), "acme/x")
    assert (done.code, "--to hf" in done.err, hub.requests) == (2, True, [])


def test_weights_of_nan_are_refused_by_name(world: World, hub: StandIn, run: Path) -> None:
    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    name = min(name for name, weight in weights.items() if weight.is_floating_point())
    weights[name].view(-1)[-1] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    done = world("push", str(run), "acme/x", "--dry-run")
    assert (done.code, hub.requests) == (2, [])
    assert done.err.startswith(f"error: {path}: 1 weights hold NaN or infinity ({name})")


def test_a_base_that_was_a_folder_is_said_and_not_named_in_the_card(world: World, hub: StandIn, run: Path) -> None:
    write_json(run / "model" / "rewardsmith.json", checkpoint(base_model="/home/me/secret-base"))
    done = world("push", str(run), "acme/x")
    assert "warning: rewardsmith.json names the base model" in done.err
    assert "secret-base" not in hub.files("acme/x")["README.md"].decode()


@pytest.mark.parametrize("name", ["a/b/c", "../x", "", "a b", "-x/y", "a/b..c"])
def test_a_name_that_cannot_be_is_refused(world: World, hub: StandIn, run: Path, name: str) -> None:
    done = world("push", "--", str(run), name)
    assert (done.code, hub.requests) == (2, [])


def test_what_is_no_checkpoint_is_refused(world: World, hub: StandIn) -> None:
    (world.folder / "empty").mkdir()
    done = world("push", "empty", "acme/x")
    assert (done.code, "no checkpoint" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json", "chat_template.jinja"])
def test_a_link_out_of_the_checkpoint_is_refused(world: World, hub: StandIn, run: Path, name: str) -> None:
    secret = world.folder / "elsewhere.json"
    secret.write_text("root:x:0:0")
    file = run / "model" / name
    if file.exists():
        secret.write_bytes(file.read_bytes())
        file.unlink()
    file.symlink_to(secret)
    for more in ((), ("--dry-run",)):
        done = world("push", str(run), "acme/helpful-rm", *more)
        assert done.code == 2
        assert f"{name}: is a link to {secret.resolve()}, outside of the checkpoint" in done.err
    assert hub.requests == []


def test_only_files_of_a_checkpoint_are_uploaded_and_the_others_are_named(
    world: World, hub: StandIn, run: Path
) -> None:
    model = run / "model"
    (model / "passwd").symlink_to("/etc/passwd")
    (model / "train.jsonl").write_text(MARK)
    (model / "credentials.json").write_text(MARK)
    (model / "notes").mkdir()
    (model / "inner.json").symlink_to("config.json")
    done = world("push", str(run), "acme/helpful-rm")
    assert done.code == 0, done.err
    assert set(hub.files("acme/helpful-rm")) == EXPECTED
    assert "not uploaded, because no checkpoint consists of them: credentials.json, inner.json, notes, passwd, " in (
        done.err
    )


def test_a_link_within_the_checkpoint_and_the_hubs_own_cache_are_uploaded(
    world: World, hub: StandIn, run: Path
) -> None:
    model = run / "model"
    (model / "vocab.json").symlink_to("tokenizer.json")
    assert world("push", str(run), "acme/helpful-rm").code == 0
    assert hub.files("acme/helpful-rm")["vocab.json"] == b"{}"
    cache = world.folder / "models--acme--helpful-rm"
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for file in [path for path in model.iterdir() if path.name in EXPECTED]:
        (cache / "blobs" / file.name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(cache / "blobs" / file.name)
    done = world("push", str(snapshot), "acme/again", "--even-if-failed")
    assert done.code == 0, done.err
    assert set(hub.files("acme/again")) == EXPECTED - {"report.html", "summary.md"}
