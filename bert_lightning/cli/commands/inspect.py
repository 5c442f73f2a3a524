"""Shows a corpus, some of its examples, and the baselines to read losses against."""

import logging
from collections.abc import Sequence

from bert_lightning.cli.app import compose_for_script
from bert_lightning.cli.parsers import parser_of
from bert_lightning.cli.places import conf_dir
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("inspect")
    parser.add_argument("overrides", nargs="*", help="as for train: data=text data.path=FILE")
    parser.add_argument("--examples", type=int, default=3, help="how many (default: %(default)s)")
    args = parser.parse_intermixed_args(argv)
    config = compose_for_script(conf_dir(), args.overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from bert_lightning.reports.data_report import show_data

    show_data(config, args.examples)
