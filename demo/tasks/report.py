"""Print what the others found. `demo/check.py` reads this output again and compares it with a count of its own."""

import hashlib
import json
from collections import Counter
from pathlib import Path

SHARED = Path("/shared")
SHOWN = 15


def main() -> None:
    total = Counter[str](json.loads((SHARED / "total.json").read_text()))
    every_count = "".join(f"{word} {total[word]}\n" for word in sorted(total))
    print(f"words             {total.total()}")
    print(f"different-words   {len(total)}")
    print(f"lines             {json.loads((SHARED / 'lines.json').read_text())}")
    print(f"not-ascii-files   {json.loads((SHARED / 'not-ascii.json').read_text())}")
    print(f"sha256-of-counts  {hashlib.sha256(every_count.encode()).hexdigest()}")
    print()
    print("rank     count  word")
    for rank, (word, count) in enumerate(sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))[:SHOWN], 1):
        print(f"{rank:4}  {count:8}  {word}")


if __name__ == "__main__":
    main()
