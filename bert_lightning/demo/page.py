"""The page, by Gradio, which is imported here alone."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from bert_lightning.demo.answers import Tab
from bert_lightning.demo.html import STYLE, note_html
from bert_lightning.demo.subjects import Subject, tabs_of

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import: nothing is asked or told

import gradio as gr
from fastapi import FastAPI

_TITLE = "bert-lightning demo"
_FONTS = {
    "font": ["system-ui", "sans-serif"],
    "font_mono": ["ui-monospace", "monospace"],
}
"""Of the reader's system, so that none is fetched."""


def page_app(subjects: Sequence[Subject]) -> FastAPI:
    """Returns the web application that shows the page."""
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        build_page(subjects),
        path="",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=gr.themes.Default(primary_hue="blue", **_FONTS),
        css=STYLE,
    )


def build_page(subjects: Sequence[Subject]) -> gr.Blocks:
    """Builds the page: a tab for each question, in it a column for each model."""
    with gr.Blocks(title=_TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {_TITLE}")
        for subject in subjects:
            gr.Markdown(f"**{subject.name}**: {subject.described}")
        with gr.Tabs():
            for tab in tabs_of(subjects):
                with gr.Tab(tab.title) as opened:
                    _fill_tab(tab, subjects, opened)
    return page


def _fill_tab(tab: Tab, subjects: Sequence[Subject], opened: gr.Tab) -> None:
    """Adds what is asked for, and the answer of each model, which comes when the tab is opened."""
    gr.Markdown(tab.explanation)
    fields = [gr.Textbox(field.text, label=field.label, lines=field.lines) for field in tab.fields]
    ask = gr.Button("Ask", variant="primary", elem_classes="ask")
    triggers = [opened.select, ask.click, *(field.submit for field in fields)]
    with gr.Row():
        for subject in subjects:
            with gr.Column():
                if len(subjects) > 1:
                    gr.Markdown(f"**{subject.name}**")
                if subject.asked(tab) is None:
                    gr.HTML(note_html(f"Not for this model: {subject.why_not(tab)}."))
                else:
                    _add_answer(tab, subject, fields, triggers)


def _add_answer(tab: Tab, subject: Subject, fields: list[gr.Textbox], triggers: list[Any]) -> None:
    """Adds the answer of a model, which has a layer of its own to choose."""
    inputs: list[Any] = [*fields]
    if tab.has_layer:
        last = subject.layers
        layer = gr.Slider(0, last, last, step=1, label="Layer; 0 is the embeddings")
        inputs.append(layer)
        triggers = [*triggers, layer.release]
    gr.on(
        triggers,
        partial(subject.reply, tab),
        inputs,
        gr.HTML(),
        api_visibility="private",
        trigger_mode="always_last",  # what is asked while an answer is due is answered after it
        concurrency_limit=1,
        concurrency_id="answers",  # one at a time: matplotlib's style is that of the process
    )
