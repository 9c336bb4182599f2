// The web service: it looks up the active version, and renders the page that loads it
// from the store. service.mjs PORT STORE DATABASE-PORT
import { createServer } from "node:http";
import mysql from "mysql2/promise";

const [port, store, database] = process.argv.slice(2);

async function active() {
  const db = await mysql.createConnection({ host: "127.0.0.1", port: Number(database), user: "shop", password: "shop", database: "shop" });
  const [rows] = await db.execute("SELECT name, manifest FROM versions ORDER BY id DESC LIMIT 1");
  await db.end();
  return rows[0];
}

async function page() {
  const { name, manifest } = await active();
  const { js, css } = await (await fetch(`${store}/assets/${manifest}`)).json();
  return `<!doctype html>
<html lang="en" data-version="${name}">
<meta charset="utf-8">
<title>loading</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${store}/assets/${css}">
<body><script type="module" src="${store}/assets/${js}"></script></body>
</html>`;
}

createServer(async (request, response) => {
  try {
    if (request.url === "/") {
      response.setHeader("content-type", "text/html; charset=utf-8");
      response.end(await page());
    } else if (request.url === "/api/version") {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ version: (await active()).name }));
    } else {
      response.statusCode = 404;
      response.end();
    }
  } catch (err) {
    response.statusCode = 500;
    response.end(String(err));
  }
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));

process.on("SIGTERM", () => process.exit(0));
