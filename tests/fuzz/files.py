"""A fuzz target over files: spec, data, rewards, checkpoint folder, run directory, judge replies.

    python tests/fuzz/files.py --seconds 1200 --seed 1        `make fuzz-files`; ends with 1 where something was found
    python tests/fuzz/files.py --replay tests/fuzz/corpus     every case that was found once

A case takes good files, changes one or more (values in the structure, or bytes), and gives them to the commands that
read such files, in this process. It is a finding when a command ends otherwise than with 0, 1 or 2, prints what steers
a terminal, takes more than ten seconds, or more memory than a file of its size may cost. A case is named by target and
number; a finding is written down with its files, so that it is tried again for ever (`tests/test_fuzz_files.py`).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import io
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "builders")]

SLOWEST = 10.0
"""Seconds of one case, all its commands together."""

MEMORY = 1024
"""MiB by which the peak of this process may grow in one case; the largest files here are a few MiB."""

Files = dict[str, bytes]
Command = Callable[[], Any]

TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\x1b[31m\x1b]0;x\x07",
        "[/red][bold",
        "\u202egpj.\u2066",
        "a\nb\rc",
        "\ud83d",
        "é" * 300,
        "../" * 9,
    ),
    *(
        "null",
        "1e999",
        "-",
        "NaN",
        "<|im_end|>",
        "{{ 1/0 }}",
        "{% for x in range(9**9) %}{% endfor %}",
        "/dev/zero",
        "~",
    ),
)
NUMBERS = (
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    -(2**63),
    10**299,
    1e308,
    -1.7e308,
    1e-320,
    math.nan,
    math.inf,
    -math.inf,
    0.5,
)


class Hang(BaseException):
    """The alarm of a case; no handler of exceptions stops it."""


def hostile(draw: random.Random, depth: int = 0) -> Any:
    """A value that nobody would write."""
    kind = draw.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return draw.choice([None, True, False])
    if kind in (1, 2):
        return draw.choice(NUMBERS)
    if kind in (3, 4):
        return draw.choice(TEXTS)
    if kind == 5:
        return [hostile(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 6:
        return {
            draw.choice([*TEXTS, "a", "role", "schema"]): hostile(draw, depth + 1) for _ in range(draw.randrange(3))
        }
    nested: Any = 1
    for _ in range(draw.choice([20, 99, 150, 700])):
        nested = [nested]
    return nested


def changed(value: Any, draw: random.Random) -> Any:
    """The same document with one place changed."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        how = draw.random()
        if how < 0.12:
            return {name: one for name, one in value.items() if name != key}
        if how < 0.18:
            return {**value, draw.choice(["extra", *TEXTS]): value[key]}
        return {**value, key: hostile(draw) if how < 0.3 else changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        how = draw.random()
        if how < 0.1:
            return value[:place] + value[place + 1 :]
        if how < 0.2:
            return value * draw.choice([0, 2, 30])
        return [*value[:place], hostile(draw) if how < 0.3 else changed(value[place], draw), *value[place + 1 :]]
    return hostile(draw)


def scrambled(raw: bytes, draw: random.Random) -> bytes:
    """The same bytes with a few places changed."""
    for _ in range(draw.choice([1, 1, 2, 5])):
        place = draw.randrange(len(raw) + 1)
        how = draw.randrange(7)
        if how == 0:
            raw = raw[:place]
        elif how == 1:
            raw = raw[:place] + draw.randbytes(draw.choice([1, 4, 30])) + raw[place:]
        elif how == 2:
            raw = raw[:place] + bytes([draw.randrange(256)]) + raw[place + 1 :]
        elif how == 3:
            end = place + draw.choice([1, 8, 100])
            raw = raw[:place] + raw[place:end] * draw.choice([2, 50]) + raw[end:]
        elif how == 4:
            raw = (
                raw[:place]
                + draw.choice([b"[", b"{", b'"', b"\0", b"\n", b"\xff", b"&a [*a]", b"!!binary ", b"'"])
                + raw[place:]
            )
        elif how == 5:
            raw = raw[:place] + draw.choice(TEXTS).encode("utf-8", "surrogatepass") + raw[place:]
        else:
            raw = raw[:place] + draw.choice([b"[" * 2000, b"9" * 5000, b"1e" + b"9" * 20]) + raw[place:]
    return raw


def mutated(name: str, raw: bytes, draw: random.Random) -> bytes:
    """One file changed: in its structure where it has one, else in its bytes."""
    if draw.random() < 0.35 or not name.endswith(
        (".json", ".jsonl", ".yaml", ".safetensors", ".parquet", ".csv", ".gz")
    ):
        return scrambled(raw, draw)
    try:
        return _structured(name, raw, draw)
    except Exception:
        return scrambled(raw, draw)  # broken already, or it cannot be written in this format


def _structured(name: str, raw: bytes, draw: random.Random) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(mutated(name[:-3], gzip.decompress(raw), draw), mtime=0)
    if name.endswith(".json"):
        return _json(changed(json.loads(raw), draw))
    if name.endswith((".jsonl", ".csv")):
        lines = raw.splitlines(keepends=True)
        place = draw.randrange(len(lines))
        line = (
            scrambled(lines[place], draw) if name.endswith(".csv") else _json(changed(json.loads(lines[place]), draw))
        )
        how = draw.random()
        rest = lines[place + 1 :] if how < 0.8 else []
        return b"".join([*lines[:place], line.rstrip(b"\n") + b"\n", *rest])
    if name.endswith(".yaml"):
        import yaml

        return yaml.safe_dump(changed(yaml.safe_load(raw), draw), allow_unicode=True).encode("utf-8", "surrogatepass")
    if name.endswith(".safetensors"):
        length = int.from_bytes(raw[:8], "little")
        header = _json(changed(json.loads(raw[8 : 8 + length]), draw))
        size = len(header) if draw.random() < 0.8 else draw.choice([0, 1, 2**40, 2**64 - 1])
        return size.to_bytes(8, "little") + header + raw[8 + length :]
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = changed(pq.read_table(io.BytesIO(raw)).to_pylist(), draw)
    packed = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(rows), packed)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise ValueError from error
    return packed.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


