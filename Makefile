# The help is made of the lines with two number signs.
SHELL := bash
BUILD := $(or $(TRACER_BUILD),/tmp/tracer-build)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10000x
SOAK ?= 15m
BENCHES ?= start exec conn traffic http
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
COMMANDS = exec conn traffic http check completion

.PHONY: man
man: build ## the man pages, out of the commands
	mkdir -p $(BUILD)/man
	./tracer help --man >$(BUILD)/man/tracer.1
	for c in $(COMMANDS); do ./tracer help --man $$c >$(BUILD)/man/tracer-$$c.1 || exit 1; done

.PHONY: install
install: man ## binary, man pages and completions, below PREFIX (/usr/local)
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

# The tests here leave the processors to themselves for half of the time: the kernel that minds it least runs beside
# them. One that preempts programs would have them miss more.
.PHONY: test
test: ## everything that CI runs; as root, after make install-tools
	@mkdir -p $(BUILD); \
	$(MAKE) --no-print-directory test-kernels QUICK=-q KERNELS=5.10 >$(BUILD)/beside 2>&1 & \
	trap 'kill %1' EXIT; \
	for part in check test-unit "soak SOAK=20s" fuzz beside 'test-kernels QUICK=-q KERNELS="6.1 6.12 7"'; do \
		begin=$$SECONDS; \
		if [ "$$part" = beside ]; then \
			wait %1; status=$$?; \
			trap - EXIT; \
			cat $(BUILD)/beside; \
			[ $$status = 0 ] || exit 1; \
		else \
			eval $(MAKE) --no-print-directory $$part || exit 1; \
		fi; \
		echo "$$part took $$((SECONDS - begin)) s"; \
	done

.PHONY: install-tools
install-tools: ## what the tests need beside Go, by apt
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		clang-14 llvm-14 libbpf-dev qemu-system-x86 cpio busybox-static \
		containerd runc crun docker.io podman conmon \
		nginx haproxy apache2-bin wrk curl jq python3 nodejs >/dev/null

.PHONY: check
check: check-generated ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	go vet ./...
	GOARCH=arm64 go vet ./...
	go run $(STATICCHECK) ./...

.PHONY: test-unit
test-unit: ## unit tests and, as root, the privileged tests on this kernel
	CI=$(or $(CI),true) go test -p 1 -count 1 ./... # one after the other: each sees what the others do

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10000x runs, or a time)
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

.PHONY: test-kernels
test-kernels: ## the privileged tests on other kernels, emulated (KERNELS="5.10 7")
	rm -rf $(BUILD)/kernels
	mkdir -p $(BUILD)/kernels/testdata
	go build -ldflags '-s -w' -o $(BUILD)/kernels/tracer .
	go test -c -o $(BUILD)/kernels/main.test .
	go test -c -o $(BUILD)/kernels/trace.test ./trace
	go test -c -o $(BUILD)/kernels/attach.test ./trace/kernel/attach
	testdata/kernels.sh $(QUICK) $(if $(KERNELS),-k "$(KERNELS)") $(BUILD)/kernels

.PHONY: soak
soak: build ## all commands at once under a mixed load for SOAK, and what is left afterwards
	go run ./testdata/soak -d $(SOAK) ./tracer

.PHONY: test-arm64
test-arm64: ## the privileged tests on an arm64 machine, emulated (needs qemu-system-arm; KERNELS="6.1 6.12", RUN=regex)
	rm -rf $(BUILD)/arm64
	mkdir -p $(BUILD)/arm64/testdata
	GOARCH=arm64 go build -ldflags '-s -w' -o $(BUILD)/arm64/tracer .
	GOARCH=arm64 go test -c -o $(BUILD)/arm64/main.test .
	GOARCH=arm64 go test -c -o $(BUILD)/arm64/trace.test ./trace
	GOARCH=arm64 go test -c -o $(BUILD)/arm64/attach.test ./trace/kernel/attach
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

.PHONY: bench-conn
bench-conn: build ## conn beside tcplife and tcpstates, in alternating pairs
	testdata/bench/conn.sh

.PHONY: bench-traffic
bench-traffic: build ## traffic beside nethogs and tcptop, in alternating pairs
	testdata/bench/traffic.sh

.PHONY: bench-http
bench-http: build ## http beside bpftrace and tshark, in alternating pairs; latency, memory, other traffic
	testdata/bench/http.sh

.PHONY: clean
clean: ## what was built
	rm -rf tracer $(BUILD)
