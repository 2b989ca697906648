package simulation

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/sim"
)

// rows returns the cells of the rows below a heading of docs/simulation.md.
func rows(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/simulation.md has no %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	for line := range strings.Lines(section) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); strings.HasPrefix(line, "|") {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("no table below %q", heading)
	}
	return rows[2:]
}

// TestPageListsEveryFault: the page and the code know the same kinds of faults.
func TestPageListsEveryFault(t *testing.T) {
	table := rows(t, "Faults")
	if len(table) != len(sim.Faults) {
		t.Errorf("the page has %d kinds of faults, the code has %d", len(table), len(sim.Faults))
	}
	for i := range min(len(table), len(sim.Faults)) {
		if table[i][0] != string(sim.Faults[i]) {
			t.Errorf("the page has %q, the code has %q", table[i][0], sim.Faults[i])
		}
	}
}

// TestPageListsEveryPlantedBug: its table is the one that TestPlantedBugs proves.
func TestPageListsEveryPlantedBug(t *testing.T) {
	table := rows(t, "Planted bugs")
	if len(table) != len(Bugs) {
		t.Errorf("the page has %d bugs, the code has %d", len(table), len(Bugs))
	}
	for i := range min(len(table), len(Bugs)) {
		b := Bugs[i]
		var faults []string
		for _, f := range b.Faults {
			faults = append(faults, string(f))
		}
		if len(faults) == 0 {
			faults = []string{"none"}
		}
		got := fmt.Sprint(table[i][0], ": ", table[i][2], ": ", table[i][3])
		want := fmt.Sprintf("%s: %s: %s", b.Bug, strings.Join(faults, ", "), b.By)
		if got != want {
			t.Errorf("the page has %q, the code has %q", got, want)
		}
	}
}
