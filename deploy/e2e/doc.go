// Package e2e is the test of docker-compose.yml: the file itself, unmodified, on a real Docker, alone and with
// deploy/secure.yml.
//
//	make compose-test
//
// It needs no image registry. Each image that the file or deploy/Dockerfile takes from one, and that is not here, gets
// a stand-in under the very name: Debian by debootstrap, NATS and versitygw from their Go modules, Prometheus from
// Debian's packages, FoundationDB where it is installed (docs/testing.md says how it is found), for Grafana a small
// server. The names are given back when the test ends, so that nobody takes a stand-in for the real image afterwards.
//
//	docker-compose.yml ──── images ────┐
//	                                   ├──▶ standIns ──▶ docker images ──▶ project
//	deploy/Dockerfile ──── bases ──────┘
package e2e
