package draw

// hostile are texts that mean something to Mermaid, to the browser that shows what it
// makes, or to a terminal.
var hostile = []string{
	"", " ", "  ", "a", "end", "loop", "note", "Note over p0: x", "participant", "activate p0", "as", "p0", "p0->>p1: x", "->>", "-->>-", "-x", "-)", "+", "-",
	";", "a;b", ":", "a:b", "::", "#", "#35;", "#x3b;", "#quot;", "#9829;", "##", "%%", "%%{init: {'theme':'dark'}}%%", "%% comment", "%%{wrap}%%", "wrap:", "wrap: a", "nowrap:a", ":wrap: a",
	"{", "}", "{{", "@{ type: x }", "@{}", "[", "]", "(", ")", "((a))", "|", "||", "<", ">", "<br>", "<br/>", "<b>x</b>", "<script>alert(1)</script>", "</svg>", "<img src=x onerror=alert(1)>", "&amp;", "&lt;", "&#59;", "&", "'", "\"", "`", "``", "\"`x`\"",
	"\\", "\\n", "\\u0041", "\\x1b", "$", "$$", "$$x^2$$", "~", "^", "*", "**x**", "_x_", "__x__", "!", "?", "=", ",", "/", "//", "///", ".", "..", "-", "--", "---", "--- title: x ---", "...",
	"\n", "\r", "\r\n", "a\nb", "a\n  end\n", "\t", "\x00", "\x1b[31m", "\x1b]0;x\x07", "\x7f", "\u0085", "\u009b31m", "\u00a0", "\u00ad", "\u200b", "\u200d", "\u202e", "\u2028", "\u2029", "\u2066", "\ufeff", "\ufffd", "\xff", "\xc3",
	"ﬂ", "°", "¶", "ß", "ﬂ°°59¶ß", "ﬂ°59¶ß", "é", "日本", "🙂", "👩‍👧", "𝒳", "e\u0301", "\u0600", "عربي", "\U0010ffff",
	"javascript:alert(1)", "data:text/html,x", "box", "rect rgb(0,0,0)", "alt", "else", "opt", "par", "and", "critical", "break", "autonumber", "title x", "accTitle: x", "accDescr { x }", "links p0: {}", "link p0: a @ b", "properties p0: {}", "details p0: x", "create participant x", "destroy p0", "sequenceDiagram", "graph TD", "left of", "right of", "over", "actor",
}
