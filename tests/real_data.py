"""Where the real data is that some tests read, and what a person is told who has none."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).parents[2] / "shared"


def data_folder(variable: str, beside: Path, holds: str) -> Path:
    """Returns the folder that a variable of the environment names, or else the one `beside`.

    Skips the test where the second lacks the file or folder `holds`; fails where the first does.
    """
    named = os.environ.get(variable)
    folder = Path(named) if named else beside
    if (folder / holds).exists():
        return folder.absolute()
    if named:
        pytest.fail(f"{variable}={named} has no {holds}")
    pytest.skip(f"set {variable} to the folder that has {holds}")


def wikitext2_folder() -> Path:
    return data_folder("BERT_LIGHTNING_WIKITEXT2", BESIDE / "wikitext-2", "wiki.train.tokens")


def labelled_folder() -> Path:
    return data_folder("BERT_LIGHTNING_LABELLED_DATA", BESIDE / "datasets", "coarsewsd20")
