"""Writes a trained model as a folder that Hugging Face's transformers loads, heads and all.

python scripts/export_hf.py RUN FOLDER
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from bert_lightning.errors import exit_on_user_error
from bert_lightning.inference.export import export


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a model in Hugging Face's format.")
    parser.add_argument("run", help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("folder", type=Path, help="new, empty, or an earlier export")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    folder, checked_by, difference = export(args.run, args.folder)
    print(
        f"saved {folder}; loaded again by {checked_by}, its outputs differ by {difference:.1g} at "
        "most; README.md waits for your licence"
    )


if __name__ == "__main__":
    main()
