"""Every option of the project: one dataclass for each config group, and the checks across them.

The values live in `conf/*.yaml`; these classes say which keys exist, what type each has, and what
is allowed. A check fails with a :class:`UserError` that states the value, the limit and the way
out. Nothing here knows Hydra.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from bert_lightning.errors import UserError


class Source(Enum):
    """Where the text comes from."""

    hub = "hub"
    """A data set of the Hugging Face hub, at one commit."""
    builtin = "builtin"
    """The prose that every CPython carries."""
    text = "text"
    """Files of one's own."""


class Format(Enum):
    """How text becomes documents, paragraphs and words."""

    wikitext = "wikitext"
    """As WikiText is: a line is a paragraph, ` = Title = ` starts a document, words and ` . `
    stand between spaces."""
    prose = "prose"
    """Ordinary text: blank lines, or the rows of a table, separate documents; punctuation is split
    from words."""


class Fallback(Enum):
    """The corpus to use when the wanted one cannot be had."""

    builtin = "builtin"


class PairKind(Enum):
    """What the two halves of an example are."""

    sentence = "sentence"
    segment = "segment"
    none = "none"


class PairTask(Enum):
    """What the label of a pair says."""

    nsp = "nsp"
    """Whether the second half follows the first, or is a random one (BERT)."""
    sop = "sop"
    """Whether the two halves stand in their order, or are swapped (ALBERT)."""


class Overlong(Enum):
    """What becomes of two consecutive sentences that do not fit into an example."""

    truncate = "truncate"
    drop = "drop"


class OptimizerName(Enum):
    adam = "adam"
    adamw = "adamw"


