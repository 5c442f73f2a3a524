"""Shows what a run would read and cost, before it starts."""

from argparse import Namespace

from bert_lightning.reports.data_report import show_data
from bert_lightning.reports.plan_report import show_plan
from bert_lightning.sizing.plan import PlanOptions


def plan(args: Namespace) -> None:
    """Estimates parameters, FLOPs, memory and hours; needs neither a GPU nor a corpus."""
    options = PlanOptions(args.tokens, args.tflops, args.memory, args.vocab_size, args.fill)
    show_plan(args.config, options, args.json)


def inspect(args: Namespace) -> None:
    """Shows a corpus, some of its examples, and the baselines to read losses against."""
    show_data(args.config, args.examples)
