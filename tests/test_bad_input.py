"""What a user gets wrong, and what they get: exit code 2 and one message that helps.

The numbers are those of the project's table of mistakes. Each runs the command line as `train.py`
does, in this process; a few start the real one.
"""

import hashlib
import logging
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from bert_lightning.cli import app as cli
from bert_lightning.cli.commands.train import train as train_and_report
from bert_lightning.config import TrainConfig
from bert_lightning.corpus.tokenizer import load_tokenizer_text
from bert_lightning.errors import UserError
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT, manifest_path
from bert_lightning.runs import folder as run_folder
from bert_lightning.sizing.launcher import RANK_0
from bert_lightning.training.module import PretrainingModule

ROOT = Path(__file__).parents[1]
PROSE = "It rained. We stayed in. They left.\n"
FILES = {
    "empty.txt": b"",
    "one.txt": PROSE.encode(),
    "single.txt": b"It rained.\n\nWe stayed in.\n\nThey left.\n",
    "latin.txt": "Ein Satz. Noch einer, größer.".encode("latin1"),
    "table.csv": b"title,body\nRain,It rained. We stayed in.\n",
    "wide.csv": b"id,text\n0,It rained. We stayed, all of us.\n",
    "utf16.txt": PROSE.encode("utf-16-le"),
    "zip.txt": b"PK\x03\x04\x14\x00\x00\x00",
    "nul.txt": PROSE.encode() + b"\0",
    "notes.txt": "\n\n".join(PROSE.strip() + " They stayed." * n for n in range(1, 41)).encode(),
}
GPUS = "trainer.accelerator=gpu"
TEXT = "data=text data.path="
REPLACED = "batch.masking.mask_replace_prob=0.95"
ROWS = [
    (
        1,
        "model=tinny",
        "unknown model 'tinny'; choose from base, large, medium, mini, small, tiny;"
        " did you mean 'tiny'?",
    ),
    (1, "model=", "unknown model ''; choose from base, large, medium, mini, small, tiny"),
    (
        1,
        "data=wikitex2",
        "shards, text, wikipedia, wikitext103, wikitext2, wikitext2_raw; mean 'wikitext2'?",
    ),
    (1, "tokenizer=wrd", "did you mean 'word'?"),
    (1, "optim=adm", "choose from adam, adamw; did you mean 'adam'?"),
    (1, "strategy=dpp", "choose from auto, ddp, fsdp; did you mean 'ddp'?"),
    (1, "logger=comet", "choose from csv, mlflow, none, tensorboard, wandb"),
    (2, "trainer.device=2", "trainer.device: no such option; did you mean 'trainer.devices'?"),
    (3, "trainer.devices=two", "trainer.devices=two; an integer; -1 for all; auto"),
    (3, "trainer.devices=0", "trainer.devices=0; an integer of 1 or more"),
    (4, "optim.lr=1e-4x", "optim.lr=1e-4x: expects a number"),
    (
        5,
        "experiment=absent",
        "unknown experiment 'absent'; choose from base_gpu, chinese_tiny, large_gpu, textbook",
    ),
    (
        5,
        "+experiment=absent",
        "unknown experiment 'absent'; choose from base_gpu, chinese_tiny, large_gpu, textbook",
    ),
    (6, "model=tiny,base", "-m runs them one after the other: python train.py -m model=tiny,base"),
    (
        6,
        "optim.lr=1e-3,1e-4",
        "-m runs them one after the other: python train.py -m optim.lr=1e-3,1e-4",
    ),
    (
        7,
        "model.num_attention_heads=3",
        "model.hidden_size=128; model.num_attention_heads=3; such as model.hidden_size=126",
    ),
    (8, "batch.max_length=513", "batch.max_length=513; model.max_position_embeddings=512"),
    (9, "model.vocab_size=100", "model.vocab_size=100 is smaller; or null"),
    (11, f"{TEXT}empty.txt", "{here}/empty.txt is empty; 0 words"),
    (11, f"{TEXT}one.txt", "one.txt; 1 document; 4 are needed, 2 for each split"),
    (11, f"{TEXT}single.txt", "single.txt: 1 files, 3 documents and 3 paragraphs"),
    (12, f"{TEXT}latin.txt", "{here}/latin.txt is not UTF-8: byte 24 is 0xf6; iconv"),
    (13, f"{TEXT}missing.txt", "data.path=missing.txt; {here}/missing.txt; directory is {here}"),
    (
        13,
        "data=wikitext2 data.path=absent",
        "{here}/absent/wiki.train.tokens; directory is {here}; wiki.valid.tokens",
    ),
    (15, f"{TEXT}table.csv", "{here}/table.csv; no column 'text'; title, body"),
    (16, "batch.masking.mlm_probability=0", "mlm_probability=0 must be above 0 and below 1; 0.15"),
    (16, "batch.masking.mlm_probability=1", "mlm_probability=1 must be above 0 and below 1; 0.15"),
    (
        16,
        REPLACED,
        "mask_replace_prob=0.95; random_replace_prob=0.1; up to 1.05; up to 1 at most",
    ),
    (
        16,
        "batch.masking.mask_replace_prob=1.2",
        "mask_replace_prob=1.2 must be at least 0 and at most 1",
    ),
    (
        16,
        "batch.masking.mlm_probability_end=1",
        "mlm_probability_end=1 must be above 0 and below 1; 0.15",
    ),
    (16, "batch.masking.unit=wrd", "choose from token, word, span; did you mean 'word'?"),
    (17, "optim.warmup_steps=7", "optim.warmup_steps=7; trainer.max_steps=1"),
    (
        17,
        "optim.warmup_steps=7 trainer.max_steps=-1 trainer.max_epochs=0.001",
        "optim.warmup_steps=7; the run of 1 steps",
    ),
    (25, "hydra.run.dir=notes.txt/run", "{here}/notes.txt/run; hydra.run.dir=FOLDER"),
    (
        25,
        "hydra.run.dir=notes.txt",
        "cannot create the run folder {here}/notes.txt: ; hydra.run.dir=FOLDER chooses another",
    ),
    (25, "run_dir=a", "run_dir=a and hydra.run.dir=run name two folders for one run: omit one"),
    (27, f"{GPUS} trainer.devices=3", "trainer.devices=3; finds none; trainer.accelerator=cpu"),
    (28, "strategy=fsdp", "strategy=fsdp; CUDA GPUs; cpu, and torch finds 0 GPUs; strategy=ddp"),
    (29, "trainer.accumulate_grad_batches=0", "accumulate_grad_batches=0 must be at least 1"),
    (29, "batch.global_batch_size=0", "batch.global_batch_size=0 must be at least 1"),
    (29, "batch.micro_batch_size=-1", "batch.micro_batch_size=-1 must be at least 1"),
    (30, "trainer.precision=16-mixed", "precision=16-mixed; CPU; trainer.precision=bf16-mixed"),
    (
        31,
        "batch.global_batch_size=10 batch.micro_batch_size=3",
        "batch.global_batch_size=10; a multiple of 1 device × batch.micro_batch_size=3; nearest; "
        "batch.global_batch_size=9 or batch.global_batch_size=12",
    ),
    (
        31,
        "batch.global_batch_size=10 batch.micro_batch_size=2 trainer.accumulate_grad_batches=2 "
        "trainer.devices=2",
        "global_batch_size=10 is not 2 devices × batch.micro_batch_size=2 × "
        "trainer.accumulate_grad_batches=2 (8 pairs); nearest: batch.global_batch_size=8",
    ),
    (46, "trainer.gradient_clip_val=-1", "clip_val=-1 must be above 0; null clips nothing"),
    (46, "trainer.limit_val_batches=1.5", "limit_val_batches=1.5 must be above 0 and at most 1"),
    (46, "trainer.val_check_interval=0", "val_check_interval=0 must be at least 1"),
    (46, "trainer.max_time=5", "trainer.max_time=5 is not a time; DD:HH:MM:SS"),
    (46, "trainer.profiler=simpel", "is not one of simple, advanced, pytorch; mean 'simple'?"),
    (46, "trainer.precision=fp8", "precision=fp8 is not one of auto, 32-true, bf16-mixed"),
    (46, "trainer.limit_val_batches=all", "expects an integer or a fraction or null"),
    (46, "trainer.devices=[1]", "devices=[1] names devices by their index; devices=1 starts"),
    (46, "trainer.fast_dev_run=true", "fast_dev_run: no such option; trainer.max_steps=2"),
    (46, "optim.lr=nan", "optim.lr=nan must be a finite number, above 0"),
    (46, "objective.own_weights=[1,inf]", "own_weights=[1.0, inf] must be a finite number"),
    (46, "objective.own_weights=[1,x]", "objective.own_weights[1]=x: expects a number"),
    (46, "run_dir=", "run_dir= is empty: give a value, or omit the option"),
    (47, "optim.time_budget=8min", "optim.time_budget=8min with trainer.max_steps=1; either"),
    (
        47,
        "callbacks.early_stopping_patience=3 trainer.limit_val_batches=0",
        "callbacks.early_stopping_patience=3; trainer.limit_val_batches=0; omit one",
    ),
    (
        47,
        "callbacks.early_stopping_patience=3 data=builtin data.validation_fraction=0",
        "early_stopping_patience=3; no validation split; data.validation_fraction=0.1",
    ),
    (52, "trainer.limit_train_batches=3", "limit_train_batches: no such option; trainer.max_steps"),
    (33, "seed=-1", "seed=-1 must be at least 0 and at most 4294967295"),
    (33, "seed=4294967296", "seed=4294967296 must be at least 0 and at most 4294967295"),
    (
        37,
        f"{TEXT}notes.txt tokenizer.vocab_size=99",
        "tokenizer.vocab_size=99; has: 8 words; use tokenizer.vocab_size=13 or less",
    ),
    (
        37,
        f"{TEXT}notes.txt tokenizer=wordpiece tokenizer.vocab_size=8000",
        "tokenizer.vocab_size=8000; words and wordpieces; or less, or more text",
    ),
    (37, "tokenizer.vocab_size=5", "tokenizer.vocab_size=5 must be at least 6"),
    (38, f"{TEXT}single.txt", "3 paragraphs, none of them with 2 sentences or more; pairs=none"),
    (39, f"{TEXT}wide.csv", "{here}/wide.csv: row 2; 3 cells; the header has 2; double quotes"),
    (
        41,
        f"{TEXT}utf16.txt",
        "{here}/utf16.txt; UTF-16 without a byte order mark; iconv -f utf-16le",
    ),
    (41, f"{TEXT}zip.txt", "{here}/zip.txt; a zip archive; unzip zip.txt"),
    (41, f"{TEXT}nul.txt", "{here}/nul.txt; byte 36 is NUL; tr -d"),
    (42, TEXT, "data.path= is empty: give a value, or omit the option"),
    (43, f"{TEXT}/dev/null", "/dev/null is a device; save it to a file"),
    (48, "trainer.num_nodes=2", "num_nodes=2; nothing started the processes; torchrun --nnodes=2"),
]
"""The row of the table, the overrides, and what the message has to say, between semicolons."""


