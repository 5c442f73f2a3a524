"""Prints what may be wrong with a run, the numbers that rests on, and what to try.

python scripts/doctor.py RUN
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bert_lightning.errors import exit_on_user_error
from bert_lightning.runs.diagnosis import diagnose
from bert_lightning.runs.record import read_run
from bert_lightning.reports.evaluation_report import show_diagnosis


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print what may be wrong with a run.")
    parser.add_argument("run", type=Path, help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_args(argv)

    record = read_run(args.run)
    checks = diagnose(record)
    if args.json:
        found = {"run": str(record.folder), "checks": [asdict(check) for check in checks]}
        print(json.dumps(found, indent=2))
    else:
        show_diagnosis(record, checks)


if __name__ == "__main__":
    main()
