/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which connections --port wants: those of which one end has such a port. */
#ifndef TRACER_PORTS_H
#define TRACER_PORTS_H

#include "read.h"

/* Wanted ports. Written once by user space, which sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

/* Knob. */
const volatile bool filter_ports;

static __always_inline bool at_ports(__u16 one, __u16 other)
{
	return !filter_ports || bpf_map_lookup_elem(&ports, &one) ||
	       bpf_map_lookup_elem(&ports, &other);
}

#endif
