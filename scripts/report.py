"""Writes the report of a run, a sweep or a study anew, as `bert-lightning report` does.

python scripts/report.py RUN
"""

from bert_lightning.cli.main import command

main = command("report")

if __name__ == "__main__":
    main()
