"""The command line: thin. Each command reads its arguments, calls the pipeline, prints the record, chooses the exit
code.

    app.py             the commands
    average.py         `rewardsmith average`
    check.py           `rewardsmith check`; check_tables.py its findings as a table
    compare.py         `rewardsmith compare`
    explain.py         `rewardsmith explain`; explain_tables.py prints it
    export.py          `rewardsmith export`
    verify.py          `rewardsmith verify`, and its table
    probe.py           `rewardsmith probe`; probe_tables.py prints it
    score.py           `rewardsmith score`; ensembles.py: how it and `serve` are given several models
    options.py         what the commands share: options, and how a spec is read and a record printed
    live.py            progress: bars on a terminal, plain lines elsewhere
    tables.py          records as tables
    analysis_lines.py  what stands beside a benchmark's scores
    replicas.py        the spread over seeds and the learning curve as tables
    formatting.py      numbers and verdicts

Exit codes: 0 done and every gate passes; 1 a verdict is negative; 2 the spec, the data or the arguments cannot be used;
130 interrupted. torch is imported inside the commands that need it: `--help` answers at once.
"""

from rewardsmith.cli.app import main

__all__ = ["main"]
