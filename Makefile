# What this project is built and tested with. Everything that is made lands in
# .build; nothing is installed.

# What git archive said of the commit when it made this tree; without that, git is
# asked, and where there is no history either it is nobody's version.
archived  = $(shell sed -n 's/^$(1) \([0-9A-Za-z].*\)/\1/p' packaging/archive.txt)
VERSION  ?= $(or $(call archived,tag),$(call archived,commit),$(if $(wildcard .git),$(shell git describe --tags --always --dirty)),devel)
FUZZTIME ?= 30s

# Releases are static. They have no pages of urfave/cli's, and no HTTP/2, which
# nothing that certlatch asks needs (0.4 MB). Libraries, and packages of its own, that are
# used once a run are compiled without inlining (0.4 MB).
ONCE     = database/sql encoding/xml mime/... net/http net/textproto text/... flag github.com/coreos/... github.com/go-sql-driver/... github.com/godbus/... github.com/lib/pq/... github.com/urfave/... gopkg.in/... github.com/xrash/... $(OWN)
OWN      = $(addprefix github.com/certlatch/certlatch/,internal/report internal/proposal cmd/certlatch hooks internal/hookfiles)
GO_BUILD = CGO_ENABLED=0 go build -tags urfave_cli_no_docs,nethttpomithttp2 $(ONCE:%=-gcflags=%=-l) -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.release=$(VERSION)'

TOOLS = .build/bin/pebble .build/bin/staticcheck .build/bin/govulncheck .build/bin/demo .build/bin/packages
TAGS  = systemdtest

# Go keeps its caches below HOME. Who has no home that can be written to has them here.
CACHE := $(shell go env GOCACHE)
ifeq ($(and $(filter /%,$(CACHE)),$(shell mkdir -p '$(CACHE)' 2>/dev/null && test -w '$(CACHE)' && echo kept)),)
export GOCACHE    := $(CURDIR)/.build/go/cache
export GOMODCACHE ?= $(CURDIR)/.build/go/modules
export GOFLAGS    += -modcacherw
endif

.PHONY: help build test test-unit test-faults test-system lint vuln fuzz bench readme package release demo clean

help: ## say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build .build/bin/certlatch: static and stripped
	$(GO_BUILD) -o .build/bin/certlatch ./cmd/certlatch

test: ## run all tests; those of whole hosts need root and are skipped without
	@start=$$(date +%s); $(MAKE) --no-print-directory test-unit test-faults test-system && echo "all tests passed in $$(($$(date +%s) - start)) seconds"

# The race detector needs a C compiler, which Go and make alone do not bring.
# In CI it must run, so there its lack is a failure.
RACE = $(if $(filter true,$(CI))$(filter 1,$(shell go env CGO_ENABLED)),-race)

test-unit:
	@$(if $(RACE),,echo "no C compiler here: the tests run without the race detector")
	go test $(RACE) -skip '^TestFaults$$' $$(go list ./... | grep -v /internal/system$$)
	cd internal/tools && go test -count=1 ./...

# Thousands of processes, of which each meets a fault of its disk, one after the
# other: the race detector would only slow them down. go test keeps to itself how
# many there were, so that is asked for.
test-faults:
	@mkdir -p .build
	go test -v -run '^TestFaults$$' ./internal/install ./internal/deploy >.build/faults.log || { cat .build/faults.log; exit 1; }
	@sed -n 's/^ *[a-z_]*_test\.go:[0-9]*: //p' .build/faults.log

# go test keeps to itself why a test was skipped, so that is asked for apart.
test-system:
	go test -count=1 -timeout 40m ./internal/system
	@{ [ "$$(id -u)" = 0 ] && command -v mmdebstrap && command -v systemd-nspawn; } >/dev/null || \
		go test -v ./internal/system | sed -n 's/^ *[a-z_]*_test\.go:[0-9]*: /tests of whole hosts skipped: /p' | sort -u

lint: .build/bin/staticcheck ## check format, vet, staticcheck and the module files
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go mod tidy -diff
	go vet ./... && go vet -tags $(TAGS) ./...
	.build/bin/staticcheck ./... && .build/bin/staticcheck -tags $(TAGS) ./...
	cd internal/tools && go mod tidy -diff && go vet ./... && ../../.build/bin/staticcheck ./...

# The database is on the network: https://vuln.go.dev, or a copy. Where it cannot
# be had nothing was found out, which is said and is no failure.
VULNDB ?= https://vuln.go.dev

vuln: .build/bin/govulncheck ## look for known vulnerabilities in what the program calls, where VULNDB can be reached
	@said=$$(timeout 300 .build/bin/govulncheck -db $(VULNDB) ./... 2>&1); code=$$?; echo "$$said"; \
	case "$$code $$said" in \
		"124 "*|*" govulncheck: fetching vulnerabilities: "*) echo "vulnerabilities were NOT looked for: $(VULNDB) cannot be reached" ;; \
		*) exit $$code ;; \
	esac