@contextmanager
def global_state_put_back() -> Iterator[None]:
    """A context after which Hydra's and logging's global state is what it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_dir: str) -> Iterator[Path]:
    """A folder with files in it, and no GPU."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACHE", cache_dir)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with global_state_put_back():
        yield tmp_path


def arguments(overrides: str) -> list[str]:
    """A run that would be short, if it ever began; or the resume of one, which has its options."""
    if "resume=run" in overrides:
        return overrides.split()
    cache = f"data.cache_dir={os.environ['CACHE']}"
    run = ["hydra.run.dir=run", cache, "logger=none", "data=builtin"]
    words = [*run, "trainer.max_steps=1", *overrides.split()]
    return sorted(words, key=lambda word: not word.startswith("-"))  # -m comes first


def train(config: TrainConfig) -> None:
    from bert_lightning.training.fit import fit

    fit(config)


def start(
    monkeypatch: pytest.MonkeyPatch, overrides: str, task: Callable[[TrainConfig], None] = train
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments(overrides)])
    cli.run(ROOT / "conf", task)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_untouched(place: Path, before: dict[Path, bytes]) -> None:
    """All files are what they were; only to the log something may have been added."""
    after = contents(place)
    assert not {path for path in after if path.name.startswith("crash")}
    for path, content in before.items():
        if path.name == "train.log":
            assert after[path].startswith(content)
        else:
            assert after[path] == content, path


