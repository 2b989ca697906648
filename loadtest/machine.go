package loadtest

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what the harness ran on. What the system does not tell is empty.
type Machine struct {
	OS     string `json:"os"` // with the kernel's release
	Arch   string `json:"arch"`
	CPU    string `json:"cpu,omitempty"`
	CPUs   int    `json:"cpus"`
	Memory uint64 `json:"memory_bytes,omitempty"`
	Go     string `json:"go"`
}

func describeMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()}
	if release := strings.TrimSpace(systemFile("/proc/sys/kernel/osrelease")); release != "" {
		m.OS += " " + release
	}
	m.CPU = systemValue("/proc/cpuinfo", "model name")
	kB, err := strconv.ParseUint(strings.TrimSuffix(systemValue("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err == nil {
		m.Memory = kB * 1024
	}
	return m
}

// systemFile is a file that only some systems have.
func systemFile(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(data)
}

// systemValue is the first "key: value" of a file.
func systemValue(name, key string) string {
	for line := range strings.Lines(systemFile(name)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
