"""Two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from .figures import Figure, figures
from .run import Result


def compared(before: Sequence[Result], after: Sequence[Result]) -> str:
    """A table of the figures that both runs have, with the change in percent."""
    earlier = {figure.name: figure for figure in figures(before)}
    lines = [f"{'figure':<28} {'before':>12} {'after':>12} {'change':>8}  target"]
    for now in figures(after):
        was = earlier.get(now.name)
        if was is not None:
            change = f"{(now.value / was.value - 1) * 100:+.0f} %" if was.value else "-"
            lines.append(f"{now.name:<28} {was.value:>12.3f} {now.value:>12.3f} {change:>8}  {_target(now)}")
    return "\n".join(lines)


def _target(figure: Figure) -> str:
    return f"{'>=' if figure.at_least else '<='} {figure.target:g} {figure.unit}{'' if figure.met else '  MISSED'}"
