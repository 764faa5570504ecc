"""Programs of other people, as they are written and started: each is swept, goes on, and is run again as it is told.

Nothing of these programs is written for this project but the line ``override hydra/sweeper: study``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial

from mdaf.sweeper.hydra_ext.overrides import words
from mdaf.sweeper.study.winners import best_records
from tests.processes import Running

PROGRAM = """
import hydra, mdaf

@hydra.main(config_path="conf", config_name="config", version_base=None)
def main(cfg):
    trial = mdaf.attach()
    trial.report(1, cfg.x)
    trial.record({"saw": str(cfg)})
    print("x =", cfg.x, "trial", trial.number, flush=True)
    return (cfg.x - 0.3) ** 2

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults:
  - override hydra/sweeper: study
  - _self_
x: 0.5
hydra:
  sweeper:
    storage: sqlite:///studies.db
    study_name: theirs
    params:
      x: interval(0, 1)
"""
SWEEP = ("-m", "hydra.sweeper.n_trials=2")
ON = ("-m", "hydra.sweeper.n_trials=3")


@dataclass
class Program:
    """Somebody's program in a folder, and how it is started: ``app.py``, ``pkg.mod``, ``../app.py`` or ``bin/app``."""

    folder: Path
    started: str = "app.py"
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, files: dict[str, str]) -> Program:
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = Running(self.started, *arguments, cwd=self.folder, environment=self.environment).wait()
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @property
    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="theirs", storage=f"sqlite:///{self.folder}/studies.db")

    def swept(self, *arguments: str) -> list[FrozenTrial]:
        """Sweeps to two trials, then on to three, which must be one study with every trial told by its job."""
        self.run(*SWEEP, *arguments)
        self.run(*ON, *arguments)
        trials = self.study.trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
        for trial in trials:
            assert trial.intermediate_values == {1: trial.params["x"]}
        return trials

    def best_line(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """The line that ``mdaf-study best`` prints in the program's folder, run again: it has the best trial's x."""
        monkeypatch.chdir(self.folder)
        [record] = best_records(self.study, 1)
        line = str(record["command"])
        typed = shlex.split(line)
        typed = typed[1:] if typed[0] == "python" else [self.started, *typed[1:]]
        typed = typed[1:] if typed[0] == "-m" else typed
        again = Running(*typed, cwd=self.folder, environment=self.environment).wait()
        assert again.returncode == 0, again.stderr
        assert f"x = {self.study.best_params['x']} trial None" in again.stdout
        return line


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "theirs").write({"app.py": PROGRAM, "conf/config.yaml": CONFIG})


def test_a_program_whose_device_is_a_plain_value(program: Program) -> None:
    program.write({"conf/config.yaml": f"{CONFIG}\ndevice: 0\n"})
    assert all("'device': 0" in trial.user_attrs["saw"] for trial in program.swept())


