"""The report of Phase 4 on a study, as Python has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdaf.api.command import outcome_of
from mdaf.api.display import table
from mdaf.api.finished_run import path_of
from mdaf.api.overrides import Overrides, words_of
from mdaf.api.studies import check_text, storage_of
from mdaf.errors import UserError
from mdaf.extras import require
from mdaf.naming.studies import folder_of

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "runs/phase4"  # as in conf/phase4.yaml
REMEDY = "write the report again"


class Report:
    """A report that Phase 4 wrote. `mdaf.report` returns one.

    Attributes:
        folder: The folder that holds `report.html`, `report.md` and `report.json`.
    """

    def __init__(self, folder: str | Path) -> None:
        """Reads a report.

        Args:
            folder: The folder of the report.

        Raises:
            UserError: If there is no report, or it is damaged.
        """
        from mdaf.sweeper.runs.reader import read_json

        self.folder = Path(folder)
        self._content = read_json(self.folder / "report.json", REMEDY)
        if not all(isinstance(self._content.get(name), dict) for name in ("inputs", "figures")):
            raise UserError(f"{self.folder / 'report.json'}: holds no figures, expected a report of Phase 4; {REMEDY}")

    @property
    def path(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "report.html"

    @property
    def study(self) -> str:
        """The name of the study."""
        return str(self._content["inputs"].get("study"))

    @property
    def figures(self) -> dict[str, Any]:
        """Every figure of the report, as `report.json` holds it."""
        return dict(self._content["figures"])

    @property
    def verdict(self) -> str:
        """The answer in one sentence, such as `trial-7 is better than balanced: ...`."""
        decision = self._content["figures"].get("decision")
        compared = self._content["figures"].get("comparisons") or []
        if not isinstance(decision, dict) and not compared:
            return "nothing was compared"
        found = decision if isinstance(decision, dict) else compared[0]
        last = (found.get("looks") or [found])[-1]
        a, b, word = (str(found.get(name)) for name in ("a", "b", "verdict"))
        said = f"{a} is {word} than {b}" if word in ("better", "worse") else f"{a} and {b} are {word}"
        if not isinstance(last.get("mean"), int | float):
            return said
        return f"{said}: mean difference {last['mean']:+.4g} over {last.get('n')} pairs of seeds"

    @property
    def deploy(self) -> str | None:
        """The name of the configuration to deploy; None where no question was asked."""
        decision = self._content["figures"].get("decision")
        return str(decision["deploy"]) if isinstance(decision, dict) and decision.get("deploy") else None

    def __repr__(self) -> str:
        return f"<mdaf report on {self.study}: {self.verdict}; {self.path}>"

    def _repr_html_(self) -> str:
        deploy = [] if self.deploy is None else [("deploy", self.deploy)]
        return table(f"Report on {self.study}", [("verdict", self.verdict), *deploy, ("page", self.path)])


def report(
    study: str | pd.DataFrame,
    overrides: Overrides = (),
    *,
    storage: str | None = None,
    folder: str | Path = FOLDER,
    run: bool = False,
    quiet: bool = False,
) -> Report:
    """The report on a study. See `mdaf.report`."""
    attributes = getattr(study, "attrs", {})
    name = study if isinstance(study, str) else attributes.get("study")
    if not isinstance(name, str):
        raise UserError(f"study: found {type(study).__name__}, expected a study's name, or a frame from mdaf.study")
    check_text("storage", storage)
    folder = path_of("folder", folder, "a folder")
    if not run:
        return _latest(name, Path(folder))
    from mdaf.sweeper.hydra_ext.overrides import hydra_value

    require("verdict", "mdaf.report")
    url = storage_of(storage or attributes.get("storage"))
    given = {"study": name, "storage": url, "folder": folder}
    own = [f"{key}={hydra_value(value)}" for key, value in given.items()]
    found = outcome_of("mdaf.multirun", [*own, "ask=false", *words_of(overrides)], quiet=quiet)
    return Report(found["folder"])


def _latest(name: str, home: Path) -> Report:
    """The report on the study that was written last."""
    from mdaf.sweeper.runs.reader import read_json

    files = sorted((home / folder_of(name)).glob("report*/report.json"), key=lambda file: file.stat().st_mtime_ns)
    for file in reversed(files):
        inputs = read_json(file, REMEDY).get("inputs")
        if isinstance(inputs, dict) and inputs.get("study") == name:
            return Report(file.parent)
    raise UserError(
        f"{home / folder_of(name)}: holds no report on study {name}; mdaf.report({name!r}, run=True) makes one"
    )