fuzz: ## fuzz every fuzz target for FUZZTIME (30s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -rn1 dirname | sort -u | while read -r dir; do \
		for target in $$(go test -list '^Fuzz' "$$dir" | grep '^Fuzz'); do \
			echo "$$dir $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$dir" || exit 1; \
		done; \
	done

# Figures of hosts with real daemons: that takes root, and some ten minutes. Where
# a bar is not held it fails, and has kept the table all the same.
ROWS ?= renewal,growth,dead,daemon,hook,weight
comma = ,

# Said before anything is built, and before what needs no root has taken minutes.
HOSTS = $(filter renewal growth dead hook,$(subst $(comma), ,$(ROWS)))
LACKS = $(strip $(if $(filter 0,$(shell id -u)),,root) $(foreach program,mmdebstrap systemd-nspawn,$(if $(shell command -v $(program)),,$(program))))

bench: bench-possible build ## measure ROWS (all) into .build/bench.json and bench.md; fails where a bar is not held
	CI=true go test -run '^$$' -bench '^BenchmarkTable$$/^($(subst $(comma),|,$(ROWS)))$$' -benchtime 1x ./internal/system

.PHONY: bench-possible
bench-possible:
	@[ -z "$(HOSTS)" ] || [ -z "$(LACKS)" ] || { echo "$(HOSTS): measured on hosts that are booted for it, which takes $(LACKS); without: make bench ROWS=daemon$(comma)weight"; exit 1; }

readme: ## put the table of the last make bench into README.md
	sed -i -e '/^<!-- bench -->$$/,/^<!-- end of bench -->$$/{//!d}' -e '/^<!-- bench -->$$/r .build/bench.md' README.md

# Packages are dated as the commit is, and built by the Go that go.mod names, which
# the go command fetches where it is another: so the same commit gives the same
# bytes, wherever. TOOLCHAIN=local takes the Go that is there.
SOURCE_DATE_EPOCH ?= $(or $(call archived,date),$(if $(wildcard .git),$(shell git log -1 --format=%ct)),$(shell stat -c %Y CHANGELOG.md))
TOOLCHAIN         ?= $(shell sed -n 's/^toolchain //p' go.mod)
ARCHITECTURES     ?= amd64 arm64
PACKAGES          ?= .build/packages

package: export GOTOOLCHAIN = $(TOOLCHAIN)
package: build .build/bin/packages ## make deb and rpm packages, SBOMs and checksums in .build/packages
	rm -rf $(PACKAGES)
	set -e; for arch in $(ARCHITECTURES); do GOARCH=$$arch $(GO_BUILD) -o .build/program/$$arch ./cmd/certlatch; done
	.build/bin/packages -version $(VERSION) -epoch $(SOURCE_DATE_EPOCH) -out $(PACKAGES) -native .build/bin/certlatch \
		$(RELEASE) $(if $(SIGN_KEY),-sign '$(SIGN_KEY)') $(if $(URL),-url '$(URL)') \
		$(foreach arch,$(ARCHITECTURES),$(arch)=.build/program/$(arch))

release: PACKAGES = .build/release
release: RELEASE = -release -repositories
release: package ## make what a web server can serve to apt and dnf at URL, in .build/release, signed by SIGN_KEY of gpg's

demo: build .build/bin/pebble .build/bin/demo ## see it work: a CA, a service and four renewals, all on loopback
	@.build/bin/demo -certlatch .build/bin/certlatch -pebble .build/bin/pebble

# Where internal/system keeps the file systems of its hosts. Each has a lock, which
# a run of the tests that uses it holds.
ROOTS = $(or $(XDG_CACHE_HOME),/var/cache)/certlatch-roots

clean: ## remove what was built, and the file systems of the tests' hosts
	rm -rf .build
	@for lock in $(ROOTS)/????????????????.lock; do \
		[ -e "$$lock" ] || continue; root=$${lock%.lock}; \
		if ! [ -O "$(ROOTS)" ]; then echo "$$root stays: it is another user's, most likely root's"; \
		elif flock --nonblock "$$lock" rm -rf --one-file-system "$$root" "$$root.partial" "$$root.partial.apt.conf" "$$lock"; then echo "removed $$root"; \
		else echo "$$root stays: tests use it"; fi; \
	done

# The go command knows best what is up to date.
.PHONY: $(TOOLS)
.build/bin/pebble:      PACKAGE = github.com/letsencrypt/pebble/v2/cmd/pebble
.build/bin/staticcheck: PACKAGE = honnef.co/go/tools/cmd/staticcheck
.build/bin/govulncheck: PACKAGE = golang.org/x/vuln/cmd/govulncheck
.build/bin/demo:        PACKAGE = ./demo
.build/bin/packages:    PACKAGE = ./packages
$(TOOLS):
	@cd internal/tools && go build -o ../../$@ $(PACKAGE)
