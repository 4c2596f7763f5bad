"""Read every file as ASCII, which fails: some of the standard library's authors have names that are not."""

from pathlib import Path

SHARED = Path("/shared")


def main() -> None:
    files = sorted(SHARED.glob("text/**/*.py"))
    for file in files:
        try:
            file.read_bytes().decode("ascii")
        except UnicodeDecodeError as error:
            raise SystemExit(f"{file.relative_to(SHARED)}: {error}") from None
    print(f"{len(files)} files, all of them ASCII")


if __name__ == "__main__":
    main()
