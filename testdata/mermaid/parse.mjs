// Reads an array of diagrams in Mermaid's language from stdin as JSON, and writes what
// Mermaid itself makes of each: the participants, messages, notes and loops with their
// texts as they would be shown, or the error.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><body></body>");
globalThis.window = window;
globalThis.document = window.document;

const { default: mermaid } = await import("mermaid");
mermaid.initialize({ startOnLoad: false });

// Mermaid keeps #NN; in this form until it draws.
const shown = (text) => text.replace(/ﬂ°°(\d+)¶ß/g, (_, n) => String.fromCodePoint(n));

const of = { 10: "loop", 11: "end", 2: "note", 17: "start", 18: "stop" };
const results = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    if (text.length > mermaid.mermaidAPI.getConfig().maxTextSize) throw new Error("too large");
    const { db, type } = await mermaid.mermaidAPI.getDiagramFromText(text);
    results.push({
      type,
      participants: [...db.getActors().values()].map((a) => shown(a.description)),
      lines: db.getMessages().map((m) => ({
        kind: of[m.type] ?? "message",
        from: m.from ?? "",
        to: m.to ?? "",
        text: typeof m.message === "string" ? shown(m.message) : "",
        wrap: Boolean(m.wrap),
      })),
    });
  } catch (err) {
    results.push({ error: String(err.message ?? err) });
  }
}
process.stdout.write(JSON.stringify(results));
