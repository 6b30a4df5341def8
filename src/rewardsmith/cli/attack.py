"""`rewardsmith attack`: what it costs to lift bad answers over good ones without meaning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardsmith.cli.options import AsJson, lay_out, live, look_for, print_record
from rewardsmith.cli.terminal import say
from rewardsmith.errors import UserError

if TYPE_CHECKING:
    from rewardsmith.records.attack import AttackRecord
    from rewardsmith.records.run import GateOutcome


def attack(
    model: Annotated[
        str, typer.Option(metavar="DIR|URL", help="A checkpoint, or a server's model.", show_default=False)
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="Pairs or best-of-N rows: a file, a hub id, or `embedded`.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where attack.json goes.", show_default=False)],
    pairs: Annotated[int, typer.Option(min=1, help="Most pairs, one a prompt.")] = 40,
    edits: Annotated[int, typer.Option(min=1, max=6, help="Most edits in a composition.")] = 3,
    queries: Annotated[int, typer.Option(min=1, help="Most texts that are scored.")] = 8000,
    seconds: Annotated[
        float,
        typer.Option(min=0.0, help="Most seconds; where all pairs take longer, fewer are attacked. inf: no limit."),
    ] = 600.0,
    phrases: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Phrases of your own, one a line, tried before and after answers."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=0, max=12, help="Learn an ending of so many words, counted apart.")] = 0,
    fluency: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|ID|URL",
            help="A language model that bounds the ending; of an endpoint http://HOST:PORT/v1?model=NAME.",
            show_default=False,
        ),
    ] = None,
    beam: Annotated[int, typer.Option(min=1, help="Compositions of each answer that are extended.")] = 2,
    branch: Annotated[int, typer.Option(min=1, help="Edits that each is extended by.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Decides which pairs are drawn, and the edits.")] = 17,
    maximum_flipped: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Ends with 1 where a larger share is flipped.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where an attack was begun.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for the cheapest edits without meaning that lift bad answers over good ones. A killed attack continues.

    Once some queries are timed it says how many there will be and how long they will take.

    Ends with 1 where no pair could be attacked, or with --maximum-flipped where it does not hold.
    """
    look_for([model])
    if fluency and not tokens:
        raise UserError("--fluency bounds a learned ending, and none is asked for", fix="add --tokens 4")
    with live() as events:
        from rewardsmith import gates
        from rewardsmith.attacking.edits import read_phrases
        from rewardsmith.attacking.search import Settings
        from rewardsmith.pipeline import attack_job

        settings = Settings(
            pairs=pairs,
            edits=edits,
            beam=beam,
            branch=branch,
            queries=queries,
            seconds=seconds if math.isfinite(seconds) else None,
            phrases=read_phrases(phrases) if phrases else (),
            tokens=tokens,
            seed=seed,
        )
        inputs = (data, *([str(phrases)] if phrases else []))
        record = attack_job(model, data, out, settings, events, inputs=inputs, overwrite=overwrite, fluency=fluency)
    outcome = None if maximum_flipped is None else gates.attack_outcome(record, maximum_flipped)
    _show(record, outcome, out, as_json)
    passed = bool(record.attacked) if outcome is None else outcome.verdict == "PASS"
    raise typer.Exit(0 if passed else 1)


def _show(record: AttackRecord, outcome: GateOutcome | None, out: Path, as_json: bool) -> None:
    if as_json:
        print_record(record)
        return
    from rewardsmith.report.sections.attack import attack_section

    lay_out(attack_section(record, outcome))
    say(f"record: {out / 'attack.json'}")