class ScheduleName(Enum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class StrategyName(Enum):
    auto = "auto"
    ddp = "ddp"
    fsdp = "fsdp"


class LoggerName(Enum):
    tensorboard = "tensorboard"
    csv = "csv"


class HiddenAct(Enum):
    gelu = "gelu"
    relu = "relu"


class MaskingUnit(Enum):
    """What is chosen, hidden and replaced as one."""

    token = "token"
    """Each token by itself, as in BERT."""
    word = "word"
    """All pieces of a word, as in BERT's whole-word masking."""
    span = "span"
    """Words in a row, as in SpanBERT."""


class TokenizerKind(StrEnum):
    """How the corpus's own vocabulary is made."""

    word = "word"
    """Whole words; a rare one is `[UNK]`."""
    wordpiece = "wordpiece"
    """Words and pieces of words, as BERT's; a rare word is several pieces."""


@dataclass
class MaskingConfig:
    """Which tokens are predicted, and what stands in their place."""

    mask_probability: float = 0.15
    """Share of an example's tokens that are predicted; between 0 and 1, both excluded."""
    mask_share: float = 0.8
    """Share of the predicted tokens that become `[MASK]`."""
    random_share: float = 0.1
    """Share of the predicted tokens that become a random word."""
    keep_share: float = 0.1
    """Share of the predicted tokens that stay as they are."""
    unit: MaskingUnit = MaskingUnit.token
    """What is chosen and replaced as one: a token, a whole word, or a span of words."""
    mask_probability_end: float | None = None
    """The share of predicted tokens at the end of the run, to which `mask_probability` moves in
    equal steps; null stays at `mask_probability`. Evaluation always predicts the same share."""

    def __post_init__(self) -> None:
        probabilities = {
            "mask_probability": self.mask_probability,
            "mask_probability_end": self.mask_probability_end,
        }
        for name, probability in probabilities.items():
            if probability is not None and not 0 < probability < 1:
                raise UserError(
                    f"data.masking.{name}={probability:g} must lie between 0 and "
                    "1, both excluded; BERT uses 0.15"
                )
        shares = {
            "mask_share": self.mask_share,
            "random_share": self.random_share,
            "keep_share": self.keep_share,
        }
        named = ", ".join(f"data.masking.{name}={share:g}" for name, share in shares.items())
        if any(not 0 <= share <= 1 for share in shares.values()):
            raise UserError(f"{named}: each share must lie between 0 and 1")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise UserError(
                f"{named} add up to {sum(shares.values()):g}; they must add up to 1, "
                "as in BERT's 0.8, 0.1, 0.1"
            )


@dataclass
class PairsConfig:
    """Which two segments make an example."""

    kind: PairKind = PairKind.sentence
    """`sentence`: two sentences, as in the textbook; `segment`: runs of sentences that fill an
    example, as in BERT; `none`: blocks of text, for masked language modelling alone."""
    task: PairTask = PairTask.nsp
    """What the label of a pair says: `nsp` or `sop`."""
    overlong: Overlong = Overlong.truncate
    """In `sentence`: whether the longer sentence is cut, or the pair left out."""
    short_probability: float = 0.1
    """In `segment`: share of the examples that are cut to a random shorter length."""

    def __post_init__(self) -> None:
        if not 0 <= self.short_probability <= 1:
            raise UserError(
                f"data.pairs.short_probability={self.short_probability:g} must lie between 0 and 1"
            )

    @property
    def fewest_documents(self) -> int:
        """Documents that a split must have: a random second half comes from another one."""
        return 2 if self.kind is not PairKind.none and self.task is PairTask.nsp else 1


@dataclass
class DataConfig:
    """The corpus, and the batches made from it."""

    source: Source = Source.hub
    """Where the text comes from."""
    name: str | None = None
    """What the corpus is called in the cache and in reports; null is the source's name."""
    path: str | None = None
    """A file, folder or pattern for `text`; for `hub` a folder with WikiText's files instead."""
    format: Format = Format.wikitext
    """How text becomes documents, paragraphs and words."""
    sentences: str | None = None
    """How a paragraph becomes sentences: wikitext (` . ` stands between them), prose (rules), line
    (none: a line is a sentence), pysbd (needs that package), or `module:function` of your own;
    null is what `format` is called."""
    fewest_sentences: int = 2
    """Paragraphs with fewer sentences are left out; 1 keeps those that give no sentence pair."""
    text_column: str = "text"
    """The column of a table (of the hub, .csv, .jsonl or .parquet) that holds the text."""
    hard_wrapped: bool = False
    """In `prose`, blank lines separate documents and each line is a paragraph. With this set, the
    line breaks between blank lines mean nothing: each block is one paragraph."""
    fallback: Fallback | None = Fallback.builtin
    """The corpus to use when the hub's cannot be had; null makes that an error."""
    hub_repository: str = "Salesforce/wikitext"
    """The hub's data set."""
    hub_name: str = "wikitext-2-v1"
    """The configuration within that data set."""
    hub_revision: str = "b08601e04326c79dfdd32d625aee71d232d685c3"
    """The commit of that data set: the same text for everyone."""
    streaming: bool = False
    """Whether the hub's text is read as it arrives, twice where a vocabulary is built, and only the
    prepared ids are kept: for what does not fit on the disk."""
    cache_dir: str | None = None
    """Where prepared corpora are kept; null is the platform's cache folder."""
    validation_share: float = 0.1
    """Share of the documents held out for validation, where the corpus has no such split."""
    test_share: float = 0.0
    """Share of the documents held out for the test, where the corpus has no such split."""
    max_length: int = 128
    """Most tokens in an example, `[CLS]` and `[SEP]` included; the longer sentence is cut."""
    global_batch_size: int = 512
    """Sentence pairs that one optimiser step sees, over all devices."""
    micro_batch_size: int | None = None
    """Sentence pairs that one device holds at a time; null chooses the most that fits."""
    num_workers: int = 0
    """Processes that build batches; 0 builds them in the training process."""
    pairs: PairsConfig = field(default_factory=PairsConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        sizes = {
            "global_batch_size": self.global_batch_size,
            "micro_batch_size": self.micro_batch_size,
        }
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise UserError(f"data.{name}={size} must be 1 or more")
        if self.num_workers < 0:
            raise UserError(f"data.num_workers={self.num_workers} must be 0 or more")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(
                f"data.name={self.name!r} names a folder of the cache: it must consist of letters, "
                "digits, '_', '-' and '.'"
            )
        if self.fewest_sentences < 1:
            raise UserError(f"data.fewest_sentences={self.fewest_sentences} must be 1 or more")
        if self.max_length < 5:
            raise UserError(
                f"data.max_length={self.max_length} must be 5 or more: "
                "[CLS] a [SEP] b [SEP] takes five tokens at the least"
            )
        for name, share in {
            "validation_share": self.validation_share,
            "test_share": self.test_share,
        }.items():
            if not 0 <= share < 1:
                raise UserError(f"data.{name}={share:g} must be at least 0 and below 1")
        if self.validation_share + self.test_share >= 1:
            raise UserError(
                f"data.validation_share={self.validation_share:g} and "
                f"data.test_share={self.test_share:g} leave nothing to train on: "
                "their sum must stay below 1"
            )


@dataclass
class TokenizerConfig:
    """The words, or pieces of words, that the model knows."""

    kind: TokenizerKind = TokenizerKind.word
    """What the corpus is taken apart into, where `path` names no tokenizer."""
    path: str | None = None
    """An existing tokenizer to use: a `tokenizer.json`, or a name on the Hugging Face hub such as
    `bert-base-uncased`; null builds one from the corpus, and the other options say how."""
    vocab_size: int | None = None
    """Entries of the vocabulary, special tokens included: so many, or an error. Null is as many as
    `min_frequency` lets in, of word pieces 8,000 at most."""
    min_frequency: int = 5
    """How often a word, or two pieces side by side, must occur in the training split to be in the
    vocabulary."""
    lowercase: bool = True
    """Whether "Crane" and "crane" are one word."""
    strip_accents: bool = False
    """Whether "café" and "cafe" are one word."""

    def __post_init__(self) -> None:
        if self.min_frequency < 1:
            raise UserError(f"tokenizer.min_frequency={self.min_frequency} must be 1 or more")
        if self.vocab_size is not None and self.vocab_size < 6:
            raise UserError(
                f"tokenizer.vocab_size={self.vocab_size} must be 6 or more: "
                "the five special tokens count in it"
            )


@dataclass
class ModelConfig:
    """The encoder's size; the names are Hugging Face's."""

    vocab_size: int | None = None
    """Rows of the embedding; null is the tokenizer's size."""
    hidden_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    intermediate_size: int = 256
    """Width of the feed-forward network."""
    hidden_act: HiddenAct = HiddenAct.gelu
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    """Longest sequence that the model can read, in tokens."""
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}={getattr(self, name)} must be 1 or more")
        if self.type_vocab_size < 2:
            raise UserError(
                f"model.type_vocab_size={self.type_vocab_size} must be 2 or more: "
                "a pair has two segments"
            )
        if self.hidden_size % self.num_attention_heads:
            nearest = max(1, self.hidden_size // self.num_attention_heads)
            raise UserError(
                f"model.hidden_size={self.hidden_size} is not divisible by "
                f"model.num_attention_heads={self.num_attention_heads}; choose a multiple, such as "
                f"model.hidden_size={self.num_attention_heads * nearest}"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"model.{name}={getattr(self, name):g} must be at least 0 and below 1"
                )


@dataclass
class ObjectiveConfig:
    """The joint loss: `mlm_weight` · MLM + `nsp_weight` · NSP."""

    mlm_weight: float = 1.0
    nsp_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.mlm_weight < 0 or self.nsp_weight < 0 or self.mlm_weight + self.nsp_weight == 0:
            raise UserError(
                f"objective.mlm_weight={self.mlm_weight:g}, "
                f"objective.nsp_weight={self.nsp_weight:g}: weights must be 0 or more, "
                "and not both 0"
            )


@dataclass
class OptimConfig:
    """The optimiser and the course of its learning rate."""

    optimizer: OptimizerName = OptimizerName.adamw
    lr: float = 1e-3
    """Peak learning rate."""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    """Decay of the matrices; biases, LayerNorm and embeddings of position and type have none."""
    schedule: ScheduleName = ScheduleName.linear
    """How the rate falls from its peak to 0 at the last step, or stays (`constant`)."""
    warmup_steps: int = 0
    """Optimiser steps over which the rate rises from 0 to its peak."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"optim.lr={self.lr:g} must be above 0")
        if self.warmup_steps < 0:
            raise UserError(f"optim.warmup_steps={self.warmup_steps} must be 0 or more")
        if self.optimizer is OptimizerName.adam and self.weight_decay:
            raise UserError(
                f"optim.weight_decay={self.weight_decay:g} with optim.optimizer=adam would be "
                "added to the gradient, which Adam rescales; use optim.optimizer=adamw"
            )


@dataclass
class StrategyConfig:
    """How several devices share the work; the strategies are Lightning's own."""

    name: StrategyName = StrategyName.auto
    """`auto` is one device, or ddp where there are more."""


@dataclass
class LoggerConfig:
    """Where the curves go."""

    name: LoggerName = LoggerName.tensorboard


@dataclass
class CallbacksConfig:
    """What accompanies a run."""

    save_top_k: int = 1
    """Checkpoints kept by lowest validation loss, beside the last one."""
    early_stopping_patience: int | None = None
    """Validations without a lower joint loss after which the run ends; null never ends early."""


@dataclass
class TrainerConfig:
    """Every option of Lightning's Trainer, under its own name and with its own meaning.

    The logger, the callbacks and the strategy have config groups of their own; plugins are objects,
    which no option can name. `max_steps` and `val_check_interval` count optimiser steps, whatever
    the accumulation.
    """

    accelerator: str = "auto"
    devices: Any = "auto"
    """A number of devices, -1 for all, a list of indices, or auto."""
    num_nodes: int = 1
    precision: str = "32-true"
    max_steps: int = 1000
    """Optimiser steps; -1 leaves the end to `max_epochs` or `max_time`."""
    max_epochs: float | None = None
    """Passes over the sentence pairs; the run ends at this or at `max_steps`, whatever is first."""
    min_steps: int | None = None
    min_epochs: int | None = None
    max_time: str | None = None
    """Longest wall-clock time, as DD:HH:MM:SS."""
    accumulate_grad_batches: int | None = None
    """Micro-batches in an optimiser step; null follows from the batch sizes."""
    val_check_interval: Any = 100
    """Optimiser steps between validations, or the share of the run (a float up to 1.0)."""
    check_val_every_n_epoch: int | None = None
    num_sanity_val_steps: int = 0
    log_every_n_steps: int = 10
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    limit_predict_batches: Any = None
    overfit_batches: Any = 0.0
    fast_dev_run: Any = False
    enable_checkpointing: bool = True
    enable_progress_bar: bool = True
    enable_model_summary: bool = False
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    deterministic: Any = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = False
    profiler: str | None = None
    detect_anomaly: bool = False
    barebones: bool = False
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: int = 0
    default_root_dir: str | None = None
    enable_autolog_hparams: bool = False
    model_registry: str | None = None

    def __post_init__(self) -> None:
        _check_devices(self.devices)
        if self.num_nodes < 1:
            raise UserError(f"trainer.num_nodes={self.num_nodes} must be 1 or more")
        if self.accumulate_grad_batches is not None and self.accumulate_grad_batches < 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={self.accumulate_grad_batches} must be 1 or "
                "more, or null to follow from the batch sizes"
            )
        if self.max_steps < -1 or self.max_steps == 0:
            raise UserError(
                f"trainer.max_steps={self.max_steps} must be 1 or more, "
                "or -1 to end by trainer.max_epochs or trainer.max_time"
            )
        if self.max_epochs is not None and self.max_epochs <= 0:
            raise UserError(f"trainer.max_epochs={self.max_epochs:g} must be above 0")
        if self.log_every_n_steps < 1:
            raise UserError(f"trainer.log_every_n_steps={self.log_every_n_steps} must be 1 or more")
        if self.use_distributed_sampler:
            raise UserError(
                "trainer.use_distributed_sampler=true would hand out batches twice: "
                "each rank's batches are already its share of the global batch; leave it false"
            )


def _check_devices(devices: Any) -> None:
    if isinstance(devices, bool):
        number: Any = None
    elif isinstance(devices, list):
        number = devices if all(type(index) is int and index >= 0 for index in devices) else None
    else:
        number = devices
    named = isinstance(number, str) and (
        number == "auto" or all(part.strip().isdigit() for part in number.split(","))
    )
    counted = type(number) is int and (number >= 1 or number == -1)
    if not (named or counted or (isinstance(number, list) and number)):
        raise UserError(
            f"trainer.devices={devices} is not a number of devices: "
            "it expects an integer of 1 or more, -1 for all, a list of indices, or auto"
        )


@dataclass
class TrainConfig:
    """One run, whole."""

    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    logger: LoggerConfig | None = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    seed: int = 0
    """Decides the initial weights, the order, the pairs, the masks and the dropout."""
    test: bool = False
    """Whether the test split is evaluated at the end."""
    run_dir: str = "runs/run"
    """The folder of this run; `hydra.run.dir` moves it."""
    debug: str | None = None
    """`traceback` shows where an error arose instead of its message alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed} must lie between 0 and {2**32 - 1}")
        if self.debug not in (None, "traceback"):
            raise UserError(f"debug={self.debug} is not known; the one value is debug=traceback")
        if self.data.max_length > self.model.max_position_embeddings:
            raise UserError(
                f"data.max_length={self.data.max_length} is more than "
                f"model.max_position_embeddings={self.model.max_position_embeddings}: "
                "shorten the one or raise the other"
            )
        if self.trainer.max_steps != -1 and self.optim.warmup_steps > self.trainer.max_steps:
            raise UserError(
                f"optim.warmup_steps={self.optim.warmup_steps} is longer than the run of "
                f"trainer.max_steps={self.trainer.max_steps}: warm up for fewer steps"
            )
        if self.trainer.max_steps == -1 and self.trainer.max_epochs is None:
            raise UserError(
                "trainer.max_steps=-1 leaves the run without an end: "
                "set trainer.max_epochs, or trainer.max_steps"
            )
