# The locked environment, for `snakemake --software-deployment-method apptainer`:
#   docker build --tag probesteer/probesteer:0.1.0 .
FROM python:3.11-slim
WORKDIR /opt/probesteer
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir -r requirements.lock && pip install --no-cache-dir --no-deps .
