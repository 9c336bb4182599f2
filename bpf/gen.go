// Package bpf is what runs in the kernel: one C file per probe, compiled to an
// object that is embedded here, and the Go types generated from it.
//
// One object serves both amd64 and arm64: it is the same code for any
// little-endian machine, and where registers differ it asks, when it is loaded,
// which of them the kernel's types have.
//
// It knows nothing of events or users: package trace loads the objects, sets
// their knobs and decodes their records. Start with exec.bpf.c.
//
// The generated files are committed, so that a build needs only Go. To make
// them anew: make generate (clang 14, llvm-strip and libbpf's headers).
package bpf

//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -output-stem exec -type exec_record Exec exec.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -output-stem follow Follow follow.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -output-stem conn -type conn_record Conn conn.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -output-stem place -type place_record Place place.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -output-stem traffic -type party -type tcp_record -type share_record -type flow_record Traffic traffic.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -output-stem http -type http_record -type http_socket -type http_owner -type http_call -type http_intro -type http_head -type http_hint -type socket_state Http http.bpf.c
