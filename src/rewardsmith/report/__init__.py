"""From the records of a run to one page that people read: `report.html`, and the same as Markdown, `summary.md`.

    write_report(run_dir, texts) → path of report.html

Any part of a run will do: a stage that has left no record is shown as "not run".

reading.py         run directory → `RunRecords`
formatting.py      numbers and untrusted text → text, rounded in one place
verdict.py         PASS, FAIL, STOPPED or UNFINISHED, why, and what to do next
scores.py          benchmarks: score, interval, baselines
against.py         what changed since another run
row_items.py       evaluated rows, pairs in doubt and edited responses, the worst first
payload.py         rows and their texts, packed for the page
explorer.py        the section that shows them
judging.py         a judge: consistency, injections, cost
replicas.py        other seeds and other amounts of data
curves.py          training: series, smoothing, the trend in words
distributions.py   rewards, chosen beside rejected
analyses.py        beside the scores: spread within a prompt, length, calibration, best-of-n, skills
probes.py          bias probes: table, drawing, Markdown
component_map.py   stages, their contracts, this run's facts
checklist.py       the constraints of the method and how each was verified
gate_rows.py       gates and warnings
findings.py        the data contract: findings by harm, sources, rejected rows
data_sections.py   what the data contract measured: data_shortcuts.py, data_overlap.py, data_labels.py, data_balance.py,
                   data_tokens.py
label_noise.py     wrong labels: the estimate and the suspects
routing.py         the router's calibration: the curve, and whether routing is worth it
epoch.py           the epoch of training
view.py            all of the above as one frozen value: what both pages show
blocks.py          titles, facts, figures and tables for both pages; strips.py draws shares
svg.py, charts.py, curve_charts.py, analysis_charts.py, map_drawing.py    drawings; no plotting library
html.py            view → HTML (templates/: one template a section, style.css, and the scripts of the page)
markdown.py        view → Markdown (analysis_markdown.py: beside the scores; markdown_text.py: tables, escaping)
card.py            the model card: README.md beside the weights (card_sources.py, card_metadata.py, card_loading.py,
                   card_limits.py)
comparison.py      comparison.json → comparison.md
live.py            a run while it works
writing.py         `write_report`, `served_page`

Everything but reading and writing is pure: the same records give the same bytes.
"""

from rewardsmith.report.html import served_page, write_report
from rewardsmith.report.sections.comparison import comparison_page
from rewardsmith.report.sections.rows import RowText, RowTexts

__all__ = ["RowText", "RowTexts", "comparison_page", "served_page", "write_report"]
