"""Count the lines of the text, at the third attempt: /shared/parts/*.txt -> /shared/lines.json.

The first two attempts find "the service away", as things outside of a program's control are now and then.
"""

import json
import os
import sys
from pathlib import Path

SHARED = Path("/shared")
AWAY_UNTIL_ATTEMPT = 3


def main() -> None:
    attempt = int(os.environ["TASKJOB_ATTEMPT"])
    if attempt < AWAY_UNTIL_ATTEMPT:
        sys.exit(f"attempt {attempt}: the service is away")
    lines = sum(part.read_bytes().count(b"\n") for part in SHARED.glob("parts/*.txt"))
    written = SHARED / "lines.json.new"
    written.write_text(json.dumps(lines))
    written.rename(SHARED / "lines.json")
    print(f"attempt {attempt}: {lines} lines")


if __name__ == "__main__":
    main()
