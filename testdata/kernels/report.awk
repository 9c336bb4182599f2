# Judges the console of one emulated machine: prints what failed, then one line; the exit status is 0 if all passed.
# If a few tests failed and nothing else was wrong, their names go into the file again.
# A test's output is what follows its RUN, CONT or NAME line: its verdict may stand elsewhere (a subtest's comes
# after its parent's) and behind output that lacks a newline.

function show(title, text) {
	printf "--- %s: %s\n%s", kernel, title, text
}

$1 == "KERNEL" {
	release = $2 ", " $3
}

/=== (RUN|CONT|NAME|PAUSE) +[^ ]+$/ {
	test = $NF
	next
}

match($0, /--- (PASS|FAIL|SKIP): [^ ]+ \([0-9.]+s\)/) {
	split(substr($0, RSTART), word, " ")
	test = word[3]
	if (word[2] == "PASS:")
		passed++
	else if (word[2] == "SKIP:" && output[test] ~ /\.go:[0-9]+: left to other kernels/)
		left++ # by kit.Needs, in a quick run
	else if (word[2] == "SKIP:" && output[test] ~ /\.go:[0-9]+: this kernel/)
		skipped++ # the kernel lacks a feature; any other reason is this machine's fault
	else {
		failed++
		top = test
		sub("/.*", "", top)
		if (word[2] == "SKIP:")
			other++
		else if (!(top in tops)) {
			tops[top] = 1
			names = names (names == "" ? "" : "|") top
			count++
		}
		bad[++n] = test
		why[n] = word[2] == "SKIP:" ? "skipped, but not for what this kernel lacks" : "failed"
	}
	next
}

$1 == "VERDICT" {
	verdicts++
	for (i = 1; i <= n; i++)
		show($2 " " bad[i] " " why[i], output[bad[i]])
	if ($3 != "exit=0" && (!n || $3 != "exit=1" && bad[n] != test)) { # a crash, not only a test that failed
		failed++
		other++
		show($2 " " test " " $3, output[test])
	}
	split("", output) # empties it
	n = 0
	test = ""
	next
}

$1 == "DONE" {
	seconds = $2
	next
}

{
	output[test] = output[test] $0 "\n"
}

END {
	if (seconds == "" || verdicts != tests) {
		failed++
		other++
		show("died, or took more than " limit " s, in " (test == "" ? "no test" : test), substr(output[test], length(output[test]) - 8000))
	} else if (!passed && !failed && !skipped && !left) {
		failed++
		other++
		show("no test ran", "")
	}
	printf "%s: %d passed, %d failed, %d skipped, %d left to other kernels, %s s (%s; %s)\n", kernel, passed, failed, skipped, left, seconds == "" ? "-" : seconds, release, file
	if (failed && !other && count <= 3)
		print names >again
	exit failed > 0
}
