#!/bin/sh
# The first program of a booted system in a container: gives systemd a second-version hierarchy of its
# own where the host has the first version, whose controllers the engine inside finds under /cg1.
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -o remount,rw /sys
  mount -o remount,rw /proc/sys 2>/dev/null
  mkdir -p /cg1 && mount -t tmpfs -o mode=755 cg1 /cg1
  for directory in /sys/fs/cgroup/*/; do
    name=$(basename "$directory")
    [ "$name" != unified ] || continue
    mkdir "/cg1/$name" && mount --bind "$directory" "/cg1/$name" && mount -o remount,bind,rw "/cg1/$name"
  done
  umount -R /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
  mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount --make-rshared /
  mkdir -p /run/systemd/system/docker.service.d
fi
exec /sbin/init "$@"
