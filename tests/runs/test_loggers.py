"""The loggers of a run: metrics.csv always, others by choice, several at once."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
from torch.utils.tensorboard import SummaryWriter

from bert_lightning.config import LoggerConfig, TrainConfig
from bert_lightning.errors import UserError
from bert_lightning.runs.curves import read_curves
from bert_lightning.runs.loggers import _layout, build_loggers
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]
SHORT = ("trainer.max_steps=2", "trainer.val_check_interval=1")


def events(run: Path) -> dict[str, list[int]]:
    found = EventAccumulator(str(run))
    found.Reload()
    return {name: [e.step for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ("tensorboard", {"tensorboard"}),
        ("wandb", {"wandb"}),
        ("mlflow", {"mlflow"}),
        ("csv", set()),
        ("none", set()),
        ("[tensorboard,wandb]", {"tensorboard", "wandb"}),
        ("[csv,tensorboard]", {"tensorboard"}),
    ],
)
def test_loggers_are_chosen_by_name(
    small_config: Config, tmp_path: Path, logger: str, expected: set[str]
) -> None:
    chosen = small_config(tmp_path, f"logger={logger}").logger
    assert {
        name for name in ("tensorboard", "wandb", "mlflow") if getattr(chosen, name)
    } == expected


def test_the_default_is_that_of_the_dataclass(small_config: Config, tmp_path: Path) -> None:
    assert small_config(tmp_path).logger == LoggerConfig()


def test_custom_scalars_draw_the_curves_that_they_name_and_no_others(tmp_path: Path) -> None:
    """By the plugin's own matching: of `val/mlm_loss`, also of the start of `val/mlm_loss_rare`."""
    wanted = ["train/mlm_loss", "val/mlm_loss", "val/mlm_loss_baseline"]
    layout = _layout({"losses": {"MLM": wanted}})
    with SummaryWriter(tmp_path) as writer:
        for name in [*wanted, "val/mlm_loss_rare", "val/mlm_loss_common", "xval/mlm_loss"]:
            writer.add_scalar(name, 1.0, 1)
    multiplexer = EventMultiplexer({"run": str(tmp_path)}).Reload()
    context = TBContext(
        logdir=str(tmp_path), data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))
    )
    scalars = ScalarsPlugin(context)
    context.plugin_name_to_instance = {"scalars": scalars}
    plugin = CustomScalarsPlugin(context)
    tags = layout["losses"]["MLM"][1]
    joined = "|".join(f"({tag})" for tag in tags)  # as the browser does
    drawn = plugin.scalars_impl(RequestContext(), "run", joined, "")
    assert drawn["regex_valid"]
    assert drawn["tag_to_events"].keys() == set(wanted)


@pytest.mark.parametrize("logger", ["csv", "[tensorboard,csv]"])
def test_every_run_has_its_metrics(small_config: Config, tmp_path: Path, logger: str) -> None:
    result = fit(small_config(tmp_path, *SHORT, f"logger={logger}"))
    assert read_curves(tmp_path) == result.curves
    steps = {name: [step for step, _ in curve] for name, curve in result.curves.items()}
    assert (events(tmp_path) if "tensorboard" in logger else steps) == steps
    assert bool([*tmp_path.glob("events.*")]) == ("tensorboard" in logger)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed(
    small_config: Config, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = small_config(tmp_path, f"logger={name}")
    with pytest.raises(UserError, match=rf"pip install 'bert-lightning\[{name}\]'"):
        build_loggers(config, None)


def files_with(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_weights_and_biases_offline_continues_one_run_and_gets_no_secret(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("MY_TOKEN", "hunter2secret")
    options = ("logger=wandb", "logger.offline=true")
    fit(small_config(tmp_path, *SHORT, *options))
    first = json.loads((tmp_path / "tracking.json").read_text())
    longer = ("trainer.max_steps=3", "resume=auto", "allow_changes=true")
    fit(small_config(tmp_path, *SHORT, *options, *longer))
    assert json.loads((tmp_path / "tracking.json").read_text()) == first
    runs = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    assert all(name.endswith(first["wandb"]) for name in runs)
    assert not files_with(tmp_path, "hunter2secret")


def test_mlflow_continues_one_run(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MY_TOKEN", "hunter2secret")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    options = ("logger=mlflow", f"logger.tracking_uri={store}")
    fit(small_config(tmp_path / "run", *SHORT, *options))
    longer = ("trainer.max_steps=3", "resume=auto", "allow_changes=true")
    result = fit(small_config(tmp_path / "run", *SHORT, *options, *longer))
    run_id = json.loads((tmp_path / "run" / "tracking.json").read_text())["mlflow"]
    logged = mlflow.MlflowClient(store).get_metric_history(run_id, "train/loss")
    assert [(point.step, point.value) for point in logged] == result.curves["train/loss"]
    assert not files_with(tmp_path, "hunter2secret")
