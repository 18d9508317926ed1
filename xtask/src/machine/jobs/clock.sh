# A wall clock that is set while a cluster runs: a day ahead, and back again. Nothing restarts, requests go on, new work starts.
containers() { find /sys/fs/cgroup -path '*corten*' -name cgroup.procs -exec cat {} + | sort -u; }
parts() { corten status | awk '/^(keeper|control|node) /{print $1, $2, $3}'; }

# $1: seconds; $2: the name of what is brought up afterwards.
jump() {
    date -s "@$(($(date +%s) + $1))" || fail "the clock cannot be set"
    # Longer than a node may be silent before it counts as lost.
    sleep 60
    corten status | tee /tmp/status || fail "status after a jump of $1 s"
    grep -q '^nodes .* Ready$' /tmp/status || fail "the node is not ready after a jump of $1 s"
    [ "$(parts)" = "$parts" ] || fail "a part was restarted by a jump of $1 s: $(parts)"
    for pid in $containers; do
        [ -d "/proc/$pid" ] || fail "container process $pid ended by a jump of $1 s"
    done
    all_three_answer "$url"
    mkdir "/tmp/$2"
    for file in /examples/hello/*; do
        sed "s/hello/$2/g; s#corten.local/$2#corten.local/hello#" "$file" > "/tmp/$2/${file##*/}"
    done
    up "/tmp/$2"
    all_three_answer "$(address "$2")"
}

up /examples/hello
url=$(address hello)
all_three_answer "$url"
containers=$(containers)
parts=$(parts)
jump 86400 ahead
jump -86400 back
corten down || fail "down"
up /examples/hello
all_three_answer "$url"
corten reset --yes || fail "reset"
echo "ok    clock"
echo "1 passed, 0 failed"
