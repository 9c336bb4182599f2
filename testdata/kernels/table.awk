# Makes README's table of kernels of the consoles: what "tracer check" said with each kind of hook.
#   awk -f table.awk CONSOLE...     a console is named after its kernel
# Things of one command that are seen in the same ways everywhere share a row.
function add(row, way) {
	if (!(row in seen)) {
		seen[row] = 1
		rows[++nrows] = row
	}
	if (index(", " cell[row, kernel] ",", ", " way ",") == 0)
		cell[row, kernel] = cell[row, kernel] (cell[row, kernel] == "" ? "" : ", ") way
}
FNR == 1 {
	kernel = FILENAME
	sub(/.*\//, "", kernel)
	kernels[++nkernels] = kernel
	checking = 0
}
{ sub(/\r$/, "") }
$1 == "CHECK" {
	checking = 1
	buffer = ""
	hook = 0
	next
}
$1 == "CHECKED" {
	if (buffer != "")
		add("all\thow events travel", buffer)
	checking = 0
	next
}
!checking { next }
/^events +by / { buffer = $3 } # of use if all commands run with it
/^COMMAND / { # each column begins where its title does
	sees = index($0, " SEES ") + 1
	hook = index($0, " HOOK") + 1 # 1: no command runs
	next
}
/^[a-z]+ +nothing / { buffer = "" }
/^[a-z]/ { command = $1 }
hook > 1 && substr($0, hook - 2, 3) ~ /^  [^ ]/ && split(substr($0, hook), used, " ") {
	named = substr($0, sees, hook - sees)
	sub(/ +$/, "", named)
	n = split(named, features, "; ")
	for (i = 1; i <= n; i++)
		add(command "\t" features[i], used[1])
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
		split(rows[r], part, "\t")
		cells = ""
		for (k = 1; k <= nkernels; k++)
			cells = cells " " (cell[rows[r], kernels[k]] == "" ? "–" : cell[rows[r], kernels[k]]) " |"
		line = part[1] "\t" cells
		if (line in text) {
			text[line] = text[line] "; " part[2]
		} else {
			text[line] = part[2]
			lines[++nlines] = line
		}
	}
	for (l = 1; l <= nlines; l++) {
		split(lines[l], part, "\t")
		printf "| %s | %s |%s\n", part[1] == "all" ? "all" : "`" part[1] "`", text[lines[l]], part[2]
	}
}