# Good files, by target


def seeds(base: Path) -> dict[str, Files]:
    """Good files of every target; `base` is a tiny model."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import report_records
    import yaml
    from cli_world import as_row

    from conftest import make_pairs

    rows = [{**as_row(pair), "score_chosen": 0.9, "score_rejected": 0.1} for pair in make_pairs(12, seed=3)]
    flat = [
        {"prompt": f"q{i}", "chosen": f"yes {i}", "rejected": "no", "chosen_model": "A", "rejected_model": "B"}
        for i in range(12)
    ]
    lines = b"".join(_json(row) + b"\n" for row in rows)
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(flat), packed)
    spec = {
        "name": "tiny",
        "base_model": {"id": str(base)},
        "data": {"train": [{"path": "train.jsonl"}], "held_out": {"fraction": 0.2}, "max_length": 200},
        "hardware": {"device": "cpu", "threads": 1},
        "training": {"pairs_per_step": 4, "learning_rate": 1e-3, "seeds": [17, 18]},
        "evaluation": {
            "benchmarks": [{"name": "pairs", "data": "train.jsonl"}],
            "gates": {"minimum": {"pairs": {"x": 0.6}}},
        },
        "judge": {"endpoint": "http://127.0.0.1:9/v1", "model": "m"},
        "routing": {},
    }
    benchmark = [
        {"id": str(i), "subset": "ab"[i % 2], "prompt": f"{i}?", "chosen": f"{i}", "rejected": "a"} for i in range(8)
    ]
    rewards = [{"id": str(i), "subset": "ab"[i % 2], "rewards": [float(i), 3.5]} for i in range(8)]
    columns = {
        "id": [str(i) for i in range(8)],
        "subset": ["ab"[i % 2] for i in range(8)],
        "scores": [[[float(i)], [3.5]] for i in range(8)],
        "num_correct": [1] * 8,
        "model": "m",
    }
    with tempfile.TemporaryDirectory() as folder:
        run = report_records.build_run(Path(folder) / "run")
        shutil.rmtree(run / "model")
        run_files = {f"one/{name}": raw for name, raw in _read(run).items()}
    model = {f"model/{name}": raw for name, raw in _read(base.with_name("model")).items()}
    call = {"key": "a" * 64, "reply": {"text": "[[A]]", "prompt_tokens": 3, "completion_tokens": 1, "tops": []}}
    return {
        "spec": {"spec.yaml": yaml.safe_dump(spec).encode(), "train.jsonl": lines},
        "data": {
            "train.jsonl": lines,
            "train.jsonl.gz": gzip.compress(lines, mtime=0),
            "train.json": _json(rows),
            "train.csv": b"prompt,chosen,rejected\n" + b"".join(f'q{i},"yes {i}",no\n'.encode() for i in range(12)),
            "train.parquet": packed.getvalue(),
            "models.jsonl": b"".join(_json(row) + b"\n" for row in flat),
        },
        "rewards": {
            "bench.jsonl": b"".join(_json(row) + b"\n" for row in benchmark),
            "rows.jsonl": b"".join(_json(row) + b"\n" for row in rewards),
            "scores.json": _json(columns),
        },
        "model": model,
        "run": run_files,
        "reply": {"text": b'```json\n{"verdict": "A", "rating": 7}\n```', "calls.jsonl": _json(call) + b"\n"},
    }


def _read(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# What reads them


def cli(*arguments: str) -> Command:
    """A call of the command line in this process."""

    def call() -> Any:
        from rewardsmith.cli.app import application

        return application()(list(arguments), standalone_mode=False)

    return call


def commands(target: str, names: list[str], base: Path, good: Files) -> Iterator[Command]:
    """What a target's files are given to; `names` are those that were changed."""
    if target == "spec":
        yield cli("plan", "spec.yaml", "--json")
        if str(base).encode() in Path("spec.yaml").read_bytes():  # else the embedded base would be made, in minutes
            yield cli("check", "spec.yaml", "--sample", "5", "--overwrite")
    elif target == "data":
        for name in names:
            Path("spec.yaml").write_bytes(_json(_data_spec(name, base)))  # JSON is YAML
            yield cli("check", "spec.yaml", "--skip-bad-lines", "--overwrite")
            yield cli("init", "made", "--data", name)
            shutil.rmtree("made", ignore_errors=True)
    elif target == "rewards":
        for name in ("rows.jsonl", "scores.json"):
            out = f"out-{name}"
            yield cli("evaluate", "--benchmark", "pairs", "--data", "bench.jsonl", "--rewards", name, "--out", out)
        yield cli("compare", "out-rows.jsonl", "out-scores.json")
    elif target == "model":
        yield cli("doctor", "model")
        yield cli("push", "model", "a/b", "--dry-run", "--even-if-failed")
        yield from _opening()
    elif target == "run":
        yield cli("ls", ".")
        yield cli("report", "one")
        yield cli("compare", "one", "good")
        yield _opened
    else:
        yield from _replies()


