"""Diagnoses a run: what may be wrong, the evidence in its numbers, and what to try."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bert_lightning.cli.parsers import parser_of
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("doctor")
    parser.add_argument("run", type=Path, help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    from bert_lightning.reports.evaluation_report import show_diagnosis
    from bert_lightning.runs.diagnosis import diagnose
    from bert_lightning.runs.record import read_run

    record = read_run(args.run)
    checks = diagnose(record)
    if args.json:
        found = {"run": str(record.folder), "checks": [asdict(check) for check in checks]}
        print(json.dumps(found, indent=2))
    else:
        show_diagnosis(record, checks)
