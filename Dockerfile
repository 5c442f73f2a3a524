# Not built by anyone yet. With it:
#   docker build --tag bert-lightning .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" bert-lightning train data=builtin
# With GPUs: docker run --gpus all --shm-size 1g …
FROM python:3.12-slim

COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY bert_lightning /source/bert_lightning
COPY hydra_plugins /source/hydra_plugins
COPY conf /source/conf
RUN python -m pip install --no-cache-dir --constraint /source/constraints.txt /source

ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["bert-lightning"]
