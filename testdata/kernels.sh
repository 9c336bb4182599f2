#!/usr/bin/env bash
# Runs static test binaries on kernels other than this machine's, each in an emulated machine of its own.
#
#   testdata/kernels.sh [-q] [-a amd64] [-k "5.10 6.1 6.12 7"] [-r REGEX] [-t SECONDS] [-T] BINDIR
#
# BINDIR holds *.test (CGO_ENABLED=0 go test -c), which run with the rest of BINDIR (tracer, workload, testdata)
# beside them; -a takes amd64 or arm64, which they are built for, -k the kernels' version prefixes, -r what
# -test.run gets, -t the seconds one machine may take. With -q each kernel is spared the tests that do not ask for it
# (kit.Needs). -T runs nothing: it checks README's table against what all kernels have said with this BINDIR.
# One to three tests that fail run once more, in a machine of their own: a machine that is emulated on a busy host has
# pauses that no test can wait for. That they failed once is said.
# Exit status: 0 all passed; 1 something failed; 2 wrong usage; 77 skipped, as there is no Debian to take kernels from.
# Kernels are Debian's, fetched once and kept in $TRACER_KERNELS (~/.cache/tracer-kernels), the consoles of
# the last run beside them in log/. Delete the folder to get newer kernels.
set -euo pipefail
umask 022 # others than root must be able to read the machine's root folder, too

all="5.10 6.1 6.12 7"
kernels=$all regex='^TestKernel' limit=1500 arch=amd64 quick= table=
usage() { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
while getopts qa:k:r:t:T option; do
	case $option in
	q) quick=yes ;;
	a) arch=$OPTARG ;;
	k) kernels=$OPTARG ;;
	r) regex=$OPTARG ;;
	t) limit=$OPTARG ;;
	T) table=yes kernels= ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# = 1 ] || usage
bin=$1 here=$(dirname "$0")
set -- "$bin"/*.test
[ -f "$1" ] || { echo "kernels: no *.test in $bin" >&2; exit 2; }
tests=$#
build=$(cat "$bin"/*.test | cksum)

# One kind of processor without what takes long to emulate; rdrand spares the two seconds that a plain one needs
# to gather entropy.
case $arch in
amd64) of='' console=ttyS0 qemu=(qemu-system-x86_64 -cpu 'qemu64,+rdrand') package=qemu-system-x86 ;;
arm64) of=-arm64 console=ttyAMA0 qemu=(qemu-system-aarch64 -M virt -cpu cortex-a57) package=qemu-system-arm ;;
*) usage ;;
esac

missing=
for tool in "${qemu[0]}:$package" cpio:cpio busybox:busybox-static timeout:coreutils; do
	command -v "${tool%:*}" >/dev/null || missing="$missing ${tool#*:}"
done
[ -z "$missing" ] || { echo "kernels: missing; please run: apt-get install$missing" >&2; exit 1; }

cache=${TRACER_KERNELS:-${XDG_CACHE_HOME:-$HOME/.cache}/tracer-kernels}
mkdir -p "$cache/log"
work=$(mktemp -d "$cache/run.XXXXXX") # on the cache's file system, so that mv is all or nothing
# shellcheck disable=SC2046 # one word for each job
trap 'kill $(jobs -p) 2>/dev/null || :; keep; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# keep saves the consoles of machines that are ended before they are done.
keep() {
	local console
	for console in "$work"/console-*; do
		[ ! -s "$console" ] || cp "$console" "$cache/log/${console##*/console-}$of.ended"
	done
}

# Where a kernel is to be found, the suites with short package lists first.
suites() {
	case $1 in
	busybox) echo bookworm ;;
	5.10) echo bullseye-security bullseye ;;
	6.1) echo bookworm-security bookworm ;;
	6.12) echo trixie-security bookworm-security trixie ;;
	*) echo trixie-backports sid ;;
	esac
}