@pytest.fixture
def refusal(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs the command line, which must refuse; returns its one message."""

    def run(overrides: str) -> str:
        before = contents(place)
        with pytest.raises(SystemExit) as ended:
            start(monkeypatch, overrides)
        out, err = capfd.readouterr()
        assert ended.value.code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in out
        assert_untouched(place, before)
        return err.removeprefix("error: ").strip()

    return run


@pytest.mark.parametrize(
    ("row", "overrides", "says"), ROWS, ids=[f"{row} {overrides}" for row, overrides, _ in ROWS]
)
def test_row(
    refusal: Callable[[str], str], place: Path, row: int, overrides: str, says: str
) -> None:
    message = refusal(overrides)
    for part in says.replace("{here}", str(place)).split("; "):
        assert part in message, row


def test_row_9_names_both_numbers(refusal: Callable[[str], str]) -> None:
    message = refusal("data=text data.path=notes.txt model.vocab_size=6")
    words = {"it", "rained", "we", "stayed", "in", "they", "left", "."}
    assert "model.vocab_size=6 is smaller" in message
    assert f"use model.vocab_size={len(words) + 5}," in message


def test_row_14_offline_and_not_cached(
    refusal: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    def out_of_reach(*_: object, **__: object) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", out_of_reach)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", out_of_reach)
    message = refusal("data=wikitext2 data.fallback=null")
    assert "Salesforce/wikitext (wikitext-2-v1) is neither in the cache nor" in message
    assert "no route to the hub" in message
    assert "one run with access to the hub keeps it" in message
    assert "data.path=FOLDER" in message
    assert "data=builtin" in message


def test_row_27_more_gpus_than_there_are(
    refusal: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = refusal("trainer.devices=3")
    assert "trainer.devices=3 asks for more GPUs than the 2" in message
    assert "trainer.devices=2 uses all of them" in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("lr=1", "lr: no such option; did you mean 'optim.lr'?"),
        ("trainer.lr=1", "trainer.lr: no such option; did you mean 'optim.lr'?"),
        ("epochs=1", "did you mean 'trainer.max_epochs'?"),
        (
            "batch_size=1",
            "did you mean 'batch.global_batch_size' or 'batch.micro_batch_size'?",
        ),
        ("hidden=9", "did you mean 'model.hidden_size' or 'model.num_hidden_layers'?"),
        ("layers=9", "layers: no such option; did you mean 'model.num_hidden_layers'?"),
        (
            "dropout=0",
            "'model.hidden_dropout_prob' or 'model.attention_probs_dropout_prob'?",
        ),
        (
            "workers=2",
            "workers: no such option; did you mean 'data.prepare.workers' or 'launcher.workers'?",
        ),
        ("gpus=2", "gpus: no such option; did you mean 'trainer.devices'?"),
        ("data_path=x", "data_path: no such option; did you mean 'data.path'?"),
        ("hiden=9", "did you mean 'model.hidden_size' or 'model.num_hidden_layers'?"),
        ("modell=tiny", "modell: no such option; did you mean 'model'?"),
        ("sed=1", "sed: no such option; did you mean 'seed'?"),
        ("batch.max_len=9", "batch.max_len: no such option; did you mean 'batch.max_length'?"),
        ("batch.masking.maskprobability=0.1", "did you mean 'batch.masking.mlm_probability'?"),
        ("tokenizer.min_freq=2", "did you mean 'tokenizer.min_frequency'?"),
        (
            "model.hiden_size=8",
            "hiden_size: no such option; did you mean 'model.hidden_size'?",
        ),
        (
            "objective.mlm=1",
            "did you mean 'objective.mlm_weight' or 'batch.masking.mlm_probability'?",
        ),
        ("optim.lrr=1", "optim.lrr: no such option; did you mean 'optim.lr'?"),
        (
            "trainer.max_step=1",
            "max_step: no such option; did you mean 'trainer.max_steps'?",
        ),
        ("strategy.nam=ddp", "strategy.nam: no such option; did you mean 'strategy.name'?"),
        (
            "logger=csv logger.projet=x",
            "logger.projet: no such option; did you mean 'logger.project'?",
        ),
        (
            "callbacks.topk=2",
            "topk: no such option; did you mean 'callbacks.save_top_k'?",
        ),
        ("+sed=1", "sed: no such option; did you mean 'seed'?"),
        ("++optim.lrr=1", "optim.lrr: no such option; did you mean 'optim.lr'?"),
        (
            "batch.phases=[{fracton:1}]",
            "did you mean 'batch.phases[…].fraction'?",
        ),
        ("batch.phase=[{fraction:1}]", "batch.phase: no such option; did you mean 'batch.phases'?"),
    ],
)
def test_a_wrong_key(refusal: Callable[[str], str], overrides: str, says: str) -> None:
    assert refusal(overrides).endswith(says)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("foo", "foo: this is not an override of the form option=value"),
        ("optim.lr=[1,2", "optim.lr=[1,2: expects a number"),
        ("trainer.max_steps=", "trainer.max_steps=: expects an integer"),
        ("optim.lr=null", "optim.lr=null: expects a number"),
        ("batch.micro_batch_size=x", "batch.micro_batch_size=x: expects an integer or null"),
        ("data.hard_wrapped=maybe", "data.hard_wrapped=maybe: expects true or false"),
        ("optim.optimizer=adm", "choose from adam, adamw, lamb, muon; did you mean 'adam'?"),
        ("optim.lr=${foo}", "optim.lr: Interpolation key 'foo' not found"),
        ("optim=3", "optim=3: choose from adam, adamw, lamb, muon"),
        ("logger=null", "logger=null: choose from csv, mlflow, none, tensorboard, wandb"),
        ("~optim.lr", "~optim.lr: an option cannot be deleted; give it another value"),
        (
            "batch.phases=[{max_length:9}]",
            "batch.phases[0].fraction is missing, and has no default",
        ),
        ("batch.phases=[{fraction:x}]", "batch.phases[…].fraction=x: expects a number"),
        ("batch.phases=[{fraction:1,max_length:x}]", "max_length=x: expects an integer or null"),
        (
            "batch.phases=[9]",
            "batch.phases[0]=9: expects {fraction: …, max_length: …, ",
        ),
        (
            "batch.phases=9",
            "batch.phases=9: expects a list of {fraction: …, ",
        ),
        (
            "batch.phases={fraction:1}",
            "batch.phases={fraction:1}: expects a list of {fraction: …, ",
        ),
        (
            "batch.phases=[{fraction:0.9}]",
            "the fractions of batch.phases, 0.9, add up to 0.9; they must ",
        ),
        (
            "batch.phases=[{fraction:0.9,max_length:512},{fraction:0.1}]",
            "batch.phases[0].max_length=512 is more than batch.max_length=128",
        ),
        (
            "batch.phases=[{fraction:1}] trainer.max_epochs=2",
            "trainer.max_epochs=2 with batch.phases",
        ),
        (
            "batch.phases=[{fraction:1}] optim.schedule=wsd optim.time_budget=8min",
            "optim.time_budget=8min with batch.phases",
        ),
        (
            "batch.phases=[{fraction:0.99},{fraction:0.01}] trainer.max_steps=40",
            "batch.phases[1].fraction=0.01 of 40 steps is no step: raise trainer.max_steps or the ",
        ),
        (
            "batch.phases=[{fraction:0.5,global_batch_size:102},{fraction:0.5}] "
            "batch.micro_batch_size=32",
            "batch.phases[0].global_batch_size=102 is not a multiple of 1 device × 4 micro-batches",
        ),
        ("model@foo=tiny", "model@foo: no such config group; did you mean 'model'?"),
    ],
)
def test_a_broken_override(refusal: Callable[[str], str], overrides: str, says: str) -> None:
    assert says in refusal(overrides)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "x"), ValueError("x")])
def test_an_error_of_the_programs_own_is_not_explained_away(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def task(_: TrainConfig) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        start(monkeypatch, "", task)
    assert raised.value is error


@pytest.mark.parametrize("given", [None, "0", "1"])
def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    seen: list[str | None] = []
    if given is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", given)
    start(monkeypatch, "", lambda _: seen.append(os.environ.get("HYDRA_FULL_ERROR")))
    assert [*seen, os.environ.get("HYDRA_FULL_ERROR")] == [given, given]


def test_only_the_first_rank_speaks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RANK_0, str(os.getpid()))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as ended:
        start(monkeypatch, "seed=-1")
    assert ended.value.code == 2
    assert capfd.readouterr().err == ""


def test_the_config_may_ask_for_the_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`debug: traceback` in a YAML file, where no argument shows it."""
    for path in (ROOT / "conf").rglob("*.yaml"):
        copy = tmp_path / "conf" / path.relative_to(ROOT / "conf")
        copy.parent.mkdir(parents=True, exist_ok=True)
        more = "\ndebug: traceback\n" if path.name == "train.yaml" else ""
        copy.write_text(path.read_text() + more)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments("seed=-1")])
    with pytest.raises(UserError, match="seed=-1"):
        cli.run(tmp_path / "conf", train)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "environment", "traced"),
    [
        ("model.num_attention_heads=3", {}, False),
        ("model.num_attention_heads=3 debug=traceback", {}, True),
        ("model=tinny", {"HYDRA_FULL_ERROR": "1"}, True),
    ],
)
def test_the_whole_process(
    place: Path, overrides: str, environment: dict[str, str], traced: bool
) -> None:
    before = contents(place)
    run = subprocess.run(
        [sys.executable, ROOT / "train.py", *arguments(overrides)],
        cwd=place,
        env={**os.environ, "HYDRA_FULL_ERROR": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in run.stdout
    if traced:
        assert run.returncode != 0
        assert "Traceback (most recent call last)" in run.stderr
        assert "num_attention_heads=3" in run.stderr or "tinny" in run.stderr
    else:
        assert run.returncode == 2
        assert run.stderr.startswith("error: model.hidden_size=128 is not divisible by ")
        assert run.stderr.count("\n") == 1
    assert_untouched(place, before)


SMALL = (
    *("hydra.run.dir=run", "data=builtin", "data.cache_dir=cache", "logger=csv"),
    *("model.hidden_size=32", "model.intermediate_size=64", "batch.global_batch_size=8"),
    *("trainer.accelerator=cpu", "trainer.max_steps=4", "trainer.limit_val_batches=1"),
    *("callbacks.every_n_train_steps=2", "callbacks.save_top_k=0", "optim.lr=0.001"),
)
CHANGED = "trainer.accumulate_grad_batches=2 seed=3 optim.lr=0.5 batch.masking.mlm_probability=0.2"
RESUMED = [
    (10, "tokenizer.min_frequency=9", "the tokenizer of builtin (; differs from that of the ch"),
    (18, "", "run is already complete at step 4; trainer.max_steps"),
    (18, "trainer.max_steps=3", "run is already complete at step 4; trainer.max_steps"),
    (
        19,
        f"batch.global_batch_size=16 {CHANGED}",
        "batch.global_batch_size=16, and it was 8; trainer.accumulate_grad_batches=2, and it was "
        "None; seed=3, and it was 0; optim.lr=0.5, and it was 0.001; "
        "batch.masking.mlm_probability=0.2, and it was 0.15; allow_changes=true",
    ),
    (
        19,
        "data=text data.path=notes.txt tokenizer.path=run/tokenizer.json",
        "corpus: the text comes from files, and it came from Python's own manual; "
        "allow_changes=true",
    ),
    (
        19,
        "optim.optimizer=adam optim.weight_decay=0 allow_changes=true",
        "it cannot change when a run resumes",
    ),
    (
        22,
        "model.hidden_size=64 model.num_hidden_layers=3",
        "model.hidden_size=64, model.num_hidden_layers=3: the checkpoint; step=000004.ckpt is a "
        "model of another architecture; model.hidden_size=32 model.num_hidden_layers=2",
    ),
    (28, "strategy=fsdp", "strategy=fsdp; CUDA GPUs; cpu, and torch finds 0 GPUs; strategy=ddp"),
    (22, "model.vocab_size=2000", "rows in its embedding; this model 2000; use model.vocab_size="),
    (33, "seed=-1", "seed=-1 must be at least 0 and at most 4294967295"),
]
"""As `ROWS`, of a run that is there and is to go on."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 4 steps in it, and the cache of its corpus."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, global_state_put_back():
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py", *SMALL])
        cli.run(ROOT / "conf", train_and_report)
    return folder


@pytest.fixture
def there(trained: Path, place: Path) -> Path:
    """The folder of that run, in this test's own place."""
    shutil.copytree(trained, place, symlinks=True, dirs_exist_ok=True)
    return place / "run"


@pytest.mark.parametrize(
    ("row", "overrides", "says"), RESUMED, ids=[f"{row} {options}" for row, options, _ in RESUMED]
)
def test_row_of_a_run_that_is_there(
    refusal: Callable[[str], str], there: Path, row: int, overrides: str, says: str
) -> None:
    message = refusal(f"resume=run {overrides}")
    for part in says.replace("{here}", str(there.parent)).split("; "):
        assert part in message, row


def checkpoint(run: Path, step: int = 4) -> Path:
    return run / "checkpoints" / f"step={step:06d}.ckpt"


def test_row_10_names_both_hashes(refusal: Callable[[str], str], there: Path) -> None:
    message = refusal("resume=run tokenizer.min_frequency=9")
    hashes = re.findall(r"\(([0-9a-f]{12})\)", message)
    assert len(set(hashes)) == 2
    own = load_tokenizer_text((there / "tokenizer.json").read_text()).to_str()
    assert hashes[1] == hashlib.sha256(own.encode()).hexdigest()[:12]
    assert "tokenizer.path=run/tokenizer.json" in message


def test_row_20_all_checkpoints_are_damaged(refusal: Callable[[str], str], there: Path) -> None:
    for step in (2, 4):
        path = checkpoint(there, step)
        path.write_bytes(path.read_bytes()[: 1000 * step])
    message = refusal("resume=run")
    assert "all 2 checkpoints in run are corrupted; hydra.run.dir=FOLDER starts anoth" in message


@pytest.mark.parametrize("foreign", [{"model": {}, "epoch": 3}, torch.ones(3)])
def test_row_21_a_checkpoint_of_another_program(
    refusal: Callable[[str], str], there: Path, foreign: object
) -> None:
    torch.save(foreign, checkpoint(there))
    manifest_path(checkpoint(there)).unlink()
    message = refusal("resume=run")
    assert "step=000004.ckpt is not a checkpoint of bert-lightning: it should be a torch" in message
    assert f"'state_dict' and 'bert_lightning' (format {CHECKPOINT_FORMAT})" in message
    assert ("entries model, epoch" if isinstance(foreign, dict) else "a Tensor") in message


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch file"])
def test_row_23_a_checkpoint_with_a_pickle_inside(
    refusal: Callable[[str], str], there: Path, plain: bool
) -> None:
    path = checkpoint(there)
    contents = {"state_dict": {}, "bert_lightning": {}, "extra": Trap()}
    if plain:
        path.write_bytes(pickle.dumps(contents))
    else:
        torch.save(contents, path)
    manifest_path(path).unlink()
    message = refusal("resume=run")
    assert "step=000004.ckpt is refused: it holds Python objects, which can run code" in message
    assert "weights_only" not in message
    assert not Path("sprung").exists()


def test_row_24_nothing_to_resume(refusal: Callable[[str], str], there: Path) -> None:
    message = refusal("resume=absent")
    assert message.startswith(f"resume=absent: there is no folder {there.parent}/absent; ")
    assert message.endswith("or resume=auto")
    shutil.rmtree(there / "checkpoints")
    message = refusal("resume=run")
    assert f"resume=run: there is no checkpoint in {there}/checkpoints; " in message
    assert "or resume=auto, which starts the run where it has no checkpoint" in message


def test_row_25_a_folder_for_checkpoints_that_is_a_file(
    refusal: Callable[[str], str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        raise AssertionError("a step is made")

    monkeypatch.setattr(PretrainingModule, "training_step", step)
    (place / "run").mkdir()
    (place / "run" / "checkpoints").write_text("mine")
    message = refusal("resume=auto")
    assert f"{place}/run/checkpoints" in message
    assert "hydra.run.dir=FOLDER chooses another folder" in message


@pytest.mark.parametrize("resume", ["resume=run", ""], ids=["resumed", "new"])
def test_row_26_a_disk_without_room_for_two_checkpoints(
    refusal: Callable[[str], str], there: Path, monkeypatch: pytest.MonkeyPatch, resume: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12_345))
    if resume:
        checkpoint(there).unlink()
        message = refusal(resume)
    else:
        message = refusal("hydra.run.dir=other")
    assert "12,345 bytes free, and two checkpoints of this model take " in message
    needed = int(message.partition("model take ")[2].partition(":")[0].replace(",", ""))
    if resume:
        assert needed == pytest.approx(2 * checkpoint(there, 2).stat().st_size, rel=0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("there")
def test_row_32_two_runs_in_one_folder(
    refusal: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "_WAIT_SECONDS", 0.2)
    script = (
        "import pathlib, sys; from bert_lightning.runs.folder import locked\n"
        "with locked(pathlib.Path('run')): print(flush=True), sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for command in ("resume=run", "resume=auto", ""):
            message = refusal(command)
            holder = f"process {other.pid} on {socket.gethostname()}, since "
            assert f"is in use by a run ({holder}" in message
            assert "wait for its end, or stop it; hydra.run.dir=FOLDER starts another" in message
        other.communicate()
    assert "is already complete" in refusal("resume=run")


@pytest.mark.usefixtures("there")
def test_a_run_is_not_written_over(refusal: Callable[[str], str]) -> None:
    message = refusal("")
    assert message == (
        "run already holds a run, at step 4: resume=run resumes it, and hydra.run.dir=FOLDER "
        "starts another"
    )
