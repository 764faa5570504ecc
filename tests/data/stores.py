"""What tests do to stores on the disk."""

from __future__ import annotations

import json
from pathlib import Path

from mdaf.data.store.integrity.verification import STAMP, checksums_of
from mdaf.data.store.manifest import CHECKSUM, CRC32, MANIFEST, read_manifest, write_manifest


def reseal(folder: Path) -> None:
    """Makes the manifest tell what the files hold now, as if the store had been written so."""
    manifest = read_manifest(folder)
    sizes = {name: (folder / name).stat().st_size for name in manifest["files"]}
    write_manifest(folder, {**manifest, "files": sizes, CRC32: checksums_of(folder, sizes)})


def as_before_checksums(folder: Path) -> None:
    """Makes the store one that an earlier version wrote."""
    manifest = json.loads((folder / MANIFEST).read_text())
    kept = {key: value for key, value in manifest.items() if key not in (CHECKSUM, CRC32)}
    (folder / MANIFEST).write_text(json.dumps(kept))
    (folder / STAMP).unlink(missing_ok=True)
