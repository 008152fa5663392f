# What the steps of a scenario can use. Before this stand, for each device, its letter with the name that the kernel gives
# it (A=a000000.virtio_mmio), ROLES and SUBJECTS with the letters, and CLOCKS with the names of the late clocks.
# PATIENCE says how many times as long everything may take as it takes in virtual time; DRIVER is the directory of the
# devices' driver.
# What the host shall know is printed on lines that begin with `lab: `.

GENERATORS=/sys/bus/platform/drivers/adi-axi-clkgen
mkdir -p /tmp

# The disk of the device that the kernel calls $1; nothing if there is none.
disk() {
	for found in /sys/bus/platform/devices/$1/virtio*/block/* /sys/bus/platform/devices/$1/ata*/host*/target*/*/block/*; do
		[ -e "$found" ] && echo "/dev/${found##*/}" && return
	done
}

# attempt NAME COMMAND...: runs it, for a second (by PATIENCE) at most: a request whose answer does not come cannot be ended.
attempt() {
	name=$1
	shift
	"$@" >/tmp/said 2>&1 &
	task=$!
	turn=0
	while read -r state </proc/$task/stat; do
		case $state in *") Z "*) break ;; esac
		turn=$((turn + 1))
		if [ $turn -gt $((10 * PATIENCE + 1)) ]; then
			echo "lab: $name hangs"
			return 1
		fi
		# A short one first: most requests are answered at once.
		[ $turn = 1 ] && sleep 0.01 || sleep 0.1
	done 2>/dev/null
	if wait $task; then
		echo "lab: $name done"
		return 0
	fi
	echo "lab: $name failed: $(tail -n 1 /tmp/said)"
	return 1
}

# work PART: reads the first part of every disk, past all caches, and writes a pattern to part PART (0, 1, 2) of the rest.
work() {
	for role in $ROLES; do
		eval device=\$$role
		node=$(disk $device)
		if [ -z "$node" ]; then
			echo "lab: $1 $role absent"
			continue
		fi
		rm -f /tmp/read.$role
		attempt "$1 $role read" dd if=$node of=/tmp/read.$role bs=64k count=2 iflag=direct &&
			echo "lab: $1 $role sum $(sha256sum </tmp/read.$role | cut -c 1-64)"
		attempt "$1 $role write" dd if=/lab/pattern of=$node bs=64k count=1 seek=$(($1 + 2)) oflag=direct conv=notrunc
	done
}

# The late clocks come, all at once.
late_clocks() {
	load_clocks
	settle
}

load_clocks() {
	if [ -e /lab/clock.ko ]; then
		insmod /lab/clock.ko || echo "lab: no clocks"
	else
		modprobe clk_axi_clkgen || echo "lab: no clocks"
	fi
}

# The late clocks come one after the other: each makes the kernel try all deferred probes again.
clocks_one_by_one() {
	echo 0 >/sys/bus/platform/drivers_autoprobe
	load_clocks
	echo 1 >/sys/bus/platform/drivers_autoprobe
	for clock in /sys/bus/platform/devices/*.clock-controller; do
		echo "${clock##*/}" >$GENERATORS/bind
		settle
	done
}

# Deferred probes are done by a worker.
settle() {
	for again in $(seq $PATIENCE); do sleep 0.3; done
}

# unbind ROLE, bind ROLE: takes the driver from a device, gives it back.
unbind() {
	eval device=\$$1
	echo $device >$DRIVER/unbind || echo "lab: $1 was not bound"
}

bind() {
	eval device=\$$1
	echo $device >$DRIVER/bind || echo "lab: $1 could not be bound"
	settle
}

# names ROLE...: the kernel's names of devices, with commas in between.
names() {
	list=
	for role; do
		eval device=\$$role
		list=$list${list:+,}$device
	done
	echo $list
}

# drivers: gives all devices their driver, in an image that leaves that to its guest.
drivers() {
	modprobe virtio_mmio || echo "lab: no drivers"
	settle
}

# bounce_devices MIB: registers all devices with dmabounce, which reach the first MIB of RAM only. They are to get their
# driver after.
bounce_devices() {
	modprobe bounce_devices devices=$(names $ROLES) window=$1 || echo "lab: no dmabounce"
}

# own_mapping attach|replace: a module attaches the subjects to mappings of its own making: now, and they stay so; or
# whenever they get a driver, until that goes, in place of what the kernel made.
own_mapping() {
	modprobe own_mapping $1=$(names $SUBJECTS) || echo "lab: no mapping"
}

# Both, for each of the devices that it is about.
rebind() {
	for subject in $SUBJECTS; do unbind $subject; done
	for subject in $SUBJECTS; do bind $subject; done
}

try_again() {
	for subject in $SUBJECTS; do bind $subject; done
}
