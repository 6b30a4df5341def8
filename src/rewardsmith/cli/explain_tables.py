"""An explanation on a terminal: each text with its facts, its tokens and the biggest jumps of the reward."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.terminal import Table
from rewardsmith.records.scoring import ExplainedText, ExplainRecord
from rewardsmith.report.formatting import visible

_SHOWN = 120
_AROUND_A_JUMP = 2


def print_explanation(console: Console, record: ExplainRecord) -> None:
    """Each text with its tokens; for a pair, where it parts and its margin."""
    for text in record.texts:
        _print_text(console, text, record)
    if record.margin is not None:
        console.print(
            f"margin (chosen − rejected): {record.margin:+.4f}; "
            f"the texts differ from token {record.first_difference} on",
            highlight=False,
        )


def _print_text(console: Console, text: ExplainedText, record: ExplainRecord) -> None:
    console.print(Text(f"{text.name} of {record.source}", style="bold"))
    console.print(Text(visible(text.text.replace("\n", "⏎"), 2000)), highlight=False)
    for label, value in _facts(text, record):
        console.print(Text(f"  {label:<10}{value}"), highlight=False, soft_wrap=True)
    console.print(_token_table(text))


def _facts(text: ExplainedText, record: ExplainRecord) -> Iterator[tuple[str, str]]:
    last = text.tokens[-1]
    ends = (
        f"yes, {text.eos_token} at {len(text.tokens) - 1}" if text.ends_with_eos else f"NO: it ends with {last.token}"
    )
    yield (
        "tokens",
        f"{len(text.tokens):,} of at most {record.max_length:,}; the response begins at {text.response_start}",
    )
    if text.cut:
        yield "cut", f"{text.cut:,} prompt tokens ({record.over_length}): {visible(text.cut_text, 300)}"
    yield "EOS", f"{ends}{', DOUBLED' if text.eos_doubled else ''}"
    beside = f"; behind the one that the tokenizer adds to plain text the reward is {text.reward_with_bos}"
    times = {0: "none", 1: "once"}.get(text.bos, f"{text.bos} TIMES")
    yield "BOS", times + (beside if text.reward_with_bos is not None else "")
    where = "by the encoder's own pooler" if text.pooling_position is None else f"at token {text.pooling_position}"
    yield "reward", f"{text.reward:+.4f}, read {where}"
    yield "running", f"{record.running}; the head was trained at EOS only"


def _token_table(text: ExplainedText) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("token", "id", "text", "reward", "change", ""):
        table.add_column(name, justify="right" if name in ("token", "id", "reward", "change") else "left")
    ranks = {position: rank for rank, position in enumerate(text.jumps, start=1)}
    before = text.response_start - 1
    if before > 0:
        table.add_row("", "", Text(f"… {before:,} prompt tokens …", style="dim"))
    last = max(before, 0) - 1
    for position in _shown(text):
        if position > last + 1:
            table.add_row("", "", Text(f"… {position - last - 1:,} tokens …", style="dim"))
        last = position
        token = text.tokens[position]
        style = "" if position not in ranks else "green" if (token.change or 0) > 0 else "red"
        mark = f"{'▲' if (token.change or 0) > 0 else '▼'} {ranks[position]}" if position in ranks else ""
        shown = visible(token.text.replace("\n", "⏎"), 40) if token.text.strip(" ") else f"{token.text!r}"
        table.add_row(
            str(position),
            str(token.id),
            Text(shown, style=style),
            _signed(token.reward),
            Text(_signed(token.change), style=style),
            Text(mark, style=style),
        )
    return table


def _shown(text: ExplainedText) -> list[int]:
    """Positions of the response with the token before it; of a long one, those around the largest jumps and the end."""
    positions = list(range(max(text.response_start - 1, 0), len(text.tokens)))
    if len(positions) <= _SHOWN:
        return positions
    centres = {positions[0], len(text.tokens) - 1, *text.jumps}
    return [position for position in positions if min(abs(position - one) for one in centres) <= _AROUND_A_JUMP]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
