"""The command line: thin. Each command reads its arguments, calls the pipeline, prints the record, chooses the exit
code.

    app.py             train and evaluate; the list of all commands
    NAME.py            every other command, in a file of its name: arguments in, exit code out
    options.py         what the commands share: options, progress, how a spec is read and a result or record printed
    terminal.py        text of others → text on a terminal; errors, signals and full disks → one message, one exit code

Results are laid out in `report/sections/` and printed by `report/terminal.py`, with the words of the report.

Exit codes: 0 done and every gate passes; 1 a verdict is negative; 2 the spec, the data or the arguments cannot be used;
70 a fault of the program; 130 interrupted; 141 nobody reads the output. torch is imported inside the commands that need
it: `--help` answers at once.
"""

from rewardsmith.cli.app import main

__all__ = ["main"]
