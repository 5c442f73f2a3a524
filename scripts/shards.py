"""Writes a corpus as shards, which training reads from any URL, as `bert-lightning shards` does.

python scripts/shards.py s3://bucket/corpus data=text data.path=FOLDER
"""

from bert_lightning.cli.main import command

main = command("shards")

if __name__ == "__main__":
    main()
