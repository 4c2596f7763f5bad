"""How long steps are told of: one line at a time, to whatever the caller shows lines with (`print` by default)."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], object]
