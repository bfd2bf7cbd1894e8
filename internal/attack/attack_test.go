package attack_test

import (
	"slices"
	"testing"

	"ashiato/internal/attack"
)

func TestCurrent(t *testing.T) {
	for id, want := range map[string]string{"T1562.001": "T1685", "T1070.001": "T1685.005", "T1685": "T1685", "T1059.001": "T1059.001", "": ""} {
		if got := attack.Current(id); got != want || attack.Current(got) != got {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
}

func TestSame(t *testing.T) {
	for _, test := range []struct {
		asked, id string
		want      bool
	}{
		{"T1562.001", "T1685", true},
		{"T1685", "T1562.001", true},
		{"T1685", "T1070.001", true}, // T1685.005
		{"T1685.005", "T1685", false},
		{"T1059", "T1059.001", true},
		{"T1059", "T10590", false},
		{"T105", "T1059", false},
	} {
		if got := attack.Same(test.asked, test.id); got != test.want {
			t.Errorf("%s, %s: %v", test.asked, test.id, got)
		}
	}
}

func TestSort(t *testing.T) {
	ids := []string{"T1562.001", "T1070.001", "T1685.005", "T1059"}
	attack.Sort(ids)
	if want := []string{"T1059", "T1685.005", "T1070.001", "T1562.001"}; !slices.Equal(ids, want) {
		t.Errorf("%v", ids)
	}
}
