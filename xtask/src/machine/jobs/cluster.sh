# What jobs with a cluster share; it stands before each of them.
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
address() { sed -n "s/^$1  *\([^ ]*\).*/\1/p" /tmp/up; }
up() { corten up --no-kubeconfig --timeout 180 "$@" > /tmp/up 2>&1 || { cat /tmp/up; fail "up"; }; cat /tmp/up; }

