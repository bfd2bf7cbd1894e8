package evaluation

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestCountOnPaper holds B-cubed precision and recall against an example worked
// out by hand: two intrusions of three and two detections, and one detection of
// nothing; the first group has two of the first intrusion and one of the second,
// the second one of the first and the nothing, the third one of the second.
func TestCountOnPaper(t *testing.T) {
	groups := []int{0, 0, 0, 1, 1, 2}
	truth := []int{0, 0, 1, 0, -1, 1}
	j := count(groups, truth)
	// Precision: 2/3, 2/3, 1/3, 1/2, 1; recall: 2/3, 2/3, 1/2, 1/3, 1/2.
	if want := (2./3 + 2./3 + 1./3 + 1./2 + 1) / 5; math.Abs(j.Purity()-want) > 1e-9 {
		t.Errorf("purity %v, want %v", j.Purity(), want)
	}
	if want := (2./3 + 2./3 + 1./2 + 1./3 + 1./2) / 5; math.Abs(j.Completeness()-want) > 1e-9 {
		t.Errorf("completeness %v, want %v", j.Completeness(), want)
	}
	if j.Detections != 6 || j.Groups != 3 || j.True != 5 || j.TrueGroups != 3 || j.OverMerged != 1 || j.Reduction() != 2 {
		t.Errorf("%+v", j)
	}
	if none := count(nil, nil); none.Purity() != 0 || none.Reduction() != 0 {
		t.Errorf("%+v", none)
	}
}

// TestCountIsAPureFunction holds that neither order nor the groups' numbers
// matter, that every detection alone is pure and everything together complete.
func TestCountIsAPureFunction(t *testing.T) {
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		groups := rapid.SliceOfN(rapid.IntRange(0, 5), n, n).Draw(t, "groups")
		truth := rapid.SliceOfN(rapid.IntRange(-1, 3), n, n).Draw(t, "truth")
		want := count(groups, truth)
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "order")
		var g, tr []int
		for _, i := range order {
			g, tr = append(g, 100-groups[i]), append(tr, truth[i])
		}
		got := count(g, tr)
		if !near(got.Precision, want.Precision) || !near(got.Recall, want.Recall) || got.OverMerged != want.OverMerged || got.Groups != want.Groups {
			t.Fatalf("%+v, want %+v", got, want)
		}
		alone, together := make([]int, n), make([]int, n)
		for i := range n {
			alone[i] = i
		}
		if j := count(alone, truth); j.True > 0 && (!near(j.Purity(), 1) || j.OverMerged > 0) {
			t.Fatalf("%+v", j)
		}
		if j := count(together, truth); j.True > 0 && !near(j.Completeness(), 1) {
			t.Fatalf("%+v", j)
		}
		if want.Purity() > 1+1e-9 || want.Completeness() > 1+1e-9 {
			t.Fatalf("%+v", want)
		}
	})
}
