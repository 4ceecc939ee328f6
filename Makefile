# make demo   see every task: text and pictures
# make test   ruff, mypy, and the quick tests: small models, nothing installed, four minutes on two quiet cores (five and a half without caches)
#             make test-more: bundles of every task, servers, clusters, clean environments; make test-all: all, published sizes too
#             make test-aarch64: emulated, on Debian
# make docs   the documentation as a site, in build/site, every link checked; works from a disk, without a network
# make soak   ten thousand calls from 16 threads, a stream of frames for SECONDS (600), as many broken files as that time allows
#             (each as long for the graph check against onnx, guided by coverage), twenty killed exports
# Both set up .venv on their own. Another Python: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
SECONDS ?= 600
AARCH64_PYTHONS ?= 3.10 3.11 3.12
TASKS = flow fill-mask text-classification token-classification image-classification audio-classification multimodal features
PARALLEL ?= --numprocesses 2 --dist loadfile
BIN = $(VENV)/bin
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
TENSORRT_RTX = tensorrt_rtx_cu13_libs==1.7.1.116 tensorrt_rtx_cu13_bindings==1.7.1.116
SETUP_FILES = constraints.txt pyproject.toml runtime/pyproject.toml

# a process a core: with more threads than cores, they wait for one another
test test-more test-all: export OMP_NUM_THREADS ?= 1

.PHONY: demo docs test test-more test-all test-again test-aarch64 soak lint dist clean web test-web

demo: $(VENV)/.demo
	PYTHONSAFEPATH=1 $(BIN)/python -m perceiver_deploy.demo $(DEMO)

test: lint
	$(BIN)/pytest -m "not slow and not long" $(PARALLEL)

test-more: $(VENV)/.test
	$(BIN)/pytest -m "slow and not long" $(PARALLEL)

# what failed the last time, once more and one after another
test-again: $(VENV)/.test
	$(BIN)/pytest --last-failed --last-failed-no-failures none

test-all: lint
	$(BIN)/pytest $(PARALLEL)

docs: $(VENV)/.docs
	PYTHONSAFEPATH=1 $(BIN)/python tools/site_pages.py

soak: $(VENV)/.test
	PERCEIVER_LOAD_CALLS=10000 PERCEIVER_STREAM_SECONDS=$(SECONDS) PERCEIVER_FUZZ_SECONDS=$(SECONDS) PERCEIVER_KILLS=20 \
	  $(BIN)/pytest tests/test_load.py tests/test_fuzz.py tests/test_faults.py

# a small bundle of every task gives its known answer on an emulated Jetson-like CPU, and the runtime's quick tests pass there
test-aarch64: $(VENV)/.test
	mkdir -p build/aarch64/bundles
	for task in $(TASKS); do $(BIN)/perceiver-export --task $$task -o build/aarch64/bundles/$$task --force || exit 1; done
	for version in $(AARCH64_PYTHONS); do \
	  export PY=$$version; \
	  test -x build/aarch64/$$version/python || tests/aarch64/emulated.sh setup || exit 1; \
	  for bundle in tests/data/golden-1.0/flow build/aarch64/bundles/*; do \
	    PYTHONSAFEPATH=1 tests/aarch64/emulated.sh python -m perceiver_runtime verify $$bundle || exit 1; \
	  done; \
	  tests/aarch64/emulated.sh tests || exit 1; \
	done

# a page in the browser that runs bundles, at http://localhost:8000; needs npm
web: $(VENV)/.demo
	$(BIN)/python tools/web_site.py

# the same in a real Chromium; needs node, npm and chromium. PERCEIVER_WEB_PICTURES=docs makes docs/web.md's pictures
test-web: $(VENV)/.test
	PERCEIVER_WEB=1 $(BIN)/pytest tests/test_web.py

# both distributions, checked and installed in an environment of their own; HOME_URL makes the README's pictures show on an index
dist: $(VENV)/.python
	$(BIN)/python tools/dist.py $(if $(HOME_URL),--home-url $(HOME_URL))

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.python:
	PYTHONSAFEPATH=1 $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.python $(SETUP_FILES)
	$(INSTALL) --editable "./runtime[cpu,images]" --editable ".[photographs]"
	touch $@

$(VENV)/.docs: $(VENV)/.python $(SETUP_FILES)
	$(INSTALL) --editable "./runtime[cpu,images]" --editable ".[docs]"
	touch $@

$(VENV)/.test: $(VENV)/.python $(SETUP_FILES)
	$(INSTALL) --editable "./runtime[cpu,images]" --editable ".[test]"
	-$(INSTALL) --no-deps $(TENSORRT_RTX)  # builds engines without a GPU; x86-64 only, its tests are skipped without it
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
