"""The faults that the core's tests are run on."""

import json
from pathlib import Path

import pytest

from benchmarks.mutants import mutants
from benchmarks.mutation import EQUIVALENTS, TESTS

ROOT = Path(__file__).parents[2]


def test_mutants_are_small_faults_in_code_and_in_nothing_else() -> None:
    source = '''"""Adds 1."""
import math

def add(a: int, b: int = 2, *, loud: bool = False) -> int:
    """Adds 3."""
    if loud and a < b:
        print(f"adding {a + b}", flush=True)
    if not math.isfinite(a):
        raise ValueError(f"no {a + 1}")
    return a + b
'''
    found = mutants(source)
    assert len({mutant.source for mutant in found}) == len(found)
    assert len({mutant.name for mutant in found}) == len(found)
    assert all(mutant.source != source for mutant in found)
    for mutant in found:
        compile(mutant.source, "mutant", "exec")
        assert len(mutant.source.splitlines()) == len(source.splitlines())
    assert {mutant.name for mutant in found} == {
        "add: def add(a: int, b: int = 2, *, loud: bool = False) -> int: "
        f"→ def add(a: int, b: int = {after}) -> int:"
        for after in ("3, *, loud: bool = False", "2, *, loud: bool = True")
    } | {
        f"add: if loud and a < b: → if {after}:"
        for after in ("True", "False", "loud", "(a < b)", "(loud or a < b)", "loud and a<= b")
    } | {
        f'add: print(f"adding {{a + b}}", flush=True) → {after}'
        for after in (
            "pass",
            '(print(f"adding {a + b}", ))',
            'print(f"adding {a + b}", flush=False)',
        )
    } | {
        f"add: if not math.isfinite(a): → if {after}:"
        for after in ("True", "False", "(math.isfinite(a))", "not math.isnan(a)")
    } | {
        'add: raise ValueError(f"no {a + 1}") → pass',
        "add: return a + b → return (a - b)",
        "add: return a + b → return a",
    }


@pytest.mark.slow
def test_equivalent_faults_are_faults_of_the_code_as_it_is() -> None:
    """So that a reason does not outlive the line that it is about."""
    known = json.loads(EQUIVALENTS.read_text(encoding="utf-8"))
    assert known.keys() <= TESTS.keys()
    for module, groups in known.items():
        path = ROOT / "bert_lightning" / f"{module}.py"
        possible = {mutant.name for mutant in mutants(path.read_text(encoding="utf-8"))}
        for group in groups:
            assert group["why"].endswith(".")
            assert set(group["mutants"]) <= possible, module
