// Package bpf is what runs in the kernel: one C file per probe, compiled to an
// object that is embedded here, and the Go types and constants generated from
// it. What cannot be generated is in tables: the programs of each object with
// their copies (programs.go), and what users read for causes of loss and filters
// (names.go). Tests compare them with the objects.
//
// One object serves both amd64 and arm64: it is the same code for any
// little-endian machine, and where registers differ it asks, when it is loaded,
// which of them the kernel's types have.
//
// It knows nothing of events or users: its importers load the objects, set
// their knobs and decode their records. What all objects have in common has the
// names that are generated for exec (ExecLossRingFull, ExecMapLost). Start with
// exec.bpf.c.
//
// The generated files are committed, so that a build needs only Go. To make
// them anew: make generate (clang 14, llvm-objcopy and libbpf's headers).
package bpf

//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Werror -Iinclude" -no-global-types -output-stem exec -type loss -type counted -type reader -type cgroup_id -type exec_record -type event -type flag Exec exec.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Werror -Iinclude" -no-global-types -output-stem follow Follow follow.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Werror -Iinclude" -no-global-types -output-stem conn -type conn -type conn_record -type open_record -type event -type role -type state -type side -type reason -type limit -type naming -type talk -type phase -type listener Conn conn.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Werror -Iinclude" -no-global-types -output-stem place -type place_record Place place.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Werror -Iinclude" -no-global-types -output-stem traffic -type party -type tcp -type tcp_origin -type tcp_record -type share -type share_key -type share_record -type flow -type flow_key -type flow_record -type role Traffic traffic.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Werror -Iinclude" -no-global-types -output-stem http -type http_record -type http_socket -type http_owner -type http_call -type http_intro -type http_spent -type http_head -type http_hint -type socket_state -type waiting_request -type h2_part -type h2_kept -type h2_run -type h2_way -type event -type part -type ending -type call_note -type direction -type hint -type naming -type library -type tls_about Http http.bpf.c
//go:generate go tool bpf2go -target bpfel -cc clang-14 -strip ./strip.sh -cflags "-O2 -g -Wall -Wno-unused-function -Werror -Iinclude -I." -no-global-types -output-stem tls Tls tls.bpf.c
