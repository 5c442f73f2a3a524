"""BERT, pretrained with PyTorch Lightning and Hydra.

import bert_lightning

result = bert_lightning.fit("model=tiny", "trainer.max_steps=200")
result.bert.encode("a crane is flying").word("crane")

bert = bert_lightning.load("runs/...")

tuned = bert_lightning.finetune("task=text", "data.path=train.csv", "init_from=runs/...")
tuned.bert.classify("a crane is flying")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_lightning.api.finetune import finetune
    from bert_lightning.api.fit import fit
    from bert_lightning.api.load import load
    from bert_lightning.config import TrainConfig

    __version__: str

__all__ = ["TrainConfig", "__version__", "finetune", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Imports what is used when it is used: torch takes seconds, importlib.metadata a tenth."""
    if name in ("fit", "finetune", "load"):
        from bert_lightning.runs.cores.waiting import wait_briefly_if_busy

        wait_briefly_if_busy()
    if name in ("fit", "finetune"):
        import warnings

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # in a notebook
            from bert_lightning.api.finetune import finetune
            from bert_lightning.api.fit import fit

        return fit if name == "fit" else finetune
    if name == "load":
        from bert_lightning.api.load import load

        return load
    if name == "TrainConfig":
        from bert_lightning.config import TrainConfig

        return TrainConfig
    if name == "__version__":
        from bert_lightning.version import installed_version

        return installed_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
