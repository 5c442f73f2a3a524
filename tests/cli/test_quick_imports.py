"""A training run imports neither plots nor scipy nor transformers before it needs them."""

import subprocess
import sys

import pytest

CODE = """
import gc, sys
from bert_lightning.cli.commands import train
assert "torch" not in sys.modules
with train.quick_imports():
    from bert_lightning.reports.run_report import report
    from bert_lightning.training.fit import fit
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() > 0
others = ("matplotlib", "scipy", "transformers", "lightning")
print([name for name in others if name in sys.modules])
from lightning_utilities.core.imports import RequirementCache
print(bool(RequirementCache("matplotlib>=3.6.0")))
"""


@pytest.mark.slow
def test_a_run_imports_no_plots_no_scipy_and_no_transformers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['lightning']", "True"]
