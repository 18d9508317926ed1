#!/bin/busybox sh
# The guest's first process: makes a usual root out of the initramfs, mounts the cgroup version that the kernel's command line
# asks for, runs one job and says on the second serial line how it ended.
export PATH=/usr/sbin:/bin:/sbin:/programs NO_COLOR=1 TERM=dumb

if [ "$1" != second ]; then
    # The root of an initramfs cannot be pivoted away from; a bind mount of it, moved over it, can.
    /bin/busybox mount --bind / /root
    cd /root && /bin/busybox mount --move . /
    exec /bin/busybox chroot . /init second
fi

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
for word in $(cat /proc/cmdline); do
    case "$word" in corten.*=*) name="${word%%=*}"; export "${name#corten.}=${word#*=}" ;; esac
done
stty -F /dev/ttyS1 115200 raw -echo
exec < /dev/null > /dev/ttyS1 2>&1

case "$cgroups" in
v2)
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ;;
v1 | hybrid)
    mount -t tmpfs tmpfs /sys/fs/cgroup
    for controllers in cpu,cpuacct memory pids devices freezer; do
        mkdir "/sys/fs/cgroup/$controllers"
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers"
    done
    if [ "$cgroups" = hybrid ]; then
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    fi
    ;;
esac

hostname guest
# nf_tables: busybox' modprobe takes a module that is still loading for loaded, and our parts ask for this one at once.
modprobe -a virtio_pci virtio_blk loop nf_tables
if [ -b /dev/vda ] && [ -z "$bare_disks" ]; then
    mount -t ext4 /dev/vda /var
    mkdir -p /var/lib /var/tmp
    export TMPDIR=/var/tmp
fi
echo "@booted $(uname -r), cgroups $cgroups, $(cut -d. -f1 /proc/uptime) s"
sh "/jobs/$job.sh"
echo "@end $?"
sync
poweroff -f
