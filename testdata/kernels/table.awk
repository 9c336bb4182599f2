# Makes README's table of kernels of the consoles: what "tracer check" said with each kind of hook.
#   awk -f table.awk CONSOLE...     a console is named after its kernel
FNR == 1 {
	kernel = FILENAME
	sub(/.*\//, "", kernel)
	kernels[++nkernels] = kernel
	hook = ""
}
{ sub(/\r$/, "") }
$1 == "CHECK" { hook = $2; next }
$1 == "CHECKED" { hook = ""; next }
hook == "" { next }
/^[a-z]/ { command = $1; next }
/^            [^ ].*: by / {
	feature = $0
	sub(/^ */, "", feature)
	used = feature
	sub(/: by .*/, "", feature)
	sub(/.*: by /, "", used)
	row = "`" command "` | " feature
	if (!(row in seen)) {
		seen[row] = 1
		rows[++nrows] = row
	}
	if (index(", " cell[row, kernel] ",", ", " used ",") == 0)
		cell[row, kernel] = cell[row, kernel] (cell[row, kernel] == "" ? "" : ", ") used
}
END {
	printf "| command | what it sees |"
	for (k = 1; k <= nkernels; k++)
		printf " %s |", kernels[k]
	printf "\n| --- | --- |"
	for (k = 1; k <= nkernels; k++)
		printf " --- |"
	print ""
	for (r = 1; r <= nrows; r++) {
		printf "| %s |", rows[r]
		for (k = 1; k <= nkernels; k++)
			printf " %s |", cell[rows[r], kernels[k]] == "" ? "–" : cell[rows[r], kernels[k]]
		print ""
	}
}
