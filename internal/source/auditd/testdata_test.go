package auditd_test

// sample is a log as auditd writes it, made up: a guessed password, a session, a
// program with arguments that need encoding, written and deleted files, and a
// connection.
const sample = "" +
	`type=DAEMON_START msg=audit(1772500000.001:1): op=start ver=3.0.7 format=enriched kernel=6.1.0 auid=4294967295 pid=412 uid=0 ses=4294967295 subj=unconfined res=success` + "\x1d" + `AUID="unset" UID="root"` + "\n" +
	`type=USER_AUTH msg=audit(1772500010.101:100): pid=1200 uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=PAM:authentication grantors=? acct="root" exe="/usr/sbin/sshd" hostname=203.0.113.9 addr=203.0.113.9 terminal=ssh res=failed'` + "\x1d" + `UID="root" AUID="unset"` + "\n" +
	`type=USER_LOGIN msg=audit(1772500010.105:101): pid=1200 uid=0 auid=4294967295 ses=4294967295 msg='op=login acct=28696E76616C6964207573657229 exe="/usr/sbin/sshd" hostname=? addr=203.0.113.9 terminal=ssh res=failed'` + "\n" +
	`type=LOGIN msg=audit(1772500020.300:102): pid=1210 uid=0 old-auid=4294967295 auid=1000 tty=(none) old-ses=4294967295 ses=7 res=1` + "\n" +
	`type=SYSCALL msg=audit(1772500020.300:102): arch=c000003e syscall=1 success=yes exit=4 a0=3 a1=7ffd a2=4 a3=0 items=0 ppid=800 pid=1210 auid=1000 uid=0 gid=0 euid=0 tty=(none) ses=7 comm="sshd" exe="/usr/sbin/sshd" key=(null)` + "\n" +
	`type=PROCTITLE msg=audit(1772500020.300:102): proctitle=737368643A20726F6F74205B707269765D` + "\n" +
	`type=USER_START msg=audit(1772500020.310:103): pid=1210 uid=0 auid=1000 ses=7 msg='op=PAM:session_open grantors=pam_unix acct="mori" exe="/usr/sbin/sshd" hostname=203.0.113.9 addr=203.0.113.9 terminal=ssh res=success'` + "\n" +
	`type=SYSCALL msg=audit(1772500030.400:104): arch=c000003e syscall=59 success=yes exit=0 a0=55d1 a1=55d2 a2=55d3 a3=8 items=2 ppid=1220 pid=1230 auid=1000 uid=1000 gid=1000 euid=1000 tty=pts0 ses=7 comm="curl" exe="/usr/bin/curl" key="exec"` + "\x1d" + `ARCH=x86_64 SYSCALL=execve AUID="mori" UID="mori"` + "\n" +
	`type=EXECVE msg=audit(1772500030.400:104): argc=4 a0="curl" a1="-o" a2=2F746D702F2E7820792F61 a3="http://203.0.113.10/a"` + "\n" +
	`type=CWD msg=audit(1772500030.400:104): cwd="/home/mori"` + "\n" +
	`type=PATH msg=audit(1772500030.400:104): item=0 name="/usr/bin/curl" inode=1 dev=fe:00 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0` + "\n" +
	`type=PATH msg=audit(1772500030.400:104): item=1 name="/lib64/ld-linux-x86-64.so.2" inode=2 dev=fe:00 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL` + "\n" +
	`type=PROCTITLE msg=audit(1772500030.400:104): proctitle=6375726C002D6F002F746D702F2E7820792F6100687474703A2F2F3230332E302E3131332E31302F61` + "\n" +
	`type=SYSCALL msg=audit(1772500030.500:105): arch=c000003e syscall=42 success=yes exit=0 a0=5 a1=7ffe a2=10 a3=0 items=0 ppid=1220 pid=1230 auid=1000 uid=1000 gid=1000 euid=1000 tty=pts0 ses=7 comm="curl" exe="/usr/bin/curl" key="net"` + "\x1d" + `ARCH=x86_64 SYSCALL=connect` + "\n" +
	`type=SOCKADDR msg=audit(1772500030.500:105): saddr=02000050CB00710A0000000000000000` + "\x1d" + `SADDR={ saddr_fam=inet laddr=203.0.113.10 lport=80 }` + "\n" +
	`type=PROCTITLE msg=audit(1772500030.500:105): proctitle="curl"` + "\n" +
	`type=SYSCALL msg=audit(1772500031.600:106): arch=c000003e syscall=257 success=yes exit=6 a0=ffffff9c a1=55 a2=241 a3=1b6 items=2 ppid=1220 pid=1230 auid=1000 uid=1000 gid=1000 euid=1000 tty=pts0 ses=7 comm="curl" exe="/usr/bin/curl" key="tmp"` + "\n" +
	`type=CWD msg=audit(1772500031.600:106): cwd="/home/mori"` + "\n" +
	`type=PATH msg=audit(1772500031.600:106): item=0 name=2F746D702F2E7820792F inode=3 dev=fe:00 mode=040755 ouid=1000 ogid=1000 rdev=00:00 nametype=PARENT` + "\n" +
	`type=PATH msg=audit(1772500031.600:106): item=1 name=2F746D702F2E7820792F61 inode=4 dev=fe:00 mode=0100644 ouid=1000 ogid=1000 rdev=00:00 nametype=CREATE` + "\n" +
	`type=PROCTITLE msg=audit(1772500031.600:106): proctitle="curl"` + "\n" +
	`type=SYSCALL msg=audit(1772500040.700:107): arch=c000003e syscall=87 success=yes exit=0 a0=55 a1=0 a2=0 a3=0 items=2 ppid=1220 pid=1240 auid=1000 uid=1000 gid=1000 euid=1000 tty=pts0 ses=7 comm="rm" exe="/usr/bin/rm" key="del"` + "\n" +
	`type=CWD msg=audit(1772500040.700:107): cwd="/tmp"` + "\n" +
	`type=PATH msg=audit(1772500040.700:107): item=0 name="/tmp" inode=5 nametype=PARENT` + "\n" +
	`type=PATH msg=audit(1772500040.700:107): item=1 name="a.log" inode=6 nametype=DELETE` + "\n" +
	`type=PROCTITLE msg=audit(1772500040.700:107): proctitle=726D00612E6C6F67` + "\n" +
	`type=SERVICE_START msg=audit(1772500050.800:108): pid=1 uid=0 auid=4294967295 ses=4294967295 msg='unit=cache comm="systemd" exe="/usr/lib/systemd/systemd" hostname=? addr=? terminal=? res=success'` + "\n" +
	`type=USER_END msg=audit(1772500060.900:109): pid=1210 uid=0 auid=1000 ses=7 msg='op=PAM:session_close acct="mori" exe="/usr/sbin/sshd" hostname=203.0.113.9 addr=203.0.113.9 terminal=ssh res=success'` + "\n" +
	`type=CRED_DISP msg=audit(1772500060.910:110): pid=1210 uid=0 auid=1000 ses=7 msg='op=PAM:setcred acct="mori" exe="/usr/sbin/sshd" hostname=203.0.113.9 addr=203.0.113.9 terminal=ssh res=success'` + "\n"
