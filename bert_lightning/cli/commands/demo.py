"""Serves a page on this machine to play with a model, or with two side by side."""

from argparse import Namespace
from importlib.util import find_spec
from ipaddress import ip_address

from bert_lightning.demo.serving import PORT, address, listen, serve
from bert_lightning.demo.subjects import read_subject
from bert_lightning.errors import UserError
from bert_lightning.work import say, working


def main(args: Namespace) -> None:
    """Loads the models, prints the address of the page, and serves it until Ctrl-C."""
    if find_spec("gradio") is None:
        raise UserError(
            "the demo needs the package gradio, which is not installed: "
            "pip install 'bert-lightning[demo]'"
        )
    with listen(args.host, args.port) as listening:
        names = list(filter(None, (args.run, args.run2)))
        with working("loading"):
            subjects = [read_subject(name) for name in names]
            from bert_lightning.demo.page import page_app  # with Gradio, slow

            app = page_app(subjects)
        host, port = listening.getsockname()[:2]
        if args.port is None and port != PORT:
            say(f"port {PORT} is taken by another program; this page has {port}")
        if not ip_address(host).is_loopback:
            say("whoever reaches this machine can use the page; omit --host for this machine alone")
        say(f"{address(listening)}  (Ctrl-C ends it)")
        serve(app, listening)
