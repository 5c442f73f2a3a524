"""The kept results of recipes and of their variants, and which options they differ by."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import yaml

from bert_lightning.config import ModelConfig, TrainConfig
from bert_lightning.config.affects import Affects, leaves, named
from bert_lightning.config.plain import to_plain

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "benchmarks" / "recipes"
WIKITEXT = ("wikitext-2-v1", "wikitext2")
"""What results call WikiText-2, and what the first ones called it."""
EVALUATION_SETS = {
    "validation": "551dee018895a1b91d8a6b901a52eac04dc7627751f4f2bc9f2ae0b1eca6efb1",
    "test": "054b0729c906c3f2ceead02106bff6ac147f83e25e5f5132d639f77016131ffe",
}
"""The hash of the evaluation set of each split of WikiText-2, with the textbook's vocabulary."""

RENAMED = {
    "sinusoidal_start": "sinusoidal_init",
    "unigram_start": "unigram_bias_init",
    "decay_share": "decay_fraction",
    "budget": "time_budget",
    "mask_probability": "mlm_probability",
    "mask_probability_end": "mlm_probability_end",
    "mask_share": "mask_replace_prob",
    "random_share": "random_replace_prob",
    "short_probability": "short_seq_prob",
    "fewest_sentences": "min_sentences",
}
"""What options were called when the first results were made."""
LATER = {
    "callbacks.own": [],
    "batch.pairs.across_paragraphs": False,
    "model.cooccurrence_init": False,
    "objective.own": [],
    "objective.own_weights": [],
    "objective.sampled_words": None,
    "objective.teacher_fraction": 0.5,
    "objective.teachers": [],
    "optim.own": None,
}
"""Options that came after the first results, with what they say of what was so before."""
ENDS = ("optim.time_budget", "trainer.max_steps")
"""The options that say how long a run is."""
LEARNED = (
    Affects.LEARNING
    | Affects.ARCHITECTURE
    | Affects.OPTIMIZER_STATE
    | Affects.TOKENS
    | Affects.EXAMPLES
)


class Entry(NamedTuple):
    """A recipe or a variant of it, with the results of its seeds."""

    recipe: str
    variant: str | None
    """None of the recipe as it is."""
    folder: Path
    results: list[dict[str, Any]]
    """The `result.json` of each seed."""
    options: dict[str, Any]
    """Those that affect what is learned, by their full names of today."""

    @property
    def name(self) -> str:
        """The recipe, and the variant behind a comma."""
        return self.recipe if self.variant is None else f"{self.recipe}, {self.variant}"

    @property
    def place(self) -> str:
        """The folder of the results, from the root of the checkout."""
        return "/".join(
            ["benchmarks/recipes", self.recipe, *([self.variant] if self.variant else [])]
        )

    @property
    def end(self) -> str:
        """When its runs end, by the clock or by the number of steps."""
        budget, steps = (self.options[name] for name in ENDS)
        return budget or f"{steps:,} steps"

    @property
    def loss(self) -> float:
        """The mean MLM loss of the validation split, in nats."""
        return mean(result["validation"]["mlm"]["all"]["loss"] for result in self.results)


def entries(folder: Path = RECIPES) -> list[Entry]:
    """Reads all results in `NAME/seed=N` and `NAME/VARIANT/seed=N`, in the order of their names."""
    found = []
    for place in sorted({file.parents[1] for file in folder.glob("**/seed=*/result.json")}):
        recipe, *variant = place.relative_to(folder).parts
        seeds = sorted(place.glob("seed=*/result.json"))
        results = [json.loads(file.read_text(encoding="utf-8")) for file in seeds]
        config = json.loads((seeds[0].parent / "config.json").read_text(encoding="utf-8"))
        options = learned_options(config)
        found.append(Entry(recipe, variant[0] if variant else None, place, results, options))
    return found


def comparable(entry: Entry) -> bool:
    """Whether all results are of the evaluation sets of WikiText-2 with the textbook's words."""
    return all(
        result[split]["evaluation_set_sha256"] == known
        for result in entry.results
        for split, known in EVALUATION_SETS.items()
    )


def learned_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a `config.json` that affect what is learned, but for the seed."""
    known, found = set(named(TrainConfig, LEARNED)) - {"seed"}, dict(LATER)
    for name, value in leaves(config):
        room, _, rest = name.rpartition(".")
        today = f"{room}.{RENAMED.get(rest, rest)}".removeprefix(".")
        batch = f"batch.{today.removeprefix('data.')}"  # `data` held both
        found |= {each: value for each in (today, batch) if each in known}
    return {name: value for name, value in found.items() if name not in unused(found)}


def unused(options: Mapping[str, Any]) -> set[str]:
    """Returns the options that mean nothing beside the others, and whose defaults have changed."""
    used_if = {
        "model.sinusoidal_init": options["model.position_embedding"] == "learned",
        "optim.matrix_lr": options["optim.optimizer"] == "muon",
        "optim.decay_fraction": options["optim.schedule"] == "wsd",
    }
    return {name for name, used in used_if.items() if not used}


def differences(base: Entry, other: Entry) -> list[str]:
    """Returns the options by which an entry differs from another, but for how long its runs are.

    Options that name an architecture together are one: `arch=modern`.
    """
    changed = {
        name: value
        for name, value in other.options.items()
        if name not in ENDS and value != base.options.get(name)
    }
    found = []
    for architecture, values in _architectures().items():
        if changed.keys() >= values.keys() and values.items() <= other.options.items():
            changed = {name: value for name, value in changed.items() if name not in values}
            found.append(f"arch={architecture}")
    return found + [f"{name}={_shown(value)}" for name, value in changed.items()]


@cache
def _architectures() -> dict[str, dict[str, Any]]:
    """Returns the options of `arch=bert` and of `arch=modern`, by their names."""
    file = ROOT / "conf" / "arch" / "modern.yaml"
    modern = yaml.safe_load(file.read_text(encoding="utf-8"))
    default = to_plain(asdict(ModelConfig()))
    return {
        "bert": {f"model.{name}": default[name] for name in modern},
        "modern": {f"model.{name}": value for name, value in modern.items()},
    }


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else f"{value}"
