// Builds the front end, uploads it to the store, and makes it the active version:
// release.mjs VERSION STORE DATABASE-PORT
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { build, stop } from "esbuild";
import mysql from "mysql2/promise";

const [version, store, port] = process.argv.slice(2);
const out = await mkdtemp(join(tmpdir(), "release-"));
const { metafile } = await build({
  entryPoints: [fileURLToPath(new URL("src/app.js", import.meta.url))],
  bundle: true,
  minify: true,
  format: "esm",
  entryNames: "[name]-[hash]",
  metafile: true,
  outdir: out,
  define: { VERSION: JSON.stringify(version) },
});
await stop();

const files = Object.keys(metafile.outputs).map((path) => basename(path)).sort();
const manifest = {
  js: files.find((name) => name.endsWith(".js")),
  css: files.find((name) => name.endsWith(".css")),
};
const s3 = new S3Client({
  endpoint: store,
  region: "local",
  forcePathStyle: true,
  credentials: { accessKeyId: "release", secretAccessKey: "not a secret" },
});
await s3.send(new CreateBucketCommand({ Bucket: "assets" }));
const put = (Key, Body, ContentType) => s3.send(new PutObjectCommand({ Bucket: "assets", Key, Body, ContentType }));
await put(manifest.js, await readFile(join(out, manifest.js)), "text/javascript");
await put(manifest.css, await readFile(join(out, manifest.css)), "text/css");
await put(`${version}/manifest.json`, JSON.stringify(manifest), "application/json");
s3.destroy();

const db = await mysql.createConnection({ host: "127.0.0.1", port: Number(port), user: "shop", password: "shop", database: "shop" });
await db.execute("INSERT INTO versions (name, manifest) VALUES (?, ?)", [version, `${version}/manifest.json`]);
await db.end();
await rm(out, { recursive: true });
