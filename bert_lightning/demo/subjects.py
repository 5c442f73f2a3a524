"""The models that a page asks, and the tabs that each of them can answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_lightning.demo import pretrained_tabs, task_tabs
from bert_lightning.demo.answers import Model, Tab
from bert_lightning.demo.html import answer_html, error_html
from bert_lightning.errors import UserError
from bert_lightning.finetuning.predict import FineTunedBert, fine_tuned
from bert_lightning.inference.loaded import PretrainedBert, loaded
from bert_lightning.model.hf_names import named
from bert_lightning.pretrained.sources import open_source


@dataclass(frozen=True, eq=False)
class Subject:
    """A model under the name that its user typed."""

    name: str
    bert: PretrainedBert
    task: FineTunedBert | None

    def asked(self, tab: Tab) -> Model | None:
        """Returns what answers a tab, or None if nothing of this model does."""
        if tab.task is None:
            return None if self.bert.missing_heads & tab.heads else self.bert
        mine = self.task is not None and self.task.model.shape.kind is tab.task
        return self.task if mine else None

    def why_not(self, tab: Tab) -> str:
        """Returns why it does not answer a tab."""
        missing = self.bert.missing_heads & tab.heads
        return f"it has no {named(missing)}" if missing else "it was not fine-tuned for that"

    def reply(self, tab: Tab, *given: Any) -> str:
        """Returns the answer to a tab as HTML, or the message of what cannot be answered."""
        try:
            return answer_html(tab.answer(self.asked(tab), *given))
        except UserError as error:
            return error_html(str(error))

    @property
    def layers(self) -> int:
        return self.bert.model.config.num_hidden_layers

    @property
    def described(self) -> str:
        """Its sizes, the name of its file or folder, and the tabs that it cannot answer."""
        config, words = self.bert.model.config, self.bert.tokenizer.get_vocab_size()
        sizes = (
            f"{config.num_hidden_layers} layers, {config.hidden_size} hidden, "
            f"{config.num_attention_heads} heads, a vocabulary of {words:,}"
        )
        unable = [
            f"  \n*{tab.title}* is not for this model: {self.why_not(tab)}."
            for tab in pretrained_tabs.TABS
            if self.asked(tab) is None
        ]
        return f"{sizes}; from {Path(self.bert.origin).name}{''.join(unable)}"


def read_subject(name: str) -> Subject:
    """Loads a run, a checkpoint or a folder in Hugging Face's format.

    Raises:
        UserError: nothing is found, or it is corrupted, unsafe to load, or not supported.
    """
    source = open_source(name)
    return Subject(name, loaded(source), fine_tuned(source) if "task" in source.about else None)


def tabs_of(subjects: Sequence[Subject]) -> list[Tab]:
    """Returns the tabs that at least one of the models can answer, those of tasks first."""
    tabs = [*task_tabs.TABS, *pretrained_tabs.TABS]
    return [tab for tab in tabs if any(subject.asked(tab) for subject in subjects)]
