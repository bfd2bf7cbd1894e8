package evtx_test

import (
	"testing"

	"ashiato/internal/source/evtx"
	"ashiato/internal/source/sourcetest"
)

func TestConformance(t *testing.T) {
	var rd evtx.Reader
	sourcetest.Run(t, rd.Read, write(t, intrusion(250)))
}
