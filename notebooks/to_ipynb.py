"""Writes each notebook from its script in percent format.

python notebooks/to_ipynb.py

The script is what people edit, and Jupyter opens it too with jupytext. A notebook holds no outputs,
so a diff shows what somebody wrote.
"""

import re
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path(__file__).parent
NAMES = ("from_text_to_loss", "pretrain_then_finetune")


def notebook_of(script: str) -> Any:
    """Returns the notebook of a script whose cells begin with `# %%` or `# %% [markdown]`."""
    cells = []
    for kind, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n)*)", script, re.MULTILINE):
        new, source = nbformat.v4.new_code_cell, body.strip()
        if kind.strip() == "[markdown]":
            new, source = nbformat.v4.new_markdown_cell, re.sub("^# ?", "", source, flags=re.M)
        cells.append(new(source, id=f"cell-{len(cells)}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def written(name: str) -> str:
    """Returns the text of a notebook's file."""
    script = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return nbformat.writes(notebook_of(script)) + "\n"


if __name__ == "__main__":
    for name in NAMES:
        (FOLDER / f"{name}.ipynb").write_text(written(name), encoding="utf-8")
