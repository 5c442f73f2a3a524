"""An option of your own names only what its author has marked, and that trains like the rest."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bert_lightning import extensions
from bert_lightning.config import (
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    OptimizerName,
    TrainConfig,
)
from bert_lightning.errors import UserError
from bert_lightning.extensions import KINDS, extension, find
from bert_lightning.inference.loaded import load
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.optim.optimizers import build_optimizer
from bert_lightning.reports.run_report import report
from bert_lightning.training.fit import fit

OWN = '''
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bert_lightning.extensions import extension
from bert_lightning.model.objective import classification_sums


@extension("objective")
class ManyMasks(nn.Module):
    """Tells from [CLS] whether more than two tokens are masked."""

    def __init__(self, config, words):
        super().__init__()
        self.classifier = nn.Linear(config.hidden_size, 2)

    @staticmethod
    def labels(pairs, predictions):
        return (predictions > 2).astype(np.int64)

    def sums(self, encoded, batch):
        return classification_sums(self.classifier(encoded.pooled), batch.labels["ManyMasks"])


@extension("optimizer")
def sgd(groups, config):
    return torch.optim.SGD(groups, lr=config.lr)


def unmarked(groups, config):
    raise AssertionError
'''
Config = Callable[..., TrainConfig]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with extensions."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_only_what_is_marked_for_a_kind_is_found(own: str) -> None:
    assert find("optimizer", f"{own}:sgd", "optim.own").__name__ == "sgd"
    for kind, name, says in (
        ("optimizer", f"{own}:unmarked", "unmarked is not marked as an optimizer"),
        ("optimizer", f"{own}:ManyMasks", "ManyMasks is not marked as an optimizer"),
        ("callback", f"{own}:sgd", "sgd is not marked as a callback"),
        ("optimizer", f"{own}:absent", "absent does not exist; an optimizer is a function"),
        ("optimizer", own, "the name after the colon does not exist"),
        ("optimizer", "os:system", "system is not marked"),
        ("optimizer", "no_such:sgd", "the module no_such cannot be imported"),
        ("optimizer", ":sgd", "the module  cannot be imported"),
    ):
        with pytest.raises(UserError, match=f"^optim.own={name}: {says}"):
            find(kind, name, "optim.own")


def test_a_mark_is_one_of_the_kinds() -> None:
    with pytest.raises(ValueError, match="must be one of splitter, segmenter"):
        extension("spliter")
    assert all(extension(kind)(print) is print for kind in KINDS)


@pytest.mark.parametrize("instead_of", [OptimizerName.muon, OptimizerName.adam, OptimizerName.lamb])
def test_an_optimizer_of_your_own_gets_the_groups_with_and_without_decay(
    own: str, instead_of: OptimizerName
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    decay = 0.0 if instead_of is OptimizerName.adam else 0.1
    config = OptimConfig(instead_of, own=f"{own}:sgd", lr=0.5, weight_decay=decay)
    optimizer = build_optimizer(model, config)
    assert type(optimizer) is torch.optim.SGD
    groups = [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
    assert groups == [(1, decay), (3, 0.0)]
    assert optimizer.param_groups[0]["lr"] == 0.5
    bert = BertForPreTraining(ModelConfig(), vocab_size=9)  # whose matrices Muon would take
    groups = build_optimizer(bert, config).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(bert.parameters()))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"own": ["a:B"], "own_weights": [1.0, 2.0]}, "has 2 weights for the 1 objectives"),
        ({"own": ["a:B", "c:B"]}, "there is another objective named B"),
        ({"own": ["a:mlm"]}, "there is another objective named mlm"),
        ({"own": ["a"]}, "write it as module:Class"),
        (
            {"own": ["a:B"], "own_weights": [-1.0]},
            r"objective.own_weights=\[-1.0\] must be at least 0",
        ),
        ({"mlm_weight": 0.0, "nsp_weight": 0.0}, "objective.mlm_weight=0.0.*must not all be 0"),
    ],
)
def test_weights_that_cannot_be_meant(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        ObjectiveConfig(**values)
    assert ObjectiveConfig(own=["a:B"]).weights == {"mlm": 1.0, "nsp": 1.0, "B": 1.0}


@pytest.mark.slow
def test_an_objective_of_your_own_is_trained_resumed_and_reported(
    own: str, small_config: Config, tmp_path: Path
) -> None:
    options = (
        f"objective.own=[{own}:ManyMasks]",
        "objective.own_weights=[0.5]",
        "optim.ema_decay=0.9",
        "callbacks.every_n_train_steps=2",
    )
    whole = fit(small_config(tmp_path / "whole", *options, "trainer.max_steps=4"))
    weights = whole.model.state_dict()
    assert "own_objectives.ManyMasks.classifier.weight" in weights
    curves = whole.curves
    for split in ("train", "val"):
        joint = [curves[f"{split}/{name}_loss"][-1][1] for name in ("mlm", "nsp", "ManyMasks")]
        assert curves[f"{split}/loss"][-1][1] == pytest.approx(np.dot(joint, [1, 1, 0.5]))
        assert 0 <= curves[f"{split}/ManyMasks_accuracy"][-1][1] <= 1
    assert "MANYMASKS loss" in report(whole)

    newest = tmp_path / "whole" / "checkpoints" / "step=000004.ckpt"
    newest.unlink()
    newest.with_name(f"{newest.name}.json").unlink()
    resume = (*options, "trainer.max_steps=4", "resume=auto")
    resumed = fit(small_config(tmp_path / "whole", *resume))
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, weights[name]), name

    loaded = load(tmp_path / "whole")
    assert not loaded.model.own_objectives
    more = (f"init_from={tmp_path / 'whole'}", "trainer.max_steps=1")
    assert "train/ManyMasks_loss" in fit(small_config(tmp_path / "b", *options, *more)).curves


def test_its_loss_is_the_same_however_the_global_batch_is_divided(
    own: str, small_config: Config, tmp_path: Path
) -> None:
    options = (f"objective.own=[{own}:ManyMasks]", "trainer.max_steps=3")

    def losses(micro_batches: int) -> list[float]:
        more = f"trainer.accumulate_grad_batches={micro_batches}"
        run = fit(small_config(tmp_path / str(micro_batches), *options, more))
        return [value for _, value in run.curves["train/ManyMasks_loss"]]

    assert losses(4) == pytest.approx(losses(1), rel=1e-4)


def test_a_module_is_found_in_the_working_directory_and_beside_train_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python train.py` finds it, so do scripts and an installed program, from any folder."""
    checkout, here = tmp_path / "checkout", tmp_path / "here"
    for folder, name in ((checkout, "beside_train"), (here, "in_the_folder")):
        folder.mkdir()
        (folder / f"{name}.py").write_text(
            "from bert_lightning.extensions import extension\n\n\n"
            '@extension("splitter")\ndef split(paragraph):\n    return [paragraph]\n'
        )
    monkeypatch.setattr(extensions, "_CHECKOUT", checkout)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(here)
    assert find("splitter", "in_the_folder:split", "data.sentences")("a b") == ["a b"]
    with pytest.raises(UserError, match=rf"must be installed, or lie in {here} or in a folder"):
        find("splitter", "beside_train:split", "data.sentences")
    (checkout / "train.py").touch()  # now it is one
    assert find("splitter", "beside_train:split", "data.sentences")("a b") == ["a b"]
    with pytest.raises(UserError, match=rf"or lie in {here} or {checkout} or in a folder of PYTH"):
        find("splitter", "nowhere:split", "data.sentences")
