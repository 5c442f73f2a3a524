"""What several models predict together, by the mean of their logits, on held-out text.

python -m benchmarks.ensemble runs/a runs/b

It is what a run with these models as objective.teachers learns to be like. Prints JSON.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

from bert_lightning.config import TrainConfig
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.errors import exit_on_user_error
from bert_lightning.evaluation.subject import corpus_of, evaluation_options
from bert_lightning.pretrained.sources import build, open_source
from bert_lightning.pretrained.teachers import Teachers
from bert_lightning.work import tracked


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--split", default="validation")
    args = parser.parse_args(argv)
    print(json.dumps(score(args.runs, args.split), indent=2))


@torch.no_grad()
def score(runs: Sequence[Path], split: str) -> dict[str, float | str]:
    """Returns the MLM loss in nats and the NSP accuracy of the models together, in fp32."""
    sources = [open_source(run) for run in runs]
    data, options = evaluation_options(sources[0], TrainConfig(), [])
    corpus = corpus_of(sources[0], data, options)
    held_out = EvaluationSet(corpus, split, options, sources[0].vocab_size)
    teachers = Teachers([build(source).float() for source in sources], 1.0, pairs=True)
    batches = held_out.batches(64)
    nll, masked, right, pairs = 0.0, 0, 0, 0
    for batch in tracked((batches[i] for i in range(len(batches))), len(batches), "evaluating"):
        said = teachers(batch)
        logits = said.vectors @ said.weight.T + said.bias
        nll += F.cross_entropy(logits, batch.masked_labels, reduction="sum").item()
        masked += len(batch.masked_labels)
        assert said.pairs is not None
        right += int((said.pairs.argmax(1) == batch.nsp_labels).sum())
        pairs += len(batch.nsp_labels)
    return {
        "mlm_loss": nll / masked,
        "nsp_accuracy": right / pairs,
        "evaluation_set_sha256": held_out.contents.sha256,
    }


if __name__ == "__main__":
    main()
