"""Measures how well each layer tells the senses of a word, as `bert-lightning senses` does.

python scripts/senses.py RUN crane --sentences cranes.tsv
"""

from bert_lightning.cli.main import command

main = command("senses")

if __name__ == "__main__":
    main()
