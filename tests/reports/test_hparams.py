"""TensorBoard's HParams tab, read by TensorBoard's own reader of event files."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from bert_lightning.config import OptimConfig, TrainConfig
from bert_lightning.reports.comparison.hparams import write_hparams

OPTIONS = {"optim.lr", "seed", "model.hidden_size", "data.path", "trainer.precision"}


def leave(folder: Path, lr: float, seed: int, loss: float, steps: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(optim=OptimConfig(lr=lr), seed=seed, run_dir=str(folder))
    scores = {"loss": loss, "mlm_loss": loss - 1, "mlm_accuracy_known": 0.1}
    write_hparams(replace(config), {"steps": steps, "loaded": {"step": 3, "validation": scores}})
    return folder


def shown(logdir: Path) -> tuple[api_pb2.Experiment, list[api_pb2.SessionGroup]]:
    """What the tab gets of this folder: its columns and its rows."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    context = Context(TBContext(data_provider=provider))
    request, metadata = RequestContext(), context.hparams_metadata(RequestContext(), "")
    nothing = provider.list_hyperparameters(request, experiment_ids=[""], limit=None)
    experiment = context.experiment_from_metadata(request, "", True, metadata, nothing)
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS]
    asked = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=100)
    for info in experiment.metric_infos:
        asked.col_params.add().metric.CopyFrom(info.name)
    handler = list_session_groups.Handler(request, context, "", asked)
    return experiment, list(handler.run().session_groups)


def scores_of(row: api_pb2.SessionGroup) -> Mapping[str, float]:
    return {value.name.tag: value.value for value in row.metric_values}


def test_each_run_is_one_row_with_its_options_and_final_scores(tmp_path: Path) -> None:
    for seed in (0, 1):
        leave(tmp_path / f"optim.lr=0.003,seed={seed}", 0.003, seed, 5.0 + seed)
        leave(tmp_path / f"optim.lr=0.005,seed={seed}", 0.005, seed, 4.0 + seed)
    experiment, rows = shown(tmp_path)
    assert len(rows) == 4
    assert {info.name for info in experiment.hparam_infos if info.differs} == {"optim.lr", "seed"}
    assert {info.name for info in experiment.hparam_infos} > OPTIONS
    tags = [info.name.tag for info in experiment.metric_infos]
    assert tags == ["hparam/val_loss", "hparam/val_mlm_loss"]
    found = {
        (row.hparams["optim.lr"].number_value, row.hparams["seed"].number_value): scores_of(row)
        for row in rows
    }
    assert found[0.005, 1] == {"hparam/val_loss": 5.0, "hparam/val_mlm_loss": 4.0}
    assert len({frozenset(row.hparams) for row in rows}) == 1
    assert {len(row.sessions) for row in rows} == {1}


def test_a_run_that_is_trained_longer_shows_its_new_end(tmp_path: Path) -> None:
    leave(tmp_path / "run", 0.1, 0, 5.0, steps=6)
    leave(tmp_path / "run", 0.2, 0, 4.0, steps=9)
    (file,) = (tmp_path / "run").iterdir()
    events: Any = EventAccumulator(str(file)).Reload()
    assert [event.step for event in events.Scalars("hparam/val_loss")] == [9]
    _, (row,) = shown(tmp_path)
    assert row.hparams["optim.lr"].number_value == 0.2
