package provenance

import "testing"

func TestZoneValue(t *testing.T) {
	for _, tt := range []struct{ contents, name, want string }{
		{"[ZoneTransfer]  ZoneId=3", "ZoneId", "3"},
		{"[ZoneTransfer]\r\nZoneId=3\r\nHostUrl=https://a.example/x?HostUrl=y\r\n", "HostUrl", "https://a.example/x?HostUrl=y"},
		{"[ZoneTransfer]  ZoneId=3  ReferrerUrl=C:\\Users\\a b\\Down loads\\x.zip  HostUrl=about:internet  ", "ReferrerUrl", `C:\Users\a b\Down loads\x.zip`},
		{"[ZoneTransfer] ZoneId=3 ReferrerUrl=C:\\a b.zip HostUrl=https://h.example/", "ReferrerUrl", `C:\a b.zip`},
		{"[ZoneTransfer] ZoneId=3 ReferrerUrl=C:\\a b.zip HostUrl=https://h.example/", "HostUrl", "https://h.example/"},
		{"[ZoneTransfer]ZoneId=4", "ZoneId", "4"},
		{"[ZoneTransfer]  XZoneId=3", "ZoneId", ""},
		{"", "ZoneId", ""},
		{"HostUrl=", "HostUrl", ""},
	} {
		if got := zoneValue(tt.contents, tt.name); got != tt.want {
			t.Errorf("%q of %q is %q, want %q", tt.name, tt.contents, got, tt.want)
		}
	}
}
