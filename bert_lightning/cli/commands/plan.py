"""Estimates the parameters, FLOPs, memory and hours of a run; needs neither a GPU nor a corpus."""

from collections.abc import Sequence

from bert_lightning.cli.app import compose_for_script
from bert_lightning.cli.parsers import parser_of
from bert_lightning.cli.places import conf_dir
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("plan")
    parser.add_argument("overrides", nargs="*", help="as for train: model=large")
    parser.add_argument(
        "--tokens", type=float, help="real tokens to train on (default: those of the run's steps)"
    )
    parser.add_argument(
        "--tflops",
        type=float,
        help="TFLOP/s that a device reaches (default: 40%% of an H100's dense peak, assumed)",
    )
    parser.add_argument("--memory", type=float, help="GiB of a device (default: 80)")
    parser.add_argument(
        "--vocab-size",
        type=int,
        help="words (default: model.vocab_size, tokenizer.vocab_size or BERT's 30,522)",
    )
    parser.add_argument(
        "--fill",
        type=float,
        help="real tokens of an example, as a fraction of batch.max_length (default: all of it)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_intermixed_args(argv)
    config = compose_for_script(conf_dir(), args.overrides)
    from bert_lightning.reports.plan_report import show_plan
    from bert_lightning.sizing.plan import PlanOptions

    given = {"fill": args.fill} if args.fill is not None else {}
    options = PlanOptions(args.tokens, args.tflops, args.memory, args.vocab_size, **given)
    show_plan(config, options, args.json)
