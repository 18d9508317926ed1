# A cluster on a machine that has nothing but loopback: brought up, asked, taken down, brought back, removed.
ip link set lo up

fail() {
    echo "FAIL  $*"
    for log in /var/lib/corten/*/log/*.log; do echo "-- $log"; tail -n 20 "$log"; done
    echo "0 passed, 1 failed"
    exit 1
}
# busybox' own wget wants a resolver that a static program does not have.
ask() {
    at=${1#http://}
    printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$at" | nc -w 10 "${at%:*}" "${at#*:}"
}
all_three_answer() {
    names=""
    for n in $(seq 60); do
        page=$(ask "$1") || fail "no answer at $1"
        pod=$(echo "$page" | sed -n 's/^pod: //p')
        case " $names " in *" $pod "*) ;; *) names="$names $pod" ;; esac
        [ "$(echo $names | wc -w)" = 3 ] && return
    done
    fail "only these pods answered at $1:$names"
}
address() { sed -n 's/^hello  *\([^ ]*\).*/\1/p' /tmp/up; }
up() { corten up --no-kubeconfig --timeout 180 /examples/hello > /tmp/up 2>&1 || { cat /tmp/up; fail "up"; }; cat /tmp/up; }
what_is_there() { mount; ip -o link | sed 's/^[0-9]*: //'; find /sys/fs/cgroup -type d; ls -A /run /var/lib; }

what_is_there | sort > /tmp/before
corten check || fail "check"
up
url=$(address)
all_three_answer "$url"
corten status || fail "status"
corten down || fail "down"
corten status && fail "status says that it runs after down"
up
[ "$(address)" = "$url" ] || fail "the address changed from $url to $(address)"
all_three_answer "$url"
corten reset --yes || fail "reset"
rm -f /tmp/up
what_is_there | sort > /tmp/after
diff /tmp/before /tmp/after || fail "reset left something"
left=$(ps -o comm,args | grep '^corten')
[ -z "$left" ] || fail "processes are left: $left"
echo "ok    hello"
echo "1 passed, 0 failed"
