// Package e2e checks docker-compose.yml: that its images are pinned and its services confined.
package e2e