def _data_spec(name: str, base: Path) -> dict[str, Any]:
    data = {"train": [{"path": name}], "held_out": {"fraction": 0.2}, "max_length": 200}
    return {"name": "tiny", "base_model": {"id": str(base)}, "data": data}


def _opening() -> Iterator[Command]:
    from rewardsmith.modeling.checkpoint import load_checkpoint

    yield lambda: bool(load_checkpoint("model")) and None


def _opened() -> None:
    from rewardsmith.pipeline.commands.look import run_server

    with run_server(Path("one")) as server:
        server.run.live(0)
        server.run.text("x")


def _replies() -> Iterator[Command]:
    from rewardsmith.judging import CallLog, load_prompts
    from rewardsmith.judging.questions import Reply, pairwise_question, rating_question, read_labels, read_rating
    from rewardsmith.spec import Spec
    from rewardsmith.types import Message

    text = Path("text").read_bytes().decode("utf-8", "replace")
    turns = (Message("user", "q"),)
    prompts = load_prompts(Spec().judge.prompts)

    def read() -> None:
        for form in ("text", "json", "token"):
            for tops in ((), (((text[:5], -0.1), ("A", math.nan), ("B", 1e308), ("1", -1e308)),)):
                reply = Reply(text, 1, 1, tops)
                labels = read_labels(pairwise_question(prompts["pairwise"], turns, turns, turns), reply, form)
                assert labels is None or math.isclose(sum(labels.values()), 1.0)
                rating = read_rating(rating_question(prompts["rating"], turns), reply, form)
                assert rating is None or 1 <= rating <= 10

    yield read
    yield lambda: CallLog.open(Path()).close()


