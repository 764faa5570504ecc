"""A training process imports what it needs, and looks after its garbage again when that is done."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from mdaf.sweeper.hydra_ext.imports import imported_to_stay


def test_garbage_is_looked_for_again_when_an_import_is_done_or_has_failed() -> None:
    with imported_to_stay():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), imported_to_stay():
        import absent_package  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
    gc.disable()
    try:
        with imported_to_stay():
            pass
        assert not gc.isenabled()  # whoever switched it off has a reason
    finally:
        gc.enable()


@pytest.mark.slow  # a process that has imported nothing yet
def test_a_loop_without_a_study_imports_no_database_no_frames_and_no_compiler() -> None:
    code = "import sys, mdaf.multirun.launching.lockstep, mdaf.multirun.launching.table, torch\n"
    code += "from mdaf.sweeper.training.optim.fused_adam import FusedAdam\n"
    code += "w = torch.ones(2); w.grad = torch.ones(2); FusedAdam([{'params': [w], 'weight_decay': 0.0}], 0.1).step()\n"
    code += "print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in names
    assert {"optuna", "sqlalchemy", "pandas", "scipy", "sklearn", "plotly", "sympy", "torch._dynamo"} & set(
        names
    ) == set()