# fetch puts the newest kernel of a version into the cache, or busybox of the other machine. It works with lists
# and folders of its own, so that the machine's apt stays as it is, and asks the archives that the machine's apt
# knows.
fetch() {
	local suite url kind package archives apt=$work/apt
	# shellcheck disable=SC2016 # apt's variable, not the shell's
	archives=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | sort -u) || :
	[ -n "$archives" ] || {
		echo "kernels: skipped: $1 ($arch) is not in $cache, and apt knows no Debian archive (not Debian, or no apt-get update yet)" >&2
		exit 77
	}
	local own=(-o Dir::Etc::sourcelist="$apt/sources" -o Dir::Etc::sourceparts=- -o Dir::State="$apt" -o Dir::Cache="$apt/cache"
		-o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false # old suites expire
		-o APT::Architecture="$arch" -o APT::Architectures::="$arch")
	for suite in $(suites "$1"); do
		rm -rf "$apt" && mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
		for url in $archives; do
			echo "deb [arch=$arch target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $url $suite main"
		done >"$apt/sources"
		# An archive without this suite is an error to apt and none here: what counts is whether the kernel is found.
		apt-get "${own[@]}" update >>"$work/apt.log" 2>&1 || :
		if [ "$1" = busybox ]; then
			(cd "$apt" && apt-get "${own[@]}" download busybox-static) >>"$work/apt.log" 2>&1 || continue
			dpkg-deb --fsys-tarfile "$apt"/busybox-static_*.deb | tar -xO --wildcards '*/bin/busybox' >"$work/busybox"
			chmod +x "$work/busybox"
			mv "$work/busybox" "$cache/busybox$of"
			return
		fi
		for kind in binary image; do # from 6.19 on linux-image holds nothing but refers to linux-binary
			package=$(apt-cache "${own[@]}" pkgnames "linux-$kind-$1." | grep "[0-9]-cloud-$arch\$" | sort -V | tail -n 1) || :
			[ -n "$package" ] || continue
			(cd "$apt" && apt-get "${own[@]}" download "$package") >>"$work/apt.log" 2>&1 || continue
			dpkg-deb --fsys-tarfile "$apt/$package"_*.deb | tar -xO --wildcards '*/vmlinuz*' >"$work/vmlinuz" 2>>"$work/apt.log" || continue
			mv "$work/vmlinuz" "$cache/vmlinuz-$1$of"
			echo "kernels: fetched $package from $suite"
			return
		done
	done
	echo "kernels: cannot fetch $1:" >&2
	tail -n 20 "$work/apt.log" >&2
	exit 1
}

# The machine's root is an uncompressed archive (unpacking is slow under emulation) with busybox and BINDIR.
pack() {
	local root=$work/root
	mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tests,tmp}
	cp "$busybox" "$root/bin/busybox"
	if ldd "$root/bin/busybox" >"$work/ldd" 2>/dev/null; then # not static: its libraries, too
		grep -o '/[^ ]*' "$work/ldd" | xargs cp -L --parents -t "$root"
	fi
	cp -RL "$bin"/. "$root/tests"
	chmod -R a+rX "$root"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
	# The limit is earlier than ours: a hang leaves its stacks.
	printf 'regex=%q timeout=%ds\n' "$regex" $((limit * 2 / 3)) >"$root/etc/settings"
	install -m 755 "$here/kernels/init" "$root/init"
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work/initrd"
}

# boot starts one machine, with its console in a file. Emulated, because hardware help is not to be had
# everywhere. Both processors are emulated by one thread: with two, one may run code that the other is just
# patching, and the kernel dies of it ("Oops: int3"), as tracepoints are patched in and out while they are hit.
boot() {
	local position=${quick:+between} initrd=$work/initrd
	[ -z "${again[$1]:-}" ] || initrd=$work/initrd-$1
	case "$quick $all " in
	"yes $1 "*) position=oldest ;;
	"yes "*" $1 ") position=newest ;;
	esac
	timeout -k 5 "$limit" "${qemu[@]}" -accel tcg,thread=single -m 1024 -smp 2 -display none -monitor none -no-reboot \
		-serial "file:$work/console-$1" -kernel "$cache/vmlinuz-$1$of" -initrd "$initrd" \
		-append "console=$console quiet panic=-1 oops=panic random.trust_cpu=on${position:+ position=$position}" </dev/null >"$work/qemu-$1" 2>&1 &
	name[$!]=$1
	running=$((running + 1))
}

