#!/bin/sh
# Strips an object, as bpf2go calls it: strip.sh -g OBJECT. Beside debug information it takes out what only a linker
# needs, which is a third of the object: relocations of BTF, and the labels that they refer to.
exec llvm-objcopy-14 "$@" --remove-section=.rel.BTF --remove-section=.rel.BTF.ext --remove-section=.llvm_addrsig \
	--wildcard --strip-symbol='LBB*' --strip-symbol='.L*'
