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
                with gr.Tab(tab.title):
                    _fill_tab(tab, subjects)
    return page


def _fill_tab(tab: Tab, subjects: Sequence[Subject]) -> None:
    gr.Markdown(tab.explanation)
    fields = [gr.Textbox(field.text, label=field.label, lines=field.lines) for field in tab.fields]
    ask = gr.Button("Ask", variant="primary", elem_classes="ask")
    given = [field.text for field in tab.fields]
    with gr.Row():
        for subject in subjects:
            with gr.Column():
                if len(subjects) > 1:
                    gr.Markdown(f"**{subject.name}**")
                _add_answer(tab, subject, fields, given, ask)


def _add_answer(
    tab: Tab, subject: Subject, fields: list[gr.Textbox], given: list[str], ask: gr.Button
) -> None:
    """Adds a model's answer, to what the tab opens with at first."""
    if subject.asked(tab) is None:
        gr.HTML(note_html(f"Not for this model: {subject.why_not(tab)}."))
        return
    triggers = [ask.click, *(field.submit for field in fields)]
    inputs: list[Any] = [*fields]
    opening: list[Any] = [*given]
    if tab.has_layer:
        last = subject.layers
        layer = gr.Slider(0, last, last, step=1, label="Layer; 0 is the embeddings")
        triggers.append(layer.release)
        inputs.append(layer)
        opening.append(last)
    answer = gr.HTML(subject.reply(tab, *opening))
    gr.on(triggers, partial(subject.reply, tab), inputs, answer, api_visibility="private")
