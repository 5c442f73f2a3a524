"""Lists prepared corpora, and removes unused ones, as `bert-lightning corpora` does.

python scripts/corpora.py --remove 90
"""

from bert_lightning.cli.main import command

main = command("corpora")

if __name__ == "__main__":
    main()
