#!/usr/bin/env bash
# Puts TLS libraries of several Debian releases into a folder, for tests that decode them, and prints its name.
#
#   testdata/libraries.sh
#
# They are fetched once and kept in $TRACER_LIBRARIES (~/.cache/tracer-libraries), in a folder for each suite and
# architecture, and each with the package that it came from in its name. Delete the folder to get newer ones.
# Exit status: 0 all are there; 1 something failed; 77 skipped, as there is no Debian to take them from.
set -euo pipefail
umask 022

# What is taken: suite, architecture, packages. The security suites have short package lists and newer packages than
# the releases themselves. Of own it is what the machine's own apt knows already.
wanted() {
	cat <<-END
		bullseye-security amd64 libssl1.1 libgnutls30
		bookworm-security amd64 libssl3 libgnutls30
		trixie-security amd64 libssl3t64 libgnutls30t64
		bookworm-security arm64 libssl3 libgnutls30
		trixie-security arm64 libssl3t64
		own $(dpkg --print-architecture) libnspr4 android-libboringssl
	END
}

cache=${TRACER_LIBRARIES:-${XDG_CACHE_HOME:-$HOME/.cache}/tracer-libraries}
mkdir -p "$cache"
work=$(mktemp -d "$cache/run.XXXXXX") # on the cache's file system, so that mv is all or nothing
trap 'rm -rf "$work"' EXIT

# fetch puts the libraries of some packages into a folder of the cache. It works with lists and folders of its own, so
# that the machine's apt stays as it is, and asks the archives that the machine's apt knows.
fetch() {
	local suite=$1 arch=$2 url package file archives apt=$work/apt into=$work/$1-$2
	shift 2
	# shellcheck disable=SC2016 # apt's variable, not the shell's
	archives=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | sort -u) || :
	[ -n "$archives" ] || {
		echo "libraries: skipped: those of $suite ($arch) are not in $cache, and apt knows no Debian archive (not Debian, or no apt-get update yet)" >&2
		exit 77
	}
	local own=(-o Dir::Etc::sourcelist="$apt/sources" -o Dir::Etc::sourceparts=- -o Dir::State="$apt" -o Dir::Cache="$apt/cache"
		-o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false # old suites expire
		-o APT::Architecture="$arch" -o APT::Architectures::="$arch" -o Acquire::Languages=none)
	rm -rf "$apt" && mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$into"
	if [ "$suite" = own ]; then
		own=(-o APT::Sandbox::User=root)
	else
		for url in $archives; do
			echo "deb [arch=$arch target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $url $suite main"
		done >"$apt/sources"
		# An archive without this suite is an error to apt and none here: what counts is whether the packages are found.
		apt-get "${own[@]}" update >>"$work/apt.log" 2>&1 || :
	fi
	for package; do
		if ! (cd "$apt" && apt-get "${own[@]}" download "$package") >>"$work/apt.log" 2>&1; then
			echo "libraries: cannot fetch $package of $suite ($arch):" >&2
			tail -n 20 "$work/apt.log" >&2
			exit 1
		fi
		for file in "$apt/$package"_*.deb; do
			mkdir "$work/files"
			dpkg-deb --fsys-tarfile "$file" | tar -xC "$work/files" --wildcards --no-anchored '*.so*'
			rm "$file" && file=${file##*/} && file=${file%_*}
			find "$work/files" -type f -name 'lib*.so*' -size +16k \
				-exec bash -c 'for f; do mv "$f" "$0-${f##*/}"; done' "$into/${file//%3a/:}" {} +
			rm -r "$work/files"
		done
	done
	mv "$into" "$cache/"
}

wanted | while read -r suite arch packages; do
	# shellcheck disable=SC2086 # one word for each package
	[ -d "$cache/$suite-$arch" ] || fetch "$suite" "$arch" $packages
done
echo "$cache"
