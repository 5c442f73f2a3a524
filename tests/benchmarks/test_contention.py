"""What a run may expect beside other programs, and what the table says that it keeps."""

import pytest

from benchmarks.contention import OWN, SITUATIONS, Turn, fair_fraction, summary
from benchmarks.machine import bf16_kernel


@pytest.mark.parametrize(
    ("situation", "nice", "cores", "fraction"),
    [
        ("alone", 0, 2, 1.0),
        ("one program", 0, 2, 2 / 3),  # three equal threads on two cores
        ("two programs", 0, 2, 0.5),
        ("two programs", 10, 2, 2 / (2 + 2 * 0.107374)),
        ("another training", 10, 2, 0.5),
    ],
)
def test_the_fair_fraction_follows_from_priorities(
    situation: str, nice: int, cores: int, fraction: float
) -> None:
    assert fair_fraction(situation, nice, cores, threads=2) == pytest.approx(fraction, rel=1e-3)


def test_programs_on_cores_of_their_own_take_nothing() -> None:
    assert fair_fraction("two programs", 0, cores=4, threads=2) == 1.0


def test_what_is_kept_is_measured_against_the_fair_rate() -> None:
    turns = {
        situation: {OWN: [Turn(800.0 / 2**place, 2.0, None)], "1000": [Turn(300.0, 1.0, 0.5)]}
        for place, situation in enumerate(SITUATIONS)
    }
    found = summary(turns, nice=0, cores=2, threads=2)["median"]
    assert found["two programs"]["fair_pairs_per_second"] == 400
    assert found["two programs"][OWN]["kept"] == 0.5
    assert found["two programs"]["1000"] == {
        "pairs_per_second": 300.0,
        "kept": 0.75,
        "cores": 1.0,
        "ran": 0.5,
    }


def test_the_kernel_is_told_aloud_only_to_who_asks(capfd: pytest.CaptureFixture[str]) -> None:
    kernel = bf16_kernel()
    assert kernel is None or ":" in kernel
    assert capfd.readouterr().out == ""
