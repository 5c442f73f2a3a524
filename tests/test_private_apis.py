"""Private parts of Lightning, Hydra and torch: each still exists, and the table names its users."""

import re
from importlib import import_module
from pathlib import Path

import lightning as L  # noqa: N812
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bert_lightning"
PUBLIC = r"_(asdict|replace|fields|exit|_\w+__)\b"
"""Of namedtuples and of the standard library, whose names only look private."""
PRIVATE = re.compile(
    rf"import (_[a-zA-Z]\w+)|from (?:\w+\.)+(_internal|_pytree)\b|"
    rf"(?:torch|aten|trainer|loop|strategy)\.(?!{PUBLIC})(_[a-z]\w+)|\"(hydra\._internal)\.|"
    r"\[\"(_batches_that_stepped)\"\]"
)


def test_lightnings_trainer_has_what_is_switched_off_and_replaced() -> None:
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    assert callable(trainer._signal_connector.register_signal_handlers)
    assert callable(trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor)
    assert hasattr(trainer.strategy, "_launcher")


def test_lightnings_loops_have_the_counts_that_are_set() -> None:
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    state = trainer.fit_loop.state_dict()
    assert state["epoch_loop.state_dict"].keys() == {"_batches_that_stepped"}
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for progress, counts in (
        (state["epoch_progress"], {"ready", "started"}),
        (state["epoch_loop.batch_progress"], {"ready", "started", "processed", "completed"}),
        (state["epoch_loop.val_loop.batch_progress"], {"ready", "started"}),
        (state["epoch_loop.scheduler_progress"], {"ready", "completed"}),
        (optimizer["step"], {"ready", "completed"}),
    ):
        for part in ("total", "current"):
            assert counts <= progress[part].keys()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (
            "lightning.pytorch.strategies.launchers.subprocess_script",
            "_SubprocessScriptLauncher._call_children_scripts",
        ),
        ("lightning.fabric.utilities.distributed", "_set_num_threads_if_needed"),
        ("lightning.fabric.utilities.types", "_PATH"),
        ("hydra._internal.utils", "get_args_parser"),
        ("hydra._internal.hydra", "Hydra.multirun"),
        ("hydra._internal.hydra", "Hydra.compose_config"),
        ("hydra._internal.config_repository", "ConfigRepository.initialize_sources"),
        ("hydra._internal.core_plugins.basic_launcher", "BasicLauncher"),
        ("torch.utils._pytree", "tree_map_only"),
        ("torch", "ops.aten._flash_attention_forward"),
        ("torch", "ops.aten._flash_attention_backward"),
        ("torch", "_softmax_backward_data"),
        *(("torch", name) for name in ("_foreach_lerp_", "_foreach_add_", "_foreach_norm")),
    ],
)
def test_it_still_exists(module: str, name: str) -> None:
    found = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)


def test_the_table_names_every_module_that_uses_a_private_part() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = table.partition("## Private APIs")[2]
    users = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for match in PRIVATE.finditer(path.read_text(encoding="utf-8")):
            part = next(filter(None, match.groups()))
            users.add(name)
            if part.startswith("_foreach"):
                assert name.startswith("optim/"), name
            else:
                assert f"`{name}`" in table, f"{name} uses {part}"
                assert part in table or part == "_pytree", part
    assert len(users) > 8


def test_both_libraries_are_capped() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"lightning>=2.6.6,<2.7"' in project
    assert '"hydra-core>=1.3.8,<1.4"' in project
