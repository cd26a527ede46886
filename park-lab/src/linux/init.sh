#!/bin/busybox sh
# The first and only program of the lab's Linux. Words `lab.KEY=VALUE` of the kernel's command line say what to do; a comma in a
# VALUE stands for a blank. What it does it tells on the console, as one JSON object per line with `event`, as park-metal does.
#
#   lab.park     how this Linux parks its other CPUs: none, offline (sysfs); others are the kernel's own business
#   lab.cycles   so many times each other CPU goes offline and comes back, before that
#   lab.load_s   seconds of a counted loop on each CPU, pinned
#   lab.hops     kernels of this kind that follow before the image
#   lab.append   more words for the command lines of those
#   lab.next     how it ends: image (kexec), crash (the image is the crash kernel), off
#   lab.image    the image's command line; @rsdp in it becomes rsdp=ADDRESS, where this kernel found firmware's tables

busybox=/bin/busybox
for applet in cat cpio cut dmesg find grep mkdir mount od poweroff sed sleep taskset tr uname; do
    alias $applet="$busybox $applet"
done
export LD_LIBRARY_PATH=/lib
cpus=/sys/devices/system/cpu

say() { echo "{\"event\":\"linux\",$1}"; }
fail() {
    say "\"step\":\"failed\",\"why\":\"$1\""
    poweroff -f
    sleep 60
}
uptime_s() { cut -d. -f1 /proc/uptime; }

# The shell that is pinned runs this file again, with the CPU and the seconds.
if [ "$1" = load ]; then
    ticks() { grep "^cpu$1 " /proc/stat | cut -d' ' -f2; }
    before=$(ticks "$2")
    end=$(($(uptime_s) + $3))
    rounds=0
    while [ "$(uptime_s)" -lt "$end" ]; do
        rounds=$((rounds + 1))
    done
    on=$(cut -d' ' -f39 /proc/$$/stat)
    say "\"step\":\"load\",\"cpu\":$2,\"on\":$on,\"rounds\":$rounds,\"ticks\":$(($(ticks "$2") - before))"
    exit
fi

mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
# Messages of the kernel would land in the middle of lines.
echo 1 >/proc/sys/kernel/printk

lab_park=none lab_cycles=0 lab_load_s=0 lab_hops=0 lab_append= lab_next=off lab_image=
for word in $(cat /proc/cmdline); do
    case $word in
    lab.park=* | lab.cycles=* | lab.load_s=* | lab.hops=* | lab.append=* | lab.next=* | lab.image=*)
        value=${word#*=} key=${word%%=*}
        value=$(echo "$value" | tr ',' ' ')
        eval "lab_${key#lab.}=\$value"
        ;;
    esac
done

others() {
    for cpu in $cpus/cpu[0-9]*; do
        [ -e "$cpu/online" ] && [ "${cpu##*/}" != cpu0 ] && echo "${cpu##*/cpu}"
    done
}
go() { echo "$2" >$cpus/cpu"$1"/online 2>/dev/null || fail "CPU $1 does not go to $2"; }

# Where the kernel was told that firmware's tables begin: boot_params.acpi_rsdp_addr (Documentation/arch/x86/zero-page.rst), or by
# the command line; 0 if nobody said.
rsdp=0x$(od -An -tx8 -j112 -N8 /sys/kernel/boot_params/data | tr -d ' ')
told=$(sed -n 's/.*acpi_rsdp=\(0x[0-9a-f]*\).*/\1/p' /proc/cmdline)
[ $((rsdp)) = 0 ] && rsdp=${told:-0x0}
brought_up=$(dmesg | sed -n 's/.*smp: Brought up \(.*\)/\1/p')
say "\"step\":\"up\",\"release\":\"$(uname -r)\",\"online\":\"$(cat $cpus/online)\",\"present\":\"$(cat $cpus/present)\",\"uptime_s\":$(uptime_s),\"rsdp\":\"$rsdp\",\"hops\":$lab_hops,\"brought_up\":\"$brought_up\""
# What the kernel keeps away from.
grep -iE '^[0-9a-f]+-[0-9a-f]+ : (reserved|acpi)' /proc/iomem | while read -r range colon kind; do
    say "\"step\":\"kept\",\"range\":\"$range\",\"kind\":\"$kind\""
done

if [ "$lab_load_s" != 0 ]; then
    online=$(grep ^processor /proc/cpuinfo | tr -dc '0-9\n')
    for cpu in $online; do
        taskset "$(printf %x $((1 << cpu)))" "$busybox" sh /init load "$cpu" "$lab_load_s" &
    done
    wait
fi
round=0
while [ $round -lt "$lab_cycles" ]; do
    for cpu in $(others); do go "$cpu" 0 && go "$cpu" 1; done
    round=$((round + 1))
done
[ "$lab_cycles" = 0 ] || say "\"step\":\"cycled\",\"rounds\":$lab_cycles"
if [ "$lab_park" = offline ]; then
    for cpu in $(others); do go "$cpu" 0; done
fi
say "\"step\":\"parked\",\"park\":\"$lab_park\",\"online\":\"$(cat $cpus/online)\",\"smt\":\"$(cat $cpus/smt/control)\""

if [ "$lab_hops" != 0 ]; then
    (cd / && find init bin dev/console lib lib64 boot | cpio -o -H newc >/tmp/initrd 2>/dev/null) || fail "no room for the next root"
    line="console=ttyS0 quiet no_timer_check $lab_append"
    [ $((rsdp)) = 0 ] || line="$line acpi_rsdp=$rsdp"
    comma() { echo "$1" | tr ' ' ','; }
    line="$line lab.hops=$((lab_hops - 1)) lab.append=$(comma "$lab_append") lab.next=$lab_next lab.image=$(comma "$lab_image")"
    kexec -l /boot/vmlinuz --initrd=/tmp/initrd "--command-line=$line" || fail "kexec refuses the next Linux"
    say "\"step\":\"leaves\",\"to\":\"linux\""
    kexec -e
    fail "kexec -e came back"
fi
lab_image=$(echo "$lab_image" | sed "s/@rsdp/rsdp=$rsdp/")
case $lab_next in
image)
    kexec -t multiboot2-x86 -l /boot/park-metal "--command-line=$lab_image" || fail "kexec refuses the image"
    say "\"step\":\"leaves\",\"to\":\"image\""
    kexec -e
    fail "kexec -e came back"
    ;;
crash)
    kexec -t multiboot2-x86 -p /boot/park-metal "--command-line=$lab_image" || fail "kexec refuses the image as crash kernel"
    say "\"step\":\"leaves\",\"to\":\"crash\""
    # The boot CPU is the one that goes on.
    taskset 1 "$busybox" sh -c 'echo c >/proc/sysrq-trigger'
    fail "the crash did not happen"
    ;;
*)
    say "\"step\":\"off\""
    poweroff -f
    ;;
esac