# One case


def make_case(target: str, number: int, seed: int, good: Mapping[str, Files]) -> Files:
    """The changed files of a case; the same for the same numbers."""
    draw = random.Random(f"{seed}/{target}/{number}")
    names = draw.sample(list(good[target]), k=min(draw.choice([1, 1, 1, 2]), len(good[target])))
    found = {}
    for name in names:
        raw = good[target][name]
        for _ in range(draw.choice([1, 1, 2, 4])):
            raw = mutated(name, raw, draw)
        found[name] = raw
    return found


def run_case(target: str, files: Files, good: Mapping[str, Files], base: Path, folder: Path) -> list[str]:
    """What is wrong with how the commands took these files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, raw in {**good[target], **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
        if target == "run":
            (folder / name.replace("one/", "good/", 1)).parent.mkdir(parents=True, exist_ok=True)
            (folder / name.replace("one/", "good/", 1)).write_bytes(good[target].get(name, raw))
    (folder / "tmp").mkdir()
    tempfile.tempdir = str(folder / "tmp")
    before = Path.cwd()
    os.chdir(folder)
    problems: list[str] = []
    peak = _peak()
    start = time.monotonic()
    for alarm in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(alarm, _hang)
    signal.setitimer(signal.ITIMER_PROF, SLOWEST)  # of this process's own time: the machine may be busy
    signal.setitimer(signal.ITIMER_REAL, SLOWEST, SLOWEST)  # whoever waits uses none
    _STARTED[:] = _clocks()
    try:
        for command in commands(target, list(files), base, good[target]):
            problems += _ended(command, folder / "tmp")
    except Hang:
        problems.append("hang: " + " < ".join(f"{f.filename[-40:]}:{f.lineno}" for f in _LAST[-3:][::-1]))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(before)
        tempfile.tempdir = None
    if _peak() - peak > MEMORY:
        problems.append(f"memory: {_peak() - peak} MiB in {time.monotonic() - start:.1f} s")
    return problems


_LAST: list[traceback.FrameSummary] = []
_STARTED = [0.0, 0.0]


def _clocks() -> tuple[float, float]:
    """Seconds that have passed, and of them those in which this process had the processor or waited for it."""
    try:
        used, waited, _ = Path("/proc/self/schedstat").read_text().split()
    except OSError:
        return time.monotonic(), time.process_time()
    return time.monotonic(), (int(used) + int(waited)) / 1e9


def _hang(*arguments: Any) -> None:
    passed, busy = (now - then for now, then in zip(_clocks(), _STARTED, strict=True))
    if arguments[0] == signal.SIGALRM and passed - busy < SLOWEST:
        return  # the machine is busy with others
    _LAST[:] = traceback.extract_stack(arguments[1])
    raise Hang


def _ended(command: Command, temporary: Path) -> list[str]:
    from rewardsmith.cli.terminal import ended

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ended(command)
    said = b"".join(one.buffer.getvalue() for one in (out, err)).decode("utf-8", "replace")
    problems = []
    if code not in (0, 1, 2):
        file = next(iter(temporary.glob("rewardsmith-fault-*")), None)
        place = _place(file.read_text(encoding="utf-8")) if file else ""
        problems.append(f"exit {code}: {place or said[-300:]}")
        if file:
            file.unlink()
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said):
        problems.append(f"steers the terminal: {said[:200]!r}")
    if "Traceback" in said:
        problems.append("prints a traceback")
    return problems


def _place(text: str) -> str:
    """Exception and the innermost lines of ours: what tells one fault from another."""
    ours = re.findall(r'rewardsmith/([\w/]+\.py)", line (\d+)', text)
    return f"{text.strip().splitlines()[-1][:160]} at {' < '.join(f'{f}:{n}' for f, n in ours[-2:][::-1])}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# Many cases


def fuzz(
    cases: Iterator[tuple[str, str, Files]], good: Mapping[str, Files], base: Path
) -> tuple[Counter[str], dict[str, Any]]:
    """Run cases; how many there were of each target, and one case for each fault."""
    counts: Counter[str] = Counter()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rewardsmith-fuzz-") as folder:
        for target, name, files in cases:
            counts[target] += 1
            for problem in run_case(target, files, good, base, Path(folder) / "case"):
                signature = re.sub(
                    r"0x[0-9a-f]+|\d{3,}", "#", problem.split(" at ")[-1] if " at " in problem else problem
                )[:200]
                if signature not in found:
                    found[signature] = {"target": target, "case": name, "problem": problem, "files": files}
                    print(f"{target} {name}: {problem}", flush=True)
    return counts, found


def drawn(good: Mapping[str, Files], seed: int, *, until: Callable[[int], bool]) -> Iterator[tuple[str, str, Files]]:
    """Cases of all targets in turn; a slow target comes as often as a quick one."""
    number = 0
    while not until(number):
        target = list(good)[number % len(good)]
        yield target, f"{seed}/{number}", make_case(target, number, seed, good)
        number += 1


def kept(folder: Path) -> Iterator[tuple[str, str, Files]]:
    """Cases that were found once."""
    for path in sorted(folder.glob("*.json")):
        case = json.loads(path.read_text())
        yield (
            case["target"],
            path.name,
            {name: zlib.decompress(base64.b64decode(raw)) for name, raw in case["files"].items()},
        )


def keep(found: Mapping[str, Any], folder: Path) -> None:
    """Write findings down, each in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for signature, case in found.items():
        name = f"{case['target']}-{zlib.crc32(signature.encode()):08x}.json"
        files = {one: base64.b64encode(zlib.compress(raw, 9)).decode() for one, raw in case["files"].items()}
        text = json.dumps({"target": case["target"], "problem": case["problem"], "files": files}, indent=1)
        (folder / name).write_text(text + "\n")


def prepare(folder: Path) -> tuple[dict[str, Files], Path]:
    """Quiet libraries, a tiny reward model, and the good files."""
    from checkpoint_maker import make_checkpoint

    from conftest import make_base

    os.environ |= {"HF_HUB_OFFLINE": "1", "REWARDSMITH_CACHE": str(folder / "cache"), "COLUMNS": "100"}
    base = make_base(folder / "base")
    make_checkpoint(folder / "model", base)
    return seeds(base), base


def main() -> int:
    """Fuzz for a while, or replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["spec", "data", "rewards", "model", "run", "reply"])
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--keep", type=Path, default=HERE / "corpus")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rewardsmith-fuzz-") as folder:
        good, base = prepare(Path(folder))
        wanted = {options.only: good[options.only]} if options.only else good
        end = time.monotonic() + options.seconds
        cases = (
            kept(options.replay)
            if options.replay
            else drawn(wanted, options.seed, until=lambda _: time.monotonic() > end)
        )
        counts, found = fuzz(cases, good, base)
    if not options.replay:
        keep(found, options.keep)
    each = ", ".join(f"{n:,} {target}" for target, n in counts.items())
    print(f"{sum(counts.values()):,} cases ({each}), {len(found)} findings, peak {_peak()} MiB")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
