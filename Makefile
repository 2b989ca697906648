# Everyday commands. Nothing here is needed: `go run ./cmd/braid up` and `go test ./...` are.
.PHONY: build test race lint fuzz bench e2e fdb-test faults page dashboards sim rolling failover-series \
	durability-latency heartbeats kubernetes compose-test nightly ci

build: ## one static binary, ./braid
	CGO_ENABLED=0 go build -trimpath -o braid ./cmd/braid

test:
	go test ./...

race:
	go test -race ./...

lint:
	test -z "$$(gofmt -l .)"
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

fuzz: ## every target, FUZZTIME each
	.ci/fuzz $(or $(FUZZTIME),30s)

bench:
	go test -run '^$$' -bench . -count 6 ./internal/lineproto ./internal/columnar ./primary ./sequencer/...

e2e: ## separate processes over TCP, with kill -9
	go test -count 1 -v -run '^TestI2|^TestProcesses' ./cmd/braid

fdb-test: ## the store and the sequencer on a real FoundationDB: needs fdbserver, fdbcli and the client library
	command -v $${BRAID_TEST_FDB:+$$BRAID_TEST_FDB/}fdbserver
	go test -count 1 -tags fdb ./sequencer/...
	BRAID_TEST_FDB_BUGGIFY=1 go test -count 1 -tags fdb -run 'FoundationDB|Lost|Away' ./sequencer/kv/fdb ./sequencer

faults: ## all stories of failover, and random scenarios on separate processes, SEEDS of them, STEPS faults each
	go test -count 1 -v -timeout 90m -parallel 2 -run '^(TestI1toI6_Stories|TestFaults)$$' ./cmd/braid \
		-faults.stories all -faults.seeds $(or $(SEEDS),1-30) -faults.steps $(or $(STEPS),10)

page: ## the load test's page in a browser; PICTURES=DIR keeps what it looks like
	cd loadtest/browser && BRAID_TEST_PICTURES=$(PICTURES) go test -count 1 -v ./...

dashboards: ## metrics, dashboards and alerts against the code, and in a Prometheus that scrapes a cluster
	go test -count 1 -v ./deploy

sim: ## 10,000 seeds of the simulation (docs/simulation.md), or SEEDS of them
	go run ./internal/simulation/cmd/simulate -seeds $(or $(SEEDS),10000)

rolling: ## a rolling restart of a whole cluster, and members that come and go, under load: not one write fails
	go test ./cmd/braid -count 1 -v -run '^(TestRollingRestart|TestMembersComeAndGo)$$'

failover-series: ## kills and pauses at half of the top rate, 20 of each with object and with wal (docs/measurements.md)
	.ci/failover-series $(SERIES)

durability-latency: ## wal with two copies beside object, on a folder and on a slow S3 (versitygw)
	.ci/durability-latency

heartbeats: ## how late heartbeats come on a machine without a free core
	go test ./cmd/braid -count 1 -v -run TestHeartbeatsWithoutAFreeCore -heartbeats.for 20s

kubernetes: ## the manifests, built by kustomize and decoded into the API's types: minutes of compiling the first time
	cd deploy/kubernetes/test && go vet ./... && go mod tidy -diff && go test -count 1 -v ./...

compose-test: ## docker-compose.yml on this machine's Docker, without an image registry (docs/testing.md): root, debootstrap
	go test ./deploy/e2e -count 1 -v -timeout 60m -compose

nightly: kubernetes ## what takes an hour and more
	go run ./internal/simulation/cmd/simulate -twice -seeds 50000
	.ci/compose-current

ci:
	.ci/run
