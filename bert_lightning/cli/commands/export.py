"""Writes a trained model as a folder that Hugging Face's transformers loads, heads included."""

import logging
from collections.abc import Sequence
from pathlib import Path

from bert_lightning.cli.parsers import parser_of
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("export")
    parser.add_argument("run", help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("folder", type=Path, help="new, empty, or an earlier export")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from bert_lightning.inference.export import export

    folder, checked_by, difference = export(args.run, args.folder)
    print(
        f"saved {folder}; loaded again by {checked_by}, its outputs differ by {difference:.1g} at "
        "most; add your license to README.md"
    )
