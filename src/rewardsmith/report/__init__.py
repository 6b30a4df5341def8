"""From the records of a run to what people read: `report.html`, `summary.md`, and the same on a terminal.

    write_report(run_dir, texts) → path of report.html

Any part of a run will do: a stage that has left no record is shown as "not run".

    reading.py      run directory → `RunRecords`
    sections/       a file for each kind of result: record → section
    blocks.py       what sections are made of: headings, verdicts, tables, notes, facts, drawings
    html.py         sections → the page (templates/); both pages of a run directory
    markdown.py, terminal.py    the other two writers
    view.py         all sections of a run, in order
    pooling.py      small subsets of the user's own data as one row
    card.py         the model card: README.md beside the weights
    formatting.py   numbers and untrusted text → text: all rounding happens here
    svg.py          drawings; no plotting library

To show a new field of a result, add it to its record and to its section: the three writers know blocks, not results.
Everything but reading and writing is pure: the same records give the same bytes.

Import a name from its own module: a command loads only those it needs.
"""
