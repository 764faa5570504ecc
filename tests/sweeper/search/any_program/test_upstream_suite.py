"""The test-suite of hydra-optuna-sweeper ("upstream"), with its class and its config group replaced by ours.

The suite is fetched with pip, once, into ``runs/cache``. It is no part of this project. Where it cannot be fetched the
test is skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.sweeper import upstream
from tests.sweeper.tiny import ROOT

VERSION = "1.4.0rc3"
SDIST = f"hydra_optuna_sweeper-{VERSION}.tar.gz"
SHA256 = "a3fb42c5dee7d35247d411cbd701805af884a6de2eb08a4b45d388500fd473f8"
SUITE = "tests/test_optuna_sweeper_plugin.py"
CACHE = ROOT / "runs/cache"
FETCH_SECONDS = 90
OUR_CLASS = "from mdaf.sweeper.search.plugin import RegularizationSweeper as OptunaSweeper"
THEIR_CLASS = "from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper"


@pytest.fixture(scope="module")
def suite() -> str:
    """The text of the suite. Skips the test where it cannot be fetched."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / SDIST).exists():
            _fetch()
    content = (CACHE / SDIST).read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256
    with tarfile.open(CACHE / SDIST) as archive:
        found = archive.extractfile(f"{SDIST.removesuffix('.tar.gz')}/{SUITE}")
        assert found is not None
        return found.read().decode()


def _fetch() -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--retries", "0", "--timeout", "10", "--dest", str(CACHE), f"hydra-optuna-sweeper=={VERSION}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or "").strip().splitlines() if isinstance(error.stderr, str) else []
        pytest.skip(f"upstream's source distribution cannot be fetched: {said[-1] if said else error}")


def staged(suite: str, folder: Path, group: str) -> None:
    """Lays the suite out as it expects itself to lie, beside its programs, with a sweeper's class and group."""
    own = Path(upstream.__file__).parent
    shutil.copytree(own / "example", folder / "example")
    shutil.copytree(own / "conf", folder / "tests/conf")
    for config in folder.rglob("*.yaml"):
        config.write_text(config.read_text().replace("GROUP", group))
    (folder / "setup.py").touch()  # marks the folder that the suite works in
    if group == "study":
        assert suite.count(THEIR_CLASS) == 1
        suite = suite.replace(THEIR_CLASS, OUR_CLASS).replace("hydra/sweeper=optuna", "hydra/sweeper=study")
    (folder / SUITE).write_text(suite)


def outcomes(folder: Path, *, forked: bool) -> dict[str, str]:
    """The tests of a staged suite, each with ``passed``, ``failed`` or ``skipped``."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "addopts="]
    command += ["-p", "tests.sweeper.upstream.forked"] if forked else []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("HYDRA_FULL_ERROR", None)
    ended = subprocess.run([*command, SUITE], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert report.exists(), ended.stdout + ended.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.attrib["name"]] = "passed" if not kinds else "skipped" if kinds == {"skipped"} else "failed"
    return found


def listed() -> dict[str, int]:
    """The tests that docs/reference/upstream-tests.md lists, each with its number of cases."""
    text = (ROOT / "docs/reference/upstream-tests.md").read_text()
    return {
        name: int(cases) for name, cases in re.findall(r"^\| `(test_\w+)` \| (\d+) \| pass \| pass \|$", text, re.M)
    }


def passed(found: Mapping[str, str]) -> dict[str, int]:
    """The tests of which every case passed, each with its number of cases."""
    cases = Counter(name.partition("[")[0] for name in found)
    bad = {name.partition("[")[0] for name, outcome in found.items() if outcome != "passed"}
    return {name: count for name, count in cases.items() if name not in bad}


def test_every_test_of_upstreams_suite_passes_with_our_class_and_group(suite: str, tmp_path: Path) -> None:
    staged(suite, tmp_path, "study")
    assert passed(outcomes(tmp_path, forked=True)) == listed()


@pytest.mark.slow  # upstream's suite with upstream's class, then with ours, each program in a process of its own
@pytest.mark.parametrize("group", ["optuna", "study"])
def test_upstreams_suite_passes_in_processes_of_its_own(suite: str, tmp_path: Path, group: str) -> None:
    staged(suite, tmp_path, group)
    assert passed(outcomes(tmp_path, forked=False)) == listed()
