# One command each; `make` lists them. Everything runs from .venv.

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder
PROFILES := $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake

.PHONY: help env demo real test test-slow test-all lint format docs pictures organisms install-profile clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

env: $(VENV)/installed ## install the locked environment into .venv

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "probesteer needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: env ## run the embedded default study; ends with its verdicts and where its report is
	snakemake --profile profiles/local

real: env ## run a study of a small real model, SmolLM2; MODELS=2 adds Gemma 3
	python workflow/scripts/real_models.py smollm2-135m $(if $(filter 2,$(MODELS)),gemma-3-270m)
	snakemake --profile profiles/local --configfile config/studies/real.yaml $(if $(filter 2,$(MODELS)),config/real_gemma.yaml)

test: env ## run the tests that take seconds each
	python -m pytest -m "not slow" $(SIDE_BY_SIDE)

test-slow: env ## run the others: a private Slurm, whole studies of many models, benchmarks
	python -m pytest -m slow $(SIDE_BY_SIDE)

test-all: test test-slow ## run every test

lint: env ## ruff, mypy, who may import whom, snakefmt, snakemake --lint
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

format: env ## format Python and Snakemake code
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

docs: env ## write what is generated: config schema, option table, the DAG's picture (needs graphviz)
	probesteer schema --output .
	snakemake --rulegraph dot | dot -Grankdir=LR -Tsvg > docs/dag.svg

pictures: demo ## take the screenshots of the documentation (needs Chromium)
	python tests/pictures.py results/organisms/council docs

organisms: env ## train the model organisms again, two at a time, and write their concepts
	probesteer grammar --output resources/concepts/empathy_grammar
	probesteer grammar --crossed --output resources/concepts/empathy_grammar_crossed
	printf '%s\n' llama qwen2 phi3 control unspecific player talker bystander | xargs -P 2 -I NAME probesteer organism NAME --output resources/organisms/NAME

install-profile: ## let `snakemake --profile slurm` find the profile by its name
	mkdir -p $(PROFILES)
	cp -r profiles/slurm $(PROFILES)/

clean: ## delete results and Snakemake's records, keep the environment
	rm -rf results .snakemake
