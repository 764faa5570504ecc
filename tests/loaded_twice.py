"""``python -m tests.loaded_twice FILE MODULE ARGUMENTS``: runs a module, writes which files it loaded twice."""

from __future__ import annotations

import runpy
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]


def loaded_twice(started: str) -> list[str]:
    """Files of this tree with two modules. What ``-m`` itself imports, the packages that hold the module, may be."""
    parents = {started.rpartition(".")[0] or started, started.partition(".")[0], started}
    names = defaultdict(set)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        ours = file and Path(file).is_relative_to(ROOT) and "site-packages" not in file
        if ours and name not in parents and name != "__main__":
            names[file].add(name)
    unprefixed = {name.partition(".")[0] for held in names.values() for name in held} - {
        "mdaf",
        "tests",
        "hydra_plugins",
    }
    return [f"{file}: {held}" for file, held in names.items() if len(held) > 1] + sorted(unprefixed)


def main() -> None:
    target, started, *arguments = sys.argv[1:]
    sys.path.insert(0, str(ROOT))  # as python -m has it in a clone
    sys.argv = [started, *arguments]
    try:
        runpy.run_module(started, run_name="__main__", alter_sys=True)
    finally:
        Path(target).write_text("\n".join(loaded_twice(started)))


if __name__ == "__main__":
    main()
