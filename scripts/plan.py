"""Estimates the cost of a run, as `bert-lightning plan` does.

python scripts/plan.py model=large batch.max_length=512 trainer.devices=8 --tokens 3.3e9
"""

from bert_lightning.cli.main import command

main = command("plan")

if __name__ == "__main__":
    main()
