"""Scores a model on held-out text, with baselines, as `bert-lightning evaluate` does.

python scripts/evaluate.py RUN data.path=wikitext-2 --json
"""

from bert_lightning.cli.main import command

main = command("evaluate")

if __name__ == "__main__":
    main()
