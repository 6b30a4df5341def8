"""Numbers and verdicts as all commands print them. Loads nothing heavy: commands import it before they do any work."""

from __future__ import annotations

from rich.text import Text

MINUS = "\u2212"
VERDICT_COLOURS = {"PASS": "green", "FAIL": "red", "NO_DATA": "yellow"}


def percent(share: float | None, *, sign: str = "", missing: str = "") -> str:
    """A share in per cent with one decimal: 0.642 → "64.2"; with `sign="+"` also +64.2."""
    return missing if share is None else f"{100 * share:{sign}.1f}".replace("-", MINUS)


def percent_interval(low: float | None, high: float | None, *, sign: str = "") -> str:
    """ "60.1 to 68.0", empty where there is no interval."""
    return "" if low is None or high is None else f"{percent(low, sign=sign)} to {percent(high, sign=sign)}"


def p_value(value: float) -> str:
    """To four decimals, and below that only "< 0.0001"."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def gates_verdict(passing: int, gates: int) -> Text:
    """The last line on gates: PASS where every one does."""
    verdict = Text("PASS", "bold green") if passing == gates else Text("FAIL", "bold red")
    return Text("verdict: ") + verdict + Text(f", {passing} of {gates} gates pass")
