package incident

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPlacesAreFoundAsByLooking holds the index of places to looking at each.
func TestPlacesAreFoundAsByLooking(t *testing.T) {
	look := func(things []string, name string, connected bool) []string {
		for n, have := range things {
			if have == name || strings.HasPrefix(have, name+" (") {
				return things
			}
			if connected && strings.HasPrefix(name, have+" (") {
				things[n] = name
				return things
			}
		}
		return append(things, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := &chapter{}
		var want []string
		for range rapid.IntRange(1, 30).Draw(t, "places") {
			name := rapid.SampledFrom([]string{"a", "b", "a (b)", "a (c)", "b (a)", "a (b) (c)", "c"}).Draw(t, "name")
			connected := rapid.Bool().Draw(t, "connected")
			c.reached(name, connected)
			want = look(want, name, connected)
			if !slices.Equal(c.things, want) {
				t.Fatalf("after %q (%v): %q, want %q", name, connected, c.things, want)
			}
		}
	})
}
