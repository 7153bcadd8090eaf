#!/usr/bin/env bash
# Boots a kernel of Debian's packages under QEMU (software emulation) with the release binary as payload, and shows that the BPF
# programs load there and record a request.
#   tests/kernel/run.sh PACKAGE [HEADTRAIL]       PACKAGE: linux-image-cloud-amd64, linux-image-6.12-cloud-amd64, …
set -euo pipefail
package=$1
# A package that only names the newest one is followed.
newest=$(apt-cache depends "$package" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
package=${newest:-$package}
top=$(cd "$(dirname "$0")/../.." && pwd)
binary=${2:-$top/target/release/headtrail}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
apt-get download -q "$package" >/dev/null 2>&1
dpkg -x ./*.deb kernel
kernel=$(echo kernel/boot/vmlinuz-*)

mkdir -p root/{bin,proc,sys,dev,tmp,lib64,var/lib}
cp "$(command -v busybox)" root/bin/busybox
cp "$binary" root/bin/headtrail
# The shared libraries that it needs, at the places where they are.
ldd "$binary" | grep -o '/[^ ]*' | sort -u | while read -r library; do
	mkdir -p "root$(dirname "$library")"
	cp -L "$library" "root$library"
done
cat >root/init <<'INIT'
#!/bin/busybox sh
export PATH=/bin:/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /tmp
mount -t devtmpfs dev /dev
mkdir -p /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
echo "== $(uname -r)"
headtrail doctor
mkdir -p /tmp/www
echo hello >/tmp/www/index.html
httpd -p 127.0.0.1:8080 -h /tmp/www
headtrail watch --format json port 8080 >/tmp/out 2>/tmp/err &
watch=$!
i=0
while ! grep -q watching /tmp/err && [ $i -lt 200 ]; do
	sleep 0.1
	i=$((i + 1))
done
wget -q -O - http://127.0.0.1:8080/ >/dev/null
wget -q -O - http://127.0.0.1:8080/nothing >/dev/null 2>&1
i=0
while [ "$(grep -c '"type":"transaction"' /tmp/out)" -lt 2 ] && [ $i -lt 100 ]; do
	sleep 0.1
	i=$((i + 1))
done
kill -INT $watch
wait $watch
cat /tmp/err
cut -c1-400 /tmp/out
echo "== recorded $(grep -c '"status":200\|"status":404' /tmp/out) of 2"
poweroff -f
INIT
chmod +x root/init
(cd root && find . -print0 | cpio --null --quiet -o -H newc | gzip -1) >initrd

timeout 300 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1024 -nographic -no-reboot -kernel "$kernel" -initrd initrd \
	-append "console=ttyS0 quiet panic=-1" </dev/null | tee out
grep -q '== recorded 2 of 2' out
