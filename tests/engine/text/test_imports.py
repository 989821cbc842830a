"""The HTTP side imports all of this, and must not pay for torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_neither_torch_nor_transformers_is_imported_by_text_or_registry() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "engine" / "text").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    modules += ["engine.models.card", "engine.models.registry"]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
