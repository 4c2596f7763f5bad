"""Add the counts of all parts: /shared/counts/1.json, 2.json, ... -> /shared/total.json."""

import json
import sys
from collections import Counter
from pathlib import Path

SHARED = Path("/shared")


def main(parts: int) -> None:
    total: Counter[str] = Counter()
    for part in range(1, parts + 1):
        total.update(json.loads((SHARED / "counts" / f"{part}.json").read_text()))
    written = SHARED / "total.json.new"
    written.write_text(json.dumps(total))
    written.rename(SHARED / "total.json")
    print(f"{parts} parts: {total.total()} words, {len(total)} different")


if __name__ == "__main__":
    main(int(sys.argv[1]))
