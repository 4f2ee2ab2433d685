# Patella: every target installs what it needs (and says so first). `make help` lists them.
SHELL := /bin/bash
PRESET ?= release
BUILD := build/$(PRESET)
export PATELLA_CACHE ?= $(HOME)/.cache/patella
export CCACHE_DIR ?= $(PATELLA_CACHE)/ccache
export CCACHE_MAXSIZE ?= 3G
# Clones in other folders hit the same cache.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := true
export TSAN_OPTIONS ?= suppressions=$(CURDIR)/tools/tsan.supp
JOBS ?= $(shell nproc)
PROGRAMS := patella patella-sidecar patella-engine
SAMPLE ?= deploy/samples/smollm2.yaml
REPORT ?= build/report.html

.PHONY: help
help: ## Show this list
	@echo "Patella finds the knee of an LLM server's latency-throughput curve and caps concurrency there."
	@echo
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PRESET=release|dev|asan|tsan chooses the build, PATELLA_CACHE=$(PATELLA_CACHE) holds downloads and ccache."

.PHONY: setup-demo setup-test
setup-demo:
	@tools/setup/install.sh demo
setup-test: setup-demo
	@tools/setup/install.sh test

.PHONY: programs
programs: setup-demo ## Build patella, patella-sidecar and patella-engine into build/release/bin
	@mkdir -p build
	@[ -e $(BUILD)/build.ninja ] || cmake --preset $(PRESET) -DPATELLA_BUILD_TESTS=OFF >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	@echo "building $(PROGRAMS)"
	@ninja -C $(BUILD) -j$(JOBS) $(PROGRAMS)

.PHONY: model
model: setup-demo ## Fetch the 135M-parameter demo model into PATELLA_CACHE
	@tools/fetch_model.sh

.PHONY: demo
demo: programs model ## Find a real model's knee on this machine and hold it under 3x load
	@$(BUILD)/bin/patella demo -f $(SAMPLE) --report $(REPORT)

.PHONY: picture
picture: demo ## Run the demo and draw its report for the README with headless Chromium
	@tools/setup/install.sh pictures
	@mkdir -p docs/pictures && tools/picture.sh $(REPORT) docs/pictures/report.png 1100x1320

.PHONY: up
up: programs model ## Serve the demo model behind a tuned limit until Ctrl-C
	@$(BUILD)/bin/patella up -f $(SAMPLE)

.PHONY: build
build: setup-test ## Build everything, tests included
	@mkdir -p build
	@cmake --preset $(PRESET) -DPATELLA_BUILD_TESTS=ON >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	@ninja -C $(BUILD) -j$(JOBS)

.PHONY: check
check: build ## The quick tests: no root, no network, no model (2 minutes at most once built)
	@cd $(BUILD) && ctest --output-on-failure -L check -j$(JOBS)

.PHONY: test
test: build model clients kubernetes chart-tools cluster-programs ## Every test but the long ones: what CI runs (as root those on a node too)
	@cd $(BUILD) && ctest --output-on-failure -L check -j$(JOBS) && ctest --output-on-failure -LE 'soak|check' -j1

.PHONY: e2e
e2e: build model cluster-programs ## The scenarios on a real Kubernetes node (root; 12 minutes once built)
	@cd $(BUILD) && ctest --output-on-failure -L e2e -j1

.PHONY: clients
clients: setup-demo
	@tools/setup/venv.sh python-clients >/dev/null
	@tools/setup/venv.sh python-tgi-client >/dev/null
	@tools/setup/venv.sh python-llamacpp >/dev/null

.PHONY: kubernetes
kubernetes: setup-demo ## Build a real Kubernetes control plane for the tests, once (6 minutes on two cores)
	@tools/setup/install.sh kubernetes
	@tools/setup/kubernetes.sh control-plane >/dev/null

.PHONY: chart-tools
chart-tools: setup-demo ## Get both Helms, helm-unittest and kubeconform for the chart's tests, once (6 minutes on two cores)
	@tests/chart/tools.sh >/dev/null

.PHONY: images
images: programs ## Build the images of operator, sidecar and engine into build/images, without a registry
	@ninja -C $(BUILD) -j$(JOBS) patella-operator
	@python3 deploy/images/build.py

# A node needs root: asked for where it is needed alone.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATELLA_CACHE,PATELLA_CLUSTER,KUBEBUILDER_ASSETS)

.PHONY: cluster
cluster: programs model cluster-programs ## Start a one-node Kubernetes here, install Patella by Helm, tune the sample (root; 4 minutes once built)
	@ninja -C $(BUILD) -j$(JOBS) patella-operator
	@$(AS_ROOT) python3 tests/cluster/cluster.py up
	@$(AS_ROOT) python3 tests/cluster/install.py --sample $(SAMPLE) --bin $(BUILD)/bin

.PHONY: cluster-down
cluster-down: ## End that Kubernetes and leave nothing of it
	@$(AS_ROOT) python3 tests/cluster/cluster.py down

.PHONY: cluster-programs
cluster-programs: setup-demo
	@tools/setup/install.sh kubernetes cluster
	@tools/setup/kubernetes.sh node >/dev/null

.PHONY: accept
accept: programs model ## Confirm the learned limit with an independent client, and hold it at three times the load (17 minutes)
	@PATELLA_BIN=$(CURDIR)/$(BUILD)/bin python3 tests/acceptance/accept.py

.PHONY: bench-engine
bench-engine: programs model clients ## The engine against llama.cpp's server on this machine: ratios, 4 minutes
	@PATELLA_BIN=$(CURDIR)/$(BUILD)/bin tools/setup/in_venv.sh python-llamacpp tests/bench/compare_llamacpp.py

.PHONY: bench-accuracy
bench-accuracy: build model clients ## The engine's error against float weights, beside llama.cpp's, on 2,048 positions
	@PATELLA_BIN=$(CURDIR)/$(BUILD)/bin tools/setup/in_venv.sh python-llamacpp tests/bench/compare_accuracy.py

.PHONY: soak
soak: demo accept bench-accuracy build kubernetes chart-tools cluster-programs ## The long tests, and those that assert times
	@cd $(BUILD) && ctest --output-on-failure -L soak -j1

.PHONY: sanitize
sanitize: ## Unit and sidecar tests under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	@$(MAKE) check PRESET=asan
	@$(MAKE) check PRESET=tsan

.PHONY: generate
generate: setup-test ## Make CRDs, C++ types and docs/api.md from lib/api/v1alpha1, and what the chart copies
	@python3 tools/generate_api.py
	@python3 tools/chart.py

.PHONY: fuzz
fuzz: setup-test ## Random bytes for FUZZ_SECONDS (60) to each reader of untrusted input: libFuzzer with clang, else our own driver
	@tools/fuzz.sh $(or $(FUZZ_SECONDS),60)

.PHONY: golden
golden: build ## Rewrite the golden files of the engine's routes and of the reconciler; look at the diff
	@cd $(BUILD) && PATELLA_GOLDEN=write ctest -R '[Gg]olden' -L check >/dev/null; git -C $(CURDIR) diff --stat

.PHONY: format
format: setup-test ## Format all C++ with clang-format
	@git ls-files '*.cc' '*.h' | xargs clang-format -i

.PHONY: tidy
tidy: build ## Look for bugs with clang-tidy in the .cc files changed since origin/main, or in FILES="a.cc b.cc"
	@tools/setup/install.sh tidy
	@tools/tidy.sh $(BUILD) $(JOBS) $(FILES)

.PHONY: clean
clean: ## Remove build/
	@rm -rf build
