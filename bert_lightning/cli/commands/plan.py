"""Estimates the parameters, FLOPs, memory and hours of a run; needs neither a GPU nor a corpus."""

from argparse import Namespace

from bert_lightning.reports.plan_report import show_plan
from bert_lightning.sizing.plan import PlanOptions


def main(args: Namespace) -> None:
    options = PlanOptions(args.tokens, args.tflops, args.memory, args.vocab_size, args.fill)
    show_plan(args.config, options, args.json)
