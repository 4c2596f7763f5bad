"""How a subcommand fails for reasons that a person can mend."""

from __future__ import annotations


class CommandError(Exception):
    """It cannot be done; the message says what is wrong, where, and what to do."""


class NotFoundError(CommandError):
    """There is no such thing (yet); the message says what, and why."""
