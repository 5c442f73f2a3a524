"""Writes a model in Hugging Face's format, as `bert-lightning export` does.

python scripts/export_hf.py RUN FOLDER
"""

from bert_lightning.cli.main import command

main = command("export")

if __name__ == "__main__":
    main()
