// One run with the oldest official JavaScript client that npm installs and that accepts a server
// URL, 0.42: it ends paths with a slash, and sends fields that newer ones do not.
//
// POSTHORN_URL and POSTHORN_TOKEN (an organization's) name the stack, which must be local.

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { Webhook } from "standardwebhooks";
import older from "svix-0.42";

const SECONDS = 30;
// Names that no other run of the script uses.
const RUN = randomBytes(4).toString("hex");
const PAID = `invoice.paid.${RUN}`;

function equal(found, wanted, what) {
  const holds = isDeepStrictEqual(found, wanted);
  console.log(`  ${holds ? "ok" : "FAILED"}  ${what}`);
  if (holds) return;
  console.log(`${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
  process.exit(1);
}

async function poll(read, what) {
  const deadline = Date.now() + SECONDS * 1000;
  while (Date.now() < deadline) {
    const found = await read();
    if (found) return found;
    await new Promise((resume) => setTimeout(resume, 100));
  }
  equal(false, true, `${what} within ${SECONDS} s`);
}

/** The status code of the error that the client throws. */
async function statusOf(promise) {
  try {
    await promise;
    return 0;
  } catch (error) {
    if (error instanceof older.ApiException) return error.code;
    throw error;
  }
}

const received = [];
const server = createServer(async (request, response) => {
  const chunks = await request.toArray();
  received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
  response.writeHead(204).end();
});
await new Promise((started) => server.listen(0, "127.0.0.1", started));
const url = `http://127.0.0.1:${server.address().port}/`;

function delivered(count) {
  return poll(() => received.length >= count && received[count - 1], `delivery ${count}`);
}

const ids = (page) => page.data.map((item) => item.id);

async function eventTypes(svix) {
  await svix.eventType.create({ name: PAID, description: "First" });
  equal((await svix.eventType.get(PAID)).description, "First", "an event type is made and read");
  const put = await svix.eventType.update(PAID, { description: "Second" });
  equal(put.description, "Second", "it is replaced");
  const { data } = await svix.eventType.list({ withContent: true });
  equal(data.filter((one) => one.name === PAID).length, 1, "it is listed");
}

async function applications(svix) {
  const uid = `old-${RUN}`;
  const made = await svix.application.create({ name: "Old", uid });
  equal((await svix.application.get(uid)).id, made.id, "an application is read by its uid");
  const put = await svix.application.update(made.id, { name: "Older", uid });
  equal([put.id, put.name], [made.id, "Older"], "it is replaced");
  equal(ids(await svix.application.list({ limit: 250 })).includes(made.id), true, "it is listed");
  return made.id;
}

async function endpoints(svix, app) {
  const secret = `whsec_${randomBytes(24).toString("base64")}`;
  const given = { url, version: 1, description: "First", filterTypes: [PAID], secret };
  const ep = (await svix.endpoint.create(app, given)).id;
  equal((await svix.endpoint.get(app, ep)).description, "First", "an endpoint is made and read");
  equal((await svix.endpoint.getSecret(app, ep)).key, secret, "with the given secret");
  const put = await svix.endpoint.update(app, ep, { url, version: 2, description: "Second" });
  equal(put.description, "Second", "it is replaced");
  equal(ids(await svix.endpoint.list(app)), [ep], "it is listed");
  await svix.endpoint.updateHeaders(app, ep, { headers: { "X-Kept": "1", "X-Changed": "2" } });
  await svix.endpoint.patchHeaders(app, ep, { headers: { "X-Changed": "3" } });
  const { headers } = await svix.endpoint.getHeaders(app, ep);
  equal(headers, { "X-Kept": "1", "X-Changed": "3" }, "its headers are set and patched");
  await svix.endpoint.rotateSecret(app, ep, {});
  const { key } = await svix.endpoint.getSecret(app, ep);
  equal(key !== secret, true, "its secret is rotated");
  return [ep, key];
}

async function messages(svix, app, secret) {
  const given = { eventType: PAID, eventId: "first", channels: ["north"], payload: { amount: 42 } };
  const { id } = await svix.message.create(app, given);
  const { headers, body } = await delivered(1);
  equal(new Webhook(secret).verify(body, headers), { amount: 42 }, "a message verifies");
  equal([headers["webhook-id"], headers["x-changed"]], [id, "3"], "it has the endpoint's header");
  equal((await svix.message.get(app, id)).payload, { amount: 42 }, "it is read by its id");
  equal(await statusOf(svix.message.create(app, given)), 409, "an eventId is taken once");
  equal(ids(await svix.message.list(app, { eventTypes: [PAID] })), [id], "it is listed by type");
  return id;
}

async function attempts(svix, app, ep, message) {
  // It lists attempts with two operations that the contract no longer has.
  const attempt = svix.messageAttempt;
  equal(ids(await attempt.listAttemptedMessages(app, ep)), [message], "the message is listed");
  equal(ids(await attempt.listAttemptedDestinations(app, message)), [ep], "so is its destination");
  await attempt.resend(app, message, ep);
  equal((await delivered(2)).headers["webhook-id"], message, "it is sent again");
}

async function deletes(svix, app, ep) {
  await svix.endpoint.delete(app, ep);
  equal(await statusOf(svix.endpoint.get(app, ep)), 404, "the endpoint is deleted");
  await svix.eventType.delete(PAID);
  await svix.application.delete(app);
  equal(await statusOf(svix.application.get(app)), 404, "the application is deleted");
}

const svix = new older.Svix(process.env.POSTHORN_TOKEN, { serverUrl: process.env.POSTHORN_URL });
await eventTypes(svix);
const app = await applications(svix);
const [ep, secret] = await endpoints(svix, app);
const message = await messages(svix, app, secret);
await attempts(svix, app, ep, message);
await deletes(svix, app, ep);
process.exit();
