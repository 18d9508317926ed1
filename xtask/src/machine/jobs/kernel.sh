# The real-kernel cases, then the drivers' own tests; of both those whose name contains $filter.
status=0
kernel $filter || status=1
for tests in /programs/*-tests; do
    case "$filter" in runtime::*) break ;; esac
    echo "-- ${tests##*/}"
    "$tests" --test-threads=2 $filter || status=1
done
exit $status
