// Runs receive.mjs on a delivery: a file with `secret`, `headers` and `body`.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { secret, headers, body } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { receive } = await import(pathToFileURL(process.argv[3]));
const answers = [receive(secret, headers, body), receive(secret, headers, `${body} `)];
const good = answers.join() === "204,400";
console.log(`  ${good ? "ok" : "FAILED"}  receive.mjs answers [${answers}]`);
process.exit(good ? 0 : 1);
