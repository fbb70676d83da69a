# make demo, make test: what the README promises. Each target installs what it needs, once, into VENV.
VENV ?= .venv
PY ?= $(firstword $(foreach p,python3.11 python3,$(shell $(p) -c 'print("$(p)")' 2>/dev/null)))
BIN := $(VENV)/bin
PARALLEL = --numprocesses logical --maxprocesses 4 --dist loadfile

.PHONY: demo test lint types bench suites suites-quick engines aarch64 clean

demo: $(VENV)/export.installed
	$(BIN)/python -m colora.benchmarks.demo

# a process for each core, by file, with one thread: the networks of the tests are so small that more get in the way
test: $(VENV)/test.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/lint.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

# mypy does not look through the hook of an editable install: this link shows it the folders as colora.*
types: $(VENV)/types.installed build/types/tensorrt
	ln -sfn ../.. build/types/colora
	$(BIN)/mypy --strict

# TensorRT's types, without itself. Not among the packages, where `import tensorrt` would find them. Made from its
# bindings by a program: an argument `in`, and one without a default behind others, no Python parses.
build/types/tensorrt: | $(VENV)/types.installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/types tensorrt-stubs==10.13.0.35.1
	sed -i.orig -E 's/\bin: list/in_: list/; s/(power: Weights = None, channel_axis: int)\)/\1 = 0)/' \
	    build/types/tensorrt_bindings/tensorrt.pyi

# report/report.html and report.json, of BUNDLE; without one, of all shipped tasks, exported for this processor
BUNDLE ?= build/bench-bundle
bench: $(VENV)/bench.installed $(BUNDLE)
	$(BIN)/colora bench $(BUNDLE) $(ARGS)

build/bench-bundle: $(wildcard train/zoo/*.safetensors) | $(VENV)/bench.installed
	rm -rf $@
	$(BIN)/python -m colora.benchmarks.zoo_bundle $@

# the suites of pytest-benchmark beside the newest saved run, which fails nothing; SAVE=name keeps this one
SUITES = -W default --override-ini addopts=--import-mode=importlib --benchmark-only --benchmark-compare \
    --benchmark-storage=file://benchmarks/results/baseline --benchmark-columns=median,iqr,rounds --benchmark-sort=name
suites: $(VENV)/test.installed
	$(BIN)/python -m pytest benchmarks $(SUITES) $(if $(SAVE),--benchmark-save=$(SAVE))

# those that take seconds, a few rounds each
suites-quick: $(VENV)/test.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks/bench_tiling.py benchmarks/bench_degradations.py -k "not prod" \
	    -q $(SUITES) --benchmark-max-time=0.02 --benchmark-min-rounds=3

# what the parser and builder of TensorRT for RTX make of every graph, and of Triton's files Triton's own messages
engines: $(VENV)/rtx.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/export/test_target_rtx.py tests/export/test_rtx_parser.py \
	    tests/export/test_target_triton.py
	$(BIN)/python -m colora.benchmarks.engines

# the half that runs on a Jetson, on an emulated 64-bit Arm processor
aarch64: $(VENV)/export.installed
	PYTHON=$(BIN)/python .ci/aarch64 build/aarch64
	$(BIN)/python -m colora.benchmarks.aarch64

# a real Triton server, without a GPU, serving what `--target triton` writes
triton: $(VENV)/export.installed
	PYTHON=$(BIN)/python .ci/triton build/triton
	$(BIN)/python -m colora.benchmarks.triton

$(BIN)/python:
	$(PY) -m venv $(VENV)

$(VENV)/export.installed: EXTRAS = export
$(VENV)/bench.installed: EXTRAS = bench
$(VENV)/lint.installed: EXTRAS = lint
$(VENV)/types.installed: EXTRAS = bench,lint
$(VENV)/types.installed: FLAGS = --no-compile # nothing but mypy itself runs there
$(VENV)/test.installed: EXTRAS = bench,test
$(VENV)/rtx.installed: EXTRAS = bench,rtx,test
$(VENV)/rtx.installed: THEN = 'tritonclient[grpc]'
# spandrel, the reference for our backbones, asks for torchvision and does not need it here
$(VENV)/test.installed: THEN = --no-deps spandrel spandrel-extra-arches
$(VENV)/%.installed: pyproject.toml | $(BIN)/python
	@echo "installing colora[$(EXTRAS)] into $(VENV), which can take minutes"
	$(BIN)/python -m pip install --quiet $(FLAGS) --editable '.[$(EXTRAS)]'
	$(if $(THEN),$(BIN)/python -m pip install --quiet $(THEN))
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
