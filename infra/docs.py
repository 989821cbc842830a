"""Writes the pages that are generated from the code, or checks that they are up to date.

python -m infra.docs            write docs/settings.md and docs/metrics.md
python -m infra.docs --check    exit 1 and name the pages that are not what the code says
"""

from __future__ import annotations

import sys
from pathlib import Path

from observability import instruments
from service import knobs

DOCS = Path(__file__).parents[1] / "docs"


def pages() -> dict[Path, str]:
    """Each generated page and what it has to say."""
    return {
        DOCS / "settings.md": knobs.describe(),
        DOCS / "metrics.md": instruments.describe(),
    }


def main() -> int:
    """The exit code."""
    stale = [
        page for page, text in pages().items() if not page.exists() or page.read_text() != text
    ]
    if "--check" in sys.argv[1:]:
        for page in stale:
            print(f"docs/{page.name} is not what the code says: run `make docs`.")
        return bool(stale)
    for page in stale:
        page.write_text(pages()[page])
        print(f"wrote docs/{page.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
