// Command grafana stands in for Grafana where the real image is not to be had: it answers the health check and
// /metrics, and says whether what Grafana would read at its start is where docker-compose.yml mounts it.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		for _, folder := range []string{
			"/etc/grafana/provisioning/datasources", "/etc/grafana/provisioning/dashboards", "/etc/grafana/dashboards",
		} {
			if files, err := os.ReadDir(folder); err != nil || len(files) == 0 {
				http.Error(w, fmt.Sprintf("%s: %d files, %v", folder, len(files), err), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, `{"database":"ok"}`)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "grafana_stand_in 1")
	})
	if err := os.WriteFile("/var/lib/grafana/started", []byte(time.Now().UTC().String()+"\n"), 0o600); err != nil {
		log.Fatal(err) // Grafana has its database there
	}
	server := &http.Server{Addr: ":3000", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
