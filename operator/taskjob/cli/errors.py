"""How a subcommand fails for reasons that a person can mend."""

from __future__ import annotations


class CommandError(Exception):
    """It cannot be done; the message says what is wrong, where, and what to do."""


class OddAnswerError(CommandError):
    """What answered is not the API of Taskjobs, or not one of this version; the message says what is odd."""


class NotFoundError(CommandError):
    """There is no such thing (yet); the message says what, and why."""
