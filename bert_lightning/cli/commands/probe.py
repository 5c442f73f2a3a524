"""Measures what a linear classifier reads from the frozen vectors of each layer."""

import json
from argparse import Namespace
from dataclasses import asdict

from bert_lightning.finetuning.probes import probe_source
from bert_lightning.pretrained.sources import open_source
from bert_lightning.reports.probe_report import show_probes
from bert_lightning.work import working


def main(args: Namespace) -> None:
    with working("probing"):
        found = probe_source(open_source(args.run), args.config, args.overrides)
    if args.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        show_probes(found)
