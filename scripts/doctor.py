"""Diagnoses a run from its curves, as `bert-lightning doctor` does.

python scripts/doctor.py RUN
"""

from bert_lightning.cli.main import command

main = command("doctor")

if __name__ == "__main__":
    main()
