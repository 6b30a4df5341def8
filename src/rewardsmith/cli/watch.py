"""`rewardsmith watch`: what a policy in training is paid for, and whether it is worth it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardsmith.cli.options import AsJson, lay_out, live, print_record
from rewardsmith.cli.terminal import say
from rewardsmith.errors import UserError

if TYPE_CHECKING:
    from rewardsmith.pipeline.commands.watch import WatchOptions
    from rewardsmith.records.watch import WatchRecord


Log = Annotated[
    Path,
    typer.Argument(
        metavar="LOG",
        help="JSONL of prompt, response, reward, step; or a log of TRL, verl or OpenRLHF: a file or a folder.",
        show_default=False,
    ),
]
ReferenceLog = Annotated[
    Path | None,
    typer.Option(metavar="LOG", help="The reference policy's answers; else the first steps.", show_default=False),
]
OfRun = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="The reward model's run: its attack, training pairs and held-out rewards.",
        show_default=False,
    ),
]
Training = Annotated[
    list[str] | None,
    typer.Option(metavar="PAIRS", help="Preference data of the reward model: what it knows.", show_default=False),
]
Attack = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="attack.json, or its folder: look for its triggers.", show_default=False),
]
Phrases = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Phrases that buy reward, one a line.", show_default=False)
]
Judge = Annotated[
    Path | None, typer.Option(metavar="SPEC", help="Audit by the judge of this spec.", show_default=False)
]
AuditFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Audit by people: JSONL that they fill in, read back.", show_default=False),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.9,
        help="How far wins by quality may stay behind wins by reward; else by the judge's agreement in --run, or 0.2.",
        show_default=False,
    ),
]
Rewards = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Column of rewards; several are added up.", show_default=False),
]
PerStep = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Answers of a step, where rows have none.", show_default=False),
]
Gauges = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Gauges for node exporter's textfile collector.", show_default=False),
]


def watch(
    source: Log,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where watch.json goes.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", help="Go on as the log grows, until Ctrl-C.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="With --follow: between two looks.")] = 10.0,
    reference: ReferenceLog = None,
    reference_steps: Annotated[int, typer.Option(min=1, help="How many first steps are the reference.")] = 50,
    run: OfRun = None,
    training: Training = None,
    attack: Attack = None,
    phrases: Phrases = None,
    judge: Judge = None,
    audit_file: AuditFile = None,
    audit_every: Annotated[int, typer.Option(min=1, help="Steps between two audits.")] = 10,
    audit_size: Annotated[int, typer.Option(min=1, help="Pairs of an audit.")] = 16,
    tolerance: Tolerance = None,
    window: Annotated[int, typer.Option(min=8, help="Fewest answers that are looked at together.")] = 32,
    reward: Rewards = None,
    per_step: PerStep = None,
    prometheus: Gauges = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which answers are audited.")] = 17,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where a watch was begun.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch what a policy in training is paid for: signals, audits, and a verdict in words. Continues where it was.

    Ends with 1 on an alarm. At most 5 % false alarms over the whole stream, however often one looks.
    """
    if judge is not None and audit_file is not None:
        raise UserError("a judge and people at once", where="--audit-file", fix="leave one of both out")
    known = {"reference": reference, "training": tuple(training or ()), "run": run, "attack": attack}
    kept = {"audit_file": audit_file, "prometheus": prometheus, "overwrite": overwrite, "tolerance": tolerance}
    with live() as events:
        from rewardsmith.pipeline.commands.watch import watch_job
        from rewardsmith.watching import Settings

        settings = Settings(reference_steps, window, audit_every, audit_size, seed=seed)
        read = {"rewards": tuple(reward or ()), "per_step": per_step, "follow": seconds if follow else None}
        options = _options(judge, phrases, source=source, out=out, settings=settings, **read, **known, **kept)
        record = watch_job(options, events, shown=_announce)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.watch import watch_section

        lay_out(watch_section(record))
        say(f"record: {out / 'watch.json'}")
    raise typer.Exit(1 if record.outcome == "alarm" else 0)


def _announce(record: WatchRecord) -> None:
    step = "" if record.last_step is None else f"step {record.last_step:,}: "
    say(f"{step}{record.outcome.upper()}. {record.verdict}", error=True)


def _options(spec: Path | None, phrases: Path | None, **others: Any) -> WatchOptions:
    """The options with what two of them name read: the judge of a spec with its seed, and phrases."""
    from rewardsmith.attacking.edits import read_phrases
    from rewardsmith.pipeline.commands.watch import WatchOptions
    from rewardsmith.spec import load_spec

    loaded = load_spec(spec) if spec else None
    others["phrases"] = read_phrases(phrases) if phrases else ()
    if loaded is not None:
        others |= {"judge": loaded.judge, "judge_seed": loaded.seed}
    return WatchOptions(**others)
