"""Shows a corpus, its examples and its baselines, as `bert-lightning inspect` does.

python scripts/inspect_data.py data=text data.path='notes/*.txt' --examples 3
"""

from bert_lightning.cli.main import command

main = command("inspect")

if __name__ == "__main__":
    main()
