# The disks that a cut left are checked; then the last disk is written to until the power is cut again.
# $marks: what was acknowledged, a list of numbers per disk, with `/` between; $write_at: where marks go on the last disk.
disk_names="a b c d e f g h i j k l m n o p"
status=0
at=0
for list in $(echo "$marks" | tr / ' '); do
    at=$((at + 1))
    name=$(echo $disk_names | cut -d' ' -f$at)
    mkdir -p "/mnt/$name"
    if said=$(mount -t ext4 "/dev/vd$name" "/mnt/$name" 2>&1 && kernel power check "/mnt/$name/store" "$list" 2>&1); then
        echo "@held $at $said"
    else
        echo "@broke $at $said"
    fi
    umount "/mnt/$name"
done
[ -z "$write_at" ] && exit 0
name=$(echo $disk_names | cut -d' ' -f$((at + 1)))
mkdir -p /mnt/write
mount -t ext4 "/dev/vd$name" /mnt/write && kernel power write /mnt/write/store "/dev/vd$name" "$write_at"
