#!/bin/sh
# Lays out the whole file system of the image: root.sh PROGRAM FOLDER
#
# The program, what ldd says it is linked to, the authorities of the system, and the few files that
# names of users and hosts are looked up by.
set -eu

program=$1 root=$2

for folder in etc/ssl/certs etc/sotto proc run/secrets tmp usr/bin var/lib/sotto; do
  mkdir -p "$root/$folder"
done
chmod 0700 "$root/var/lib/sotto"
install -m 0755 "$program" "$root/usr/bin/sotto"
for library in $(ldd "$program" | grep -o '/[^ ]*'); do
  install -D -m 0755 "$library" "$root$library"
done
install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'sotto:x:65532:65532::/var/lib/sotto:/nonexistent' >"$root/etc/passwd"
echo 'sotto:x:65532:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
