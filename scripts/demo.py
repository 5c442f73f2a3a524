"""Serves a page to play with a model, as `bert-lightning demo` does.

python scripts/demo.py RUN
"""

from bert_lightning.cli.main import command

main = command("demo")

if __name__ == "__main__":
    main()
