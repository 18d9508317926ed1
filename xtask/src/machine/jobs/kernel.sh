# The real-kernel cases, then the drivers' own tests.
status=0
kernel $filter || status=1
[ -n "$filter" ] && exit $status
for tests in /programs/*-tests; do
    echo "-- ${tests##*/}"
    "$tests" --test-threads=2 || status=1
done
exit $status
