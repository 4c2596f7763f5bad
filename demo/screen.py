"""What the demo shows: a live table on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.follow import Board

COLOURS = {
    "Pending": "yellow",
    "Starting": "cyan",
    "Running": "bold cyan",
    "Succeeded": "green",
    "Failed": "red",
    "Cancelled": "magenta",
    "Skipped": "magenta",
}


class Screen:
    """Prints with the time since the start before each line; shows a board while jobs run."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._board: Board | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def step(self, title: str) -> None:
        """A step of the demo begins."""
        self.console.print(f"[dim]{self.elapsed:6.1f} s[/dim]  [bold]{title}[/bold]")

    def line(self, text: str) -> None:
        """One more thing about the step."""
        self.console.print(f"[dim]{self.elapsed:6.1f} s[/dim]    ", end="")
        self.console.print(text, markup=False)

    def text(self, text: str) -> None:
        """Text as it is."""
        self.console.print(text, markup=False)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """A table; on a terminal its last column is cut where the line ends."""
        self.console.print(f"\n[bold]{title}[/bold]")
        if not self.console.is_terminal:
            widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
            for row in (columns, *rows):
                self.text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            self.text("")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column, *cells in zip(columns, *rows, strict=True):
            widest = max(map(len, (column, *cells)))
            table.add_column(column, no_wrap=True, min_width=None if column == columns[-1] else widest)
        for row in rows:
            table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
        self.console.print(table, soft_wrap=False)
        self.console.print()

    def changed(self, board: Board, name: str) -> None:
        """A job on the board has changed: a line in a pipe; the live table shows it by itself."""
        seen = board.jobs[name]
        if self.console.is_terminal or seen.reason == "Queued":  # for the moment until it is first looked at
            return
        attempt = f", attempt {seen.attempt}" if seen.attempt else ""
        self.line(f"{name:8}  {seen.phase} ({seen.reason}{attempt})  [{board.done}/{len(board.jobs)} done]")

    @contextmanager
    def following(self, board: Board) -> Iterator[None]:
        """Show the board while the body runs."""
        self._board = board
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, get_renderable=self._render, refresh_per_second=8):
            yield

    def _render(self) -> Group:
        board = self._board
        if board is None:
            return Group()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("job", "phase", "attempt", "reason"):
            table.add_column(column)
        for name, seen in board.jobs.items():
            attempt = str(seen.attempt) if seen.attempt else ""
            table.add_row(name, Text(seen.phase, style=COLOURS.get(seen.phase, "dim")), attempt, seen.reason)
        bar = ProgressBar(total=len(board.jobs), completed=board.done, width=40)
        return Group(table, Text(f"\n{board.done} of {len(board.jobs)} jobs, {self.elapsed:.0f} s"), bar)
