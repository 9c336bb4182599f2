# The help is made of the lines with two number signs.
SHELL := bash
BUILD := $(or $(TRACER_BUILD),/tmp/tracer-build)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10000x
SOAK ?= 15m
BENCHES ?= start exec conn turns traffic http http2 https read
# No pattern finds these packages. Those that are left out are modules of their own, or belong to one.
TESTDATA := $(addprefix ./,$(sort $(dir $(filter-out testdata/grpc/% testdata/release/store/% testdata/otlp/%,$(wildcard testdata/*/*.go testdata/*/*/*.go)))))
# Packages with privileged tests, and those with fuzz targets.
KERNEL_TESTS = $(sort $(dir $(shell grep -rl --include='*_test.go' '^func TestKernel' .)))
FUZZ_TESTS = $(sort $(dir $(shell grep -rl --include='*_test.go' '^func Fuzz' .)))
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | column -ts $$'\t'

.PHONY: build
build: ## ./tracer, one static file; needs only Go
	go build -ldflags '-s -w' -o tracer .

# A folder for each thing that is installed, as systems have them.
PREFIX ?= /usr/local
BIN = $(DESTDIR)$(PREFIX)/bin
MAN = $(DESTDIR)$(PREFIX)/share/man/man1
BASH_COMPLETION = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_COMPLETION = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH_COMPLETION = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
COMMANDS = exec conn traffic http all draw check completion

# tracer is what make install needs. It is built only where it is not there yet: root may have no Go in its PATH.
tracer:
	@command -v go >/dev/null || { echo "there is no ./tracer, and no go in PATH to build it: run make build first, as the user who has Go" >&2; exit 1; }
	go build -ldflags '-s -w' -o tracer .

.PHONY: man
man: tracer ## the man pages, out of the commands
	mkdir -p $(BUILD)/man
	./tracer help --man >$(BUILD)/man/tracer.1
	for c in $(COMMANDS); do ./tracer help --man $$c >$(BUILD)/man/tracer-$$c.1 || exit 1; done

.PHONY: install
install: man ## what make build has built, man pages and completions, below PREFIX (/usr/local)
	install -d $(BIN) $(MAN) $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION)
	install -m 755 tracer $(BIN)/tracer
	install -m 644 $(BUILD)/man/*.1 $(MAN)/
	./tracer completion bash >$(BASH_COMPLETION)/tracer
	./tracer completion zsh >$(ZSH_COMPLETION)/_tracer
	./tracer completion fish >$(FISH_COMPLETION)/tracer.fish

.PHONY: uninstall
uninstall: ## what install has put there
	rm -f $(BIN)/tracer $(MAN)/tracer.1 $(patsubst %,$(MAN)/tracer-%.1,$(COMMANDS)) \
		$(BASH_COMPLETION)/tracer $(ZSH_COMPLETION)/_tracer $(FISH_COMPLETION)/tracer.fish

.PHONY: test
test: ## everything that CI runs; as root, after make install-tools
	@MAKE='$(MAKE)' testdata/test.sh $(BUILD)

.PHONY: install-tools
install-tools: ## what the tests need beside Go, by apt
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		clang-14 llvm-14 libbpf-dev qemu-system-x86 cpio busybox-static \
		containerd runc crun docker.io podman conmon \
		nginx haproxy apache2-bin wrk curl wget openssl jq python3 nodejs nghttp2-client python3-hypercorn iptables iproute2 groff-base >/dev/null
	command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends npm >/dev/null

.PHONY: check
check: check-generated ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	go vet ./... $(TESTDATA)
	GOARCH=arm64 go vet ./... $(TESTDATA)
	go run $(STATICCHECK) ./... $(TESTDATA)

.PHONY: test-unit
test-unit: ## unit tests and, as root, the privileged tests on this kernel
	mkdir -p $(BUILD)/bin
	go build -ldflags '-s -w' -o $(BUILD)/bin/ . ./testdata/kit/workload
	testdata/unit.sh $(BUILD)

# Each package is built once, with the fuzzer's instruments. A short time to minimize what is new leaves most of the runs
# to inputs that nobody has seen.
.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10000x runs, or a time)
	@mkdir -p $(BUILD)/fuzz; for p in $(FUZZ_TESTS); do \
		name=$$(tr / - <<<"$${p#./}"); \
		go test -c -fuzz=. -o $(BUILD)/fuzz/$$name.test $$p || exit 1; \
		for f in $$($(BUILD)/fuzz/$$name.test -test.list '^Fuzz'); do \
			echo "$$p $$f"; \
			(cd $$p && $(BUILD)/fuzz/$$name.test -test.run '^$$' -test.fuzz "^$$f\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzminimizetime 100x -test.fuzzcachedir $(BUILD)/fuzz/$$name) || exit 1; \
		done; \
	done

# in: the folder that the emulated machines run: tracer, the workloads, the tests of each package that has privileged
# ones. Their names are the packages', with main for the folder at the top.
in = rm -rf $(1) && mkdir -p $(1)/testdata && go build -ldflags '-s -w' -o $(1)/ . ./testdata/kit/workload && \
	for p in $(KERNEL_TESTS); do \
		name=$$(tr / - <<<"$${p\#./}"); name=$${name%-}; \
		go test -c -ldflags '-s -w' -o $(1)/$${name:-main}.test $$p || exit 1; \
	done

.PHONY: kernel-tests
kernel-tests:
	@$(call in,$(BUILD)/kernels)

.PHONY: test-kernels
test-kernels: kernel-tests ## the privileged tests on other kernels, emulated (KERNELS="5.10 7", RUN=regex)
	testdata/kernels.sh $(if $(KERNELS),-k "$(KERNELS)") $(if $(RUN),-r '$(RUN)') $(BUILD)/kernels
	$(if $(KERNELS)$(RUN),,testdata/kernels.sh -T $(BUILD)/kernels)

# The Collector is a module of its own, of some 150 others: what was built once is in Go's cache.
.PHONY: collector
collector:
	mkdir -p $(BUILD)/otlp
	go -C testdata/otlp/collector build -ldflags '-s -w' -o $(BUILD)/otlp/collector .

.PHONY: test-otlp
test-otlp: collector ## what --otlp sends, into a real Collector, and the recipes in testdata/otlp (builds for minutes, once)
	go -C testdata/otlp/manifest run . ../daemonset.yaml
	testdata/otlp/verify.sh
	TRACER_COLLECTOR=$(BUILD)/otlp/collector go test -count 1 -run Collector ./render/otlp

.PHONY: install-databases
install-databases: ## what test-databases needs, by apt
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends redis-server mariadb-server mariadb-client >/dev/null

.PHONY: test-databases
test-databases: build ## conn --turns of a Redis and a MariaDB behind an application; as root
	testdata/databases.sh ./tracer

.PHONY: soak
soak: build ## all commands at once under a mixed load for SOAK, and what is left afterwards
	go run ./testdata/soak -d $(SOAK) ./tracer

.PHONY: test-arm64
test-arm64: ## the privileged tests on an arm64 machine, emulated (needs qemu-system-arm; KERNELS="6.1 6.12", RUN=regex)
	@export GOARCH=arm64; $(call in,$(BUILD)/arm64)
	testdata/kernels.sh -a arm64 -k "$(or $(KERNELS),6.12)" $(if $(RUN),-r '$(RUN)') $(BUILD)/arm64

.PHONY: generate
generate: ## the BPF objects and their Go types; needs clang 14 and libbpf-dev
	cd bpf && go generate ./...

.PHONY: check-generated
check-generated: ## whether the committed objects are what their sources give
	rm -rf $(BUILD)/generated
	mkdir -p $(BUILD)/generated
	cp -r bpf go.mod go.sum $(BUILD)/generated/
	cd $(BUILD)/generated/bpf && rm -f *_bpfel.go *_bpfel.o && go generate ./...
	diff -r bpf $(BUILD)/generated/bpf && echo "the committed objects are up to date"

.PHONY: install-demo-tools
install-demo-tools: ## what make demo needs beside Go, by apt
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium mariadb-server nodejs >/dev/null
	command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends npm >/dev/null

# The packages of the site are installed beside what is built, once for each list of them.
.PHONY: demo
demo: build ## a front-end release with real parts, recorded, checked and drawn; as root, after make install-demo-tools
	mkdir -p $(BUILD)/release
	cp -r testdata/release/site $(BUILD)/release/
	cd $(BUILD)/release/site && { cmp -s package-lock.json node_modules/for || { npm ci --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/for; }; }
	cd testdata/release/store && go build -o $(BUILD)/release/store .
	go build -o $(BUILD)/release/release ./testdata/release
	$(BUILD)/release/release -site $(BUILD)/release/site -store $(BUILD)/release/store -out $(BUILD)/release/out ./tracer
	TRACER_PICTURE=$(BUILD)/release/out/release.mmd go test -count 1 -run TestMermaidTakesPictures ./render/draw

.PHONY: install-bench-tools
install-bench-tools: install-tools ## what make bench holds tracer beside, by apt
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		gcc libc6-dev bpftrace libbpf-tools tcpdump tshark nethogs >/dev/null

.PHONY: bench
bench: build ## all benchmarks on an idle machine (BENCHES="exec conn"), into testdata/bench/*.txt
	@set -o pipefail; for b in $(BENCHES); do \
		{ echo "$$(date -u +%F), Linux $$(uname -r), $$(nproc) processors"; echo; testdata/bench/$$b.sh; } 2>&1 | \
			tee testdata/bench/$$b.txt || exit 1; \
	done

.PHONY: bench-exec
bench-exec: build ## exec beside execsnoop and bpftrace, in alternating pairs
	testdata/bench/exec.sh

.PHONY: bench-read
bench-read: build ## reading a recording beside jq; memory while three hosts are merged
	testdata/bench/read.sh

.PHONY: bench-conn
bench-conn: build ## conn beside tcplife and tcpstates, in alternating pairs
	testdata/bench/conn.sh

.PHONY: bench-traffic
bench-traffic: build ## traffic beside nethogs and tcptop, in alternating pairs
	testdata/bench/traffic.sh

.PHONY: bench-http
bench-http: build ## http beside bpftrace and tshark, in alternating pairs; latency, memory, other traffic
	testdata/bench/http.sh

.PHONY: bench-http2
bench-http2: build ## http on HTTP/2 and gRPC beside tshark, in alternating pairs
	testdata/bench/http2.sh

.PHONY: bench-https
bench-https: build ## HTTPS beside bpftrace and programs that do nothing, in alternating pairs
	testdata/bench/https.sh

.PHONY: bench-otlp
bench-otlp: build collector ## http --otlp into a Collector beside --json into a file, in alternating pairs
	testdata/bench/otlp.sh $(BUILD)/otlp/collector

.PHONY: clean
clean: ## what was built
	rm -rf tracer $(BUILD)
