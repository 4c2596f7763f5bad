"""Count the words of one part: /shared/parts/N.txt -> /shared/counts/N.json.

A word is what Python would take for a name, in ASCII: letters, digits and underscores, not beginning with a digit.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

SHARED = Path("/shared")
WORD = re.compile(rb"\b[A-Za-z_]\w*")


def main(part: int) -> None:
    counts = Counter(WORD.findall((SHARED / "parts" / f"{part}.txt").read_bytes()))
    (SHARED / "counts").mkdir(exist_ok=True)
    written = SHARED / "counts" / f"{part}.json.new"
    written.write_text(json.dumps({word.decode("ascii"): count for word, count in counts.items()}))
    written.rename(SHARED / "counts" / f"{part}.json")
    print(f"part {part}: {counts.total()} words, {len(counts)} different")


if __name__ == "__main__":
    main(int(sys.argv[1]))
