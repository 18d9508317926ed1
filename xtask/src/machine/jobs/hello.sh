# A cluster on a machine that has nothing but loopback: brought up, asked, taken down, brought back, removed.
what_is_there() { mount; ip -o link | sed 's/^[0-9]*: //'; find /sys/fs/cgroup -type d; ls -A /run /var/lib; }

what_is_there | sort > /tmp/before
corten check || fail "check"
up /examples/hello
url=$(address hello)
all_three_answer "$url"
corten status || fail "status"
corten down || fail "down"
corten status && fail "status says that it runs after down"
up /examples/hello
[ "$(address hello)" = "$url" ] || fail "the address changed from $url to $(address hello)"
all_three_answer "$url"
corten reset --yes || fail "reset"
rm -f /tmp/up
what_is_there | sort > /tmp/after
diff /tmp/before /tmp/after || fail "reset left something"
left=$(ps -o comm,args | grep '^corten')
[ -z "$left" ] || fail "processes are left: $left"
echo "ok    hello"
echo "1 passed, 0 failed"
