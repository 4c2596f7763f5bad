"""Split the text into parts of about the same size: /shared/text/**/*.py -> /shared/parts/1.txt, 2.txt, ..."""

import sys
from pathlib import Path

SHARED = Path("/shared")


def main(parts: int) -> None:
    files = sorted(SHARED.glob("text/**/*.py"), key=lambda file: (-file.stat().st_size, file))
    chosen: list[list[Path]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for file in files:  # the largest first, each to the part that is smallest so far
        smallest = sizes.index(min(sizes))
        chosen[smallest].append(file)
        sizes[smallest] += file.stat().st_size
    (SHARED / "parts").mkdir(exist_ok=True)
    for number, members in enumerate(chosen, start=1):
        written = SHARED / "parts" / f"{number}.txt.new"
        # A line end between two files, so that no word is made of the end of one and the beginning of the next.
        written.write_bytes(b"".join(line_ended(file.read_bytes()) for file in members))
        written.rename(SHARED / "parts" / f"{number}.txt")
    print(f"{len(files)} files, {sum(sizes)} bytes, in {parts} parts of {min(sizes)} to {max(sizes)} bytes")


def line_ended(text: bytes) -> bytes:
    return text if text.endswith(b"\n") or not text else text + b"\n"


if __name__ == "__main__":
    main(int(sys.argv[1]))
