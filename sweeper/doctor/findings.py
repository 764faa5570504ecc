"""What the doctor looks at. Each finding is one line; nothing is changed, and no run folder or study is written."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from mdaf.errors import StoppedError, UserError
from mdaf.extras import EXTRAS_FOR, PACKAGE, install, missing_of
from mdaf.hardware import cores
from mdaf.hardware.processor import processor
from mdaf.messages.secrets import masked
from mdaf.naming.studies import DEFAULT_STORAGE
from mdaf.sweeper.runs.provenance import commit
from mdaf.terminal.programs import command

Mark = Literal["ok", "note", "wrong"]
PACKAGES = (
    *("torch", "hydra-core", "omegaconf", "optuna", "SQLAlchemy", "numpy", "polars", "scikit-learn", "numba"),
    *("scipy", "triton", "mamba-ssm", "plotly", "onnxruntime"),
)
FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16", "asimd": "NEON"}
LEAST_FREE = 1 << 30  # bytes: stores and checkpoints of a first sweep fit


@dataclass(frozen=True)
class Finding:
    """A line of the doctor. ``wrong``: the usual does not work; ``note``: something that not everybody needs."""

    section: str
    name: str
    value: str
    mark: Mark = "ok"
    to_type: str = ""


def findings() -> Iterator[Finding]:
    """All of them, in the order in which they are printed. UserError in a folder that is gone, where torch aborts."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("this working directory was deleted; cd to another folder") from None
    yield from _versions()
    torch = _torch()
    yield from _devices(torch)
    yield from _kernels(torch)
    yield from _extras()
    yield from _place()


def _versions() -> Iterator[Finding]:
    state = commit()
    yield Finding("versions", PACKAGE, _version(PACKAGE) or "not installed, run from its folder")
    if state:
        yield Finding("versions", "commit", state)
    yield Finding("versions", "Python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("versions", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    for package in PACKAGES:
        if found := _version(package):
            yield Finding("versions", package, found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> Any:
    """The module; None where it is not installed or cannot be imported."""
    if find_spec("torch") is None:
        return None
    try:
        import torch
    except Exception:  # a broken installation raises anything
        return None
    return torch


def _devices(torch: Any) -> Iterator[Finding]:
    model, _, flags = processor()
    able = [name for flag, name in FLAGS.items() if flag in flags]
    memory = _memory()
    said = [
        model,
        f"{len(cores.usable())} cores",
        *([memory] if memory else []),
        ", ".join(able) or "no vector units known",
    ]
    yield Finding("devices", "CPU", "; ".join(said))
    if torch is None:
        if find_spec("torch") is not None:
            hint = f'{sys.executable} -c "import torch"'
            yield Finding("devices", "torch", "is installed and cannot be imported", "wrong", hint)
        return
    yield Finding("devices", "threads of a run", f"{torch.get_num_threads()} (device.threads changes it)")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            yield Finding("devices", f"cuda:{number}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
    else:
        yield Finding("devices", "CUDA", _why_no_cuda(torch), "note")
    if torch.backends.mps.is_available():
        yield Finding("devices", "MPS", "available")


def _why_no_cuda(torch: Any) -> str:
    return "this torch is built without CUDA" if torch.version.cuda is None else "no card, or no driver for it"


def _memory() -> str | None:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB memory"
    except (OSError, ValueError, AttributeError):
        return None


def _kernels(torch: Any) -> Iterator[Finding]:
    """Fused kernels and whether they have been compiled already."""
    if torch is None:
        return
    if find_spec("numba") is not None:
        count = _compiled()
        when = f"{count} compiled files are kept" if count else "the first run compiles them"
        yield Finding("kernels", "CPU (numba)", when)
    if torch.cuda.is_available():
        triton = find_spec("triton") is not None
        said = "available" if triton else "triton is missing"
        yield Finding("kernels", "CUDA (triton)", said, "ok" if triton else "note")
        ssm = find_spec("mamba_ssm") is not None
        yield Finding("kernels", "mamba-ssm", "available" if ssm else "not installed; our own kernels are used", "ok")


def _compiled() -> int:
    """How many compiled kernels numba keeps, without importing it."""
    spec = find_spec("mdaf.model")
    folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec is not None else []
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        folders.append(Path(named))
    return sum(1 for folder in folders for _ in folder.rglob("*.nbi"))


def _extras() -> Iterator[Finding]:
    try:
        declared = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from its folder, not installed
        declared = []
    for extra, task in EXTRAS_FOR.items():
        if extra not in declared:
            continue
        missing = missing_of(extra)
        if missing:
            yield Finding("extras", extra, f"{task}: {', '.join(missing)} missing", "note", install(extra))
        else:
            yield Finding("extras", extra, f"{task}: installed")


def _place() -> Iterator[Finding]:
    runs = Path("runs")
    existing = next(folder for folder in (runs, Path.cwd(), *Path.cwd().parents) if folder.is_dir())
    yield _writable(runs, existing)
    free = shutil.disk_usage(existing).free
    said = f"{free / 2**30:.1f} GiB free"
    if free < LEAST_FREE:
        yield Finding("here", "disk", said, "wrong", f"{command('sweeper')} runs clean --interrupted")
    else:
        yield Finding("here", "disk", said)
    yield _database()


def _writable(runs: Path, existing: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        hint = "cd to a folder of your own"
        return Finding("here", "runs/", f"{existing.absolute()} cannot be written to: {error.strerror}", "wrong", hint)
    made = "" if runs.is_dir() else ", which the first run makes"
    return Finding("here", "runs/", f"{runs.absolute()}{made}")


def _database() -> Finding:
    """Whether the study database answers. One that the first sweep will make is no mistake."""
    named = os.environ.get("MDAF_STORAGE")
    url = named or DEFAULT_STORAGE
    label = "study database" if not named else "study database, from MDAF_STORAGE"
    if not named and not Path(DEFAULT_STORAGE.removeprefix("sqlite:///")).exists():
        return Finding("here", label, f"{url}, which the first sweep makes")
    from mdaf.sweeper.storage.opening import open_storage
    from mdaf.sweeper.storage.retrying import briefly

    try:
        with briefly():
            studies = open_storage(url, create=False, read_only=True).get_all_studies()
    except (UserError, StoppedError) as error:
        return Finding("here", label, str(error), "wrong", "unset MDAF_STORAGE" if named else "")
    return Finding("here", label, f"{masked(url)}: {len(studies)} studies")
