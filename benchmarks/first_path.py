"""Times what the README leads a stranger through, from the clone to a fine-tuned model.

python -m benchmarks.first_path WIKITEXT_FOLDER

Clones what is committed into a folder of its own, and runs there, with `.venv/bin` at the front of
the PATH as `activate` has it: the installation with the training of the tiny model, which sense of
*crane* its vectors tell apart, and fine-tuning. Writes `benchmarks/first_path.json`, from which
`docs/install.md` has its table.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "first_path.json"
_CRANE = "bert_lightning/pictures/sentences/crane.tsv"
WIKITEXT = "data.path=wikitext-2"
STEPS = {
    "clone": f"git clone {ROOT.as_uri()} .",
    "install, and pretrain the tiny model": (f"make train ARGS='run_dir=runs/first {WIKITEXT}'"),
    "which crane is meant": f"python scripts/senses.py runs/first crane --sentences {_CRANE}",
    "fine-tune, with baselines": (
        "python finetune.py task=text init_from=runs/first data.test_fraction=0.3 "
        f"data.path={_CRANE} 'data.columns=[label,text]'"
    ),
}
"""What each command of the README gives, and the command."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wikitext", type=Path, help="the folder with wiki.train.tokens")
    args = parser.parse_args(argv)
    found: dict[str, Any] = {"machine": machine(), "steps": []}
    with tempfile.TemporaryDirectory() as folder:
        for gives, command in STEPS.items():
            timed = _timed(command, Path(folder), args.wikitext.resolve())
            found["steps"].append({"gives": gives, **timed})
            print(found["steps"][-1]["seconds"], command, flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _timed(command: str, folder: Path, wikitext: Path) -> dict[str, Any]:
    """Runs a command as a user would; ends the program with its output if it fails."""
    mine = str(Path(sys.prefix) / "bin")
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if entry != mine]
    environment = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    environment["PATH"] = os.pathsep.join([str(folder / ".venv" / "bin"), *path])
    begun = time.monotonic()
    done = subprocess.run(
        shlex.split(command.replace(WIKITEXT, f"data.path={wikitext}")),
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    seconds = round(time.monotonic() - begun, 1)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    output = done.stdout.replace(str(folder), ".").replace(str(wikitext), "wikitext-2")
    said = output.strip().splitlines()[-12:]
    command = command.replace(ROOT.as_uri(), "URL")
    return {"command": command, "seconds": seconds, "said": said}


def table(found: dict[str, Any]) -> str:
    """Returns the seconds of each command as a table, with their sum and the machine."""
    rows = [(step["gives"], f"`{step['command']}`", step["seconds"]) for step in found["steps"]]
    rows.append(("*all*", "", sum(seconds for *_, seconds in rows)))
    lines = [f"| {gives} | {command} | {seconds:,.0f} |" for gives, command, seconds in rows]
    where = found["machine"]
    return "\n".join(
        [
            "| gives | command | seconds |",
            "| --- | --- | --: |",
            *lines,
            "",
            f"({where['cores']} cores, {where['processor']}, packages from a near index; "
            "[`benchmarks/first_path.json`](benchmarks/first_path.json))",
        ]
    )


if __name__ == "__main__":
    main()
