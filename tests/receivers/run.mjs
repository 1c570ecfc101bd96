// Runs receive.mjs on a delivery: a file with `secret`, `headers` and `body`; and on one that is no JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { secret, headers, body } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { receive } = await import(pathToFileURL(process.argv[3]));
const { Webhook } = createRequire(process.argv[3])("standardwebhooks");
const now = new Date();
const text = {
  ...headers,
  "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
  "webhook-signature": new Webhook(secret).sign(headers["webhook-id"], now, "<a/>"),
};
const answers = [
  receive(secret, headers, body),
  receive(secret, headers, `${body} `),
  receive(secret, text, "<a/>"),
  receive(secret, text, "<b/>"),
];
const good = answers.join() === "204,400,204,400";
console.log(`  ${good ? "ok" : "FAILED"}  receive.mjs answers [${answers}]`);
process.exit(good ? 0 : 1);