def test_a_program_with_a_node_sweep_and_a_key_resume_of_its_own(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write({"conf/config.yaml": f"{CONFIG}\nsweep: {{depth: 3, storage: local, rate: 0.1}}\nresume: no\n"})
    trials = program.swept("sweep.depth=4", "sweep.rate=interval(0.0,1.0)", "resume=maybe")
    for trial in trials:
        rate = trial.params["sweep.rate"]
        assert (
            f"'sweep': {{'depth': 4, 'storage': 'local', 'rate': {rate}}}, 'resume': 'maybe'" in trial.user_attrs["saw"]
        )
    assert program.best_line(monkeypatch).startswith("python app.py sweep.depth=4 resume=maybe ")


def test_jobs_that_change_into_their_folder_with_a_relative_sqlite_path(program: Program) -> None:
    program.swept("hydra.job.chdir=true")
    assert [path.relative_to(program.folder) for path in program.folder.rglob("*.db")] == [Path("studies.db")]


def test_a_sweep_folder_with_the_time_in_its_name(program: Program) -> None:
    program.write({"conf/config.yaml": f"{CONFIG}  sweep:\n    dir: logs/${{now:%Y-%m-%d}}/${{now:%H-%M-%S.%f}}\n"})
    program.swept()
    folders = {path.parent for path in program.folder.rglob(".hydra")}
    assert {folder.name for folder in folders} == {"0", "1", "2"}
    assert len({folder.parent for folder in folders}) == 1


@pytest.mark.parametrize(
    ("subdir", "names"),
    [("run_${hydra.job.num}", {"run_0", "run_1", "run_2"}), ("${hydra.job.override_dirname}", None)],
)
def test_a_typed_folder_name_that_only_a_job_knows(program: Program, subdir: str, names: set[str] | None) -> None:
    program.swept(f"hydra.sweep.subdir={subdir}")
    folders = {path.parent.name for path in program.folder.rglob(".hydra")}
    assert len(folders) == 3
    assert folders == names or all("=" in folder for folder in folders)


def test_configs_in_another_folder_and_on_the_search_path(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.write(
        {
            "my own/net/big.yaml": "width: 8",
            "further/loss/mild.yaml": "name: mild",
        }
    )
    typed = ("--config-dir", "my own", "hydra.searchpath=[file://further]", "+net=big", "+loss=mild")
    trials = program.swept(*typed)
    assert all("{'width': 8}" in trial.user_attrs["saw"] for trial in trials)
    line = program.best_line(monkeypatch)
    assert line.startswith(
        "python app.py --config-dir 'my own' 'hydra.searchpath=[file://further]' +net=big +loss=mild "
    )


def test_a_config_path_and_a_config_name_that_are_typed(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    (program.folder / "conf").rename(program.folder / "settings")
    (program.folder / "settings/config.yaml").rename(program.folder / "settings/main.yaml")
    program.swept("--config-path", "settings", "--config-name", "main")
    assert program.best_line(monkeypatch).startswith("python app.py --config-path settings --config-name main x=")


def test_a_module_of_a_package(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.write({"pkg/__init__.py": "", "pkg/train.py": PROGRAM})
    shutil.move(program.folder / "conf", program.folder / "pkg/conf")
    program.started, program.environment = "pkg.train", {"PYTHONPATH": str(program.folder)}
    program.swept()
    assert program.best_line(monkeypatch).startswith("python -m pkg.train x=")


def test_a_script_in_another_folder(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Program(program.folder.parent / "elsewhere", "../theirs/app.py")
    here.folder.mkdir()
    here.swept()
    assert here.best_line(monkeypatch).startswith("python ../theirs/app.py x=")


def test_a_program_that_is_installed_as_a_console_script(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    site = program.folder / "site"
    program.write(
        {
            "site/curve/__init__.py": "",
            "site/curve/cli.py": PROGRAM,
            "site/curve/conf/__init__.py": "",
            "site/curve/conf/config.yaml": CONFIG,
            "site/curve-1.0.dist-info/METADATA": "Name: curve\nVersion: 1.0\n",
            "site/curve-1.0.dist-info/entry_points.txt": "[console_scripts]\ncurve = curve.cli:main\n",
            "bin/curve": "from curve.cli import main\nmain()\n",
        }
    )
    (program.folder / "app.py").unlink()
    installed = program.folder / "bin/curve"
    installed.chmod(0o755)
    path = os.pathsep.join([str(installed.parent), os.environ["PATH"]])
    program.started, program.environment = str(installed), {"PYTHONPATH": str(site), "PATH": path}
    program.swept()
    monkeypatch.syspath_prepend(site)
    assert program.best_line(monkeypatch).startswith("curve x=")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("qqqq=choice(1,2)", "qqqq: there is no such key; python app.py --cfg job shows all that there are"),
        ("hydra.sweeper.timeout=-1", "hydra.sweeper.timeout: found -1, expected seconds from 0, or null"),
    ],
)
def test_a_mistake_is_one_line_that_names_keys_and_options_of_that_program(
    program: Program, typed: str, said: str
) -> None:
    refused = Running("app.py", *SWEEP, typed, cwd=program.folder).wait()
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == f"error: {said}"
    assert not (program.folder / "studies.db").exists()


def test_the_best_trials_overrides_are_read_by_eval_and_plain_ones_without_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.run(*SWEEP, "+note='two words'", "+head=[16,8]", "++extra={a: 1, b: null}")
    monkeypatch.chdir(program.folder)
    [record] = best_records(program.study, 1)
    line = words(record["overrides"])
    read = taken_by_bash('eval "set -- $0"', line)
    assert read == ["+note='two words'", "+head=[16,8]", "++extra={a:1,b:null}", f"x={record['params']['x']}"]
    assert taken_by_bash("set -- $0", line)[-1] == read[-1]  # as after $(mdaf-study best --format overrides)
    again = program.run(*read)
    assert f"x = {record['params']['x']} trial None" in again.stdout


def taken_by_bash(command: str, line: str) -> list[str]:
    """The words that bash reads from a line."""
    script = f"{command}; printf '%s\\n' \"$@\""
    return subprocess.run(["bash", "-c", script, line], capture_output=True, text=True, check=True).stdout.splitlines()
