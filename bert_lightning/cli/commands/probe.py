"""Measures what a linear classifier reads from the frozen vectors of each layer."""

import json
from argparse import Namespace
from dataclasses import asdict

from bert_lightning.finetuning.probing.models import Prober
from bert_lightning.pretrained.sources import checkpoints_of_run, open_source
from bert_lightning.reports.probe_curves import write_probes
from bert_lightning.reports.probe_report import show_probes, show_run
from bert_lightning.work import working


def main(args: Namespace) -> None:
    if args.all_checkpoints:
        _all_checkpoints(args)
        return
    with working("probing"):
        found = Prober(args.config, args.overrides).probe(open_source(args.run))
    if args.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        show_probes(found)


def _all_checkpoints(args: Namespace) -> None:
    """Probes all checkpoints of a run, and writes the results and curves into its folder."""
    folder, checkpoints = checkpoints_of_run(args.run)
    with working("probing checkpoints"):
        probed = Prober(args.config, args.overrides).probe_all(checkpoints)
        file, curves = write_probes(folder, probed)
    if args.json:
        print(file.read_text(encoding="utf-8"), end="")
    else:
        show_run(folder, probed, file, curves)
