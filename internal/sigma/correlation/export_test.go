package correlation

import "time"

// AdvanceAll is Advance by the plain way: it judges every group.
func (st *State) AdvanceAll(watermark time.Time) []Episode {
	if st.marked && !watermark.After(st.mark) {
		return nil
	}
	st.mark, st.marked = watermark, true
	return st.run(false, true)
}