# report waits until one machine ends and judges its console.
report() {
	local pid=0 k log
	wait -n -p pid || :
	running=$((running - 1))
	k=${name[$pid]}
	log=$cache/log/$k$of
	{ cat "$work/qemu-$k"; tr -d '\r' <"$work/console-$k"; } >"$log" || :
	rm -f "$work/console-$k"
	if awk -v kernel="$k$of" -v tests="$tests" -v limit="$limit" -v file="$log" -v again="$work/again-$k" -f "$here/kernels/report.awk" "$log"; then
		if [ -n "${again[$k]:-}" ]; then
			echo "kernels: $k: failed once, and passed when run again: ${again[$k]//|/ }"
			mv "$log" "$log.again"
			mv "$log.first" "$log"
		fi
		echo "PASSED $build" >>"$log"
	elif [ -z "${again[$k]:-}" ] && [ -s "$work/again-$k" ]; then
		again[$k]=$(cat "$work/again-$k")
		mv "$log" "$log.first"
		repack "$k"
		boot "$k"
	else
		status=1
	fi
}

# repack makes the archive of a machine that runs some tests once more: what comes last in it counts.
repack() {
	local more=$work/more-$1
	mkdir -p "$more/etc"
	printf 'regex=%q timeout=%ds\n' "^(${again[$1]})\$" $((limit * 2 / 3)) >"$more/etc/settings"
	{ cat "$work/initrd"; (cd "$more" && find . | cpio -o -H newc -R 0:0 --quiet); } >"$work/initrd-$1"
}

all_have_passed() {
	local k
	for k in $all; do
		[ "$(tail -n 1 "$cache/log/$k" 2>/dev/null)" = "PASSED $build" ] || { echo "kernels: README's table is not checked: of this build $k has not passed"; return 1; }
	done
}

declare -A name again
running=0 status=0
if [ -z "$table" ]; then
	for k in $kernels; do
		[ -s "$cache/vmlinuz-$k$of" ] || fetch "$k"
	done
	busybox=$(command -v busybox)
	if [ "$arch" != "$(dpkg --print-architecture)" ]; then
		busybox=$cache/busybox$of
		[ -s "$busybox" ] || fetch busybox
	fi
	pack
fi
# The newest take the longest and come first, so that two run until the end. With more of them at once those kernels
# that preempt programs do so too often to see everything.
for k in $(printf '%s\n' $kernels | tac); do
	[ "$running" -lt 2 ] || report
	boot "$k"
done
while [ "$running" -gt 0 ]; do
	report
done

[ -n "$table" ] || exit "$status"

# README's table is what the machines and this host have said, once all have passed with this build. Where it is not
# true it is written anew; in CI that is a failure. The last column is the host's on which CI runs: on another one it is
# left alone.
begin='<!-- kernels: written by make test-kernels -->' end='<!-- /kernels -->' readme=$here/../README.md
if ! all_have_passed; then
	[ -z "${CI:-}" ] || exit 1
	exit 0
fi
if [ -x "$bin/tracer" ] && grep -qF "$begin" "$readme"; then
	host="$(uname -r | cut -d. -f1,2) (CI)" columns=
	for forced in "" "--tier fentry" "--tier kprobe" "--tier tracepoint" "--buffer perf"; do
		echo CHECK
		# shellcheck disable=SC2086 # a flag and its value
		"$bin/tracer" check $forced 2>&1 || :
		echo "CHECKED"
	done >"$cache/log/$host"
	if [ "$(id -u)" != 0 ] || { grep -qF ' (CI) |' "$readme" && ! grep -qF " $host |" "$readme"; }; then
		echo "kernels: this is not root on the host of README's table, whose column is not checked"
		columns="-f 1-$(($(wc -w <<<"$all") + 3))"
	fi
	# shellcheck disable=SC2086 # one word for each kernel
	(cd "$cache/log" && awk -f - $all "$host") <"$here/kernels/table.awk" >"$work/table"
	awk -v begin="$begin" -v end="$end" '$0 == end { exit } inside { print } $0 == begin { inside = 1 }' "$readme" >"$work/written"
	# shellcheck disable=SC2086 # all of a line, or columns
	if ! diff <(cut -d'|' ${columns:--f 1-} "$work/written") <(cut -d'|' ${columns:--f 1-} "$work/table"); then
		if [ -n "$columns" ]; then
			echo "kernels: README's table is not true; make test-kernels writes it where CI runs"
		else
			awk -v begin="$begin" -v end="$end" -v table="$work/table" '
				$0 == end { skip = 0 }
				!skip { print }
				$0 == begin { while ((getline line <table) > 0) print line; skip = 1 }' "$readme" >"$work/README.md"
			cat "$work/README.md" >"$readme"
			echo "kernels: README's table was not true; it was written anew"
		fi
		[ -z "${CI:-}" ] || status=1
	fi
fi
exit "$status"
