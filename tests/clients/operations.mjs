// Calls every operation that the official JavaScript client has for the API, and checks what it
// does.
//
// POSTHORN_URL and POSTHORN_TOKEN (an organization's) name the stack. Endpoints are on this machine
// and use http, so the stack must be local.

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { Webhook } from "standardwebhooks";
import { ApiException, MessageStatus, messageInRaw, Ordering, Svix } from "svix";

const SECONDS = 30;
// Names that no other run of the script uses.
const RUN = randomBytes(4).toString("hex");
const PAID = `invoice.paid.${RUN}`;
const REFUNDED = `invoice.refunded.${RUN}`;
const STARTED = new Date(Date.now() - 60_000);

const called = new Set();

function check(holds, what) {
  console.log(`  ${holds ? "ok" : "FAILED"}  ${what}`);
  if (!holds) process.exit(1);
}

function equal(found, wanted, what) {
  const holds = isDeepStrictEqual(found, wanted);
  check(holds, holds ? what : `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

async function poll(read, what) {
  const deadline = Date.now() + SECONDS * 1000;
  while (Date.now() < deadline) {
    const found = await read();
    if (found) return found;
    await new Promise((resume) => setTimeout(resume, 100));
  }
  check(false, `${what} within ${SECONDS} s`);
}

/** A client that records which operations are called. */
function client(token) {
  return noting(new Svix(token, { serverUrl: process.env.POSTHORN_URL }), "");
}

function noting(target, path) {
  const get = (_, name) => {
    const value = target[name];
    if (typeof value === "object") return noting(value, `${path}${name}.`);
    return (...given) => {
      called.add(path + name);
      return value.apply(target, given);
    };
  };
  return new Proxy(target, { get });
}

/** Accepts every delivery; each endpoint has its own path. A path that starts with `failing` answers 500. */
class Receiver {
  received = [];
  server = createServer(async (request, response) => {
    const name = request.url.slice(1);
    const chunks = await request.toArray();
    this.received.push({ name, headers: request.headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(name.startsWith("failing") ? 500 : 200).end(`answer of ${name}`);
  });

  async start() {
    await new Promise((started) => this.server.listen(0, "127.0.0.1", started));
    return this;
  }

  url(name) {
    return `http://127.0.0.1:${this.server.address().port}/${name}`;
  }

  /** The deliveries of a message at a path, at least `count`. */
  wait(name, message, count = 1) {
    const is = (one) => one.name === name && one.headers["webhook-id"] === message;
    const read = () => {
      const found = this.received.filter(is);
      return found.length >= count && found;
    };
    return poll(read, `delivery ${count} of ${message} at ${name}`);
  }
}

/** The status code of the error that the client throws. */
async function statusOf(promise) {
  try {
    await promise;
    return 0;
  } catch (error) {
    if (error instanceof ApiException) return error.code;
    throw error;
  }
}

/** All items of a list, read in pages of one. */
async function pages(read, options = {}) {
  const items = [];
  for (let iterator; ; ) {
    const page = await read({ ...options, limit: 1, iterator });
    items.push(...page.data);
    if (page.done) return items;
    if (page.iterator === iterator) check(false, `the list goes on after ${iterator}`);
    iterator = page.iterator;
  }
}

const ids = (items) => items.map((item) => item.id);

const application = async (svix, name) => (await svix.application.create({ name })).id;

const endpoint = async (svix, receiver, app, name) =>
  (await svix.endpoint.create(app, { url: receiver.url(name) })).id;

/** An application and its endpoint. */
async function pair(svix, receiver, name) {
  const app = await application(svix, name);
  return [app, await endpoint(svix, receiver, app, name)];
}

async function send(svix, app, fields = {}) {
  const message = { eventType: PAID, payload: { sent: true }, ...fields };
  return (await svix.message.create(app, message)).id;
}

/** The attempts of a message, as soon as there are `count`. */
function attemptsOf(svix, app, message, count = 1) {
  const read = async () => {
    const found = await svix.messageAttempt.listByMsg(app, message, { withContent: true });
    return found.data.length >= count && found.data;
  };
  return poll(read, `${count} attempts of ${message}`);
}

function verifies(secret, { headers, body }) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

async function applications(svix) {
  const uid = `acme-js-${RUN}`;
  const metadata = { plan: "free" };
  const made = await svix.application.create({ name: "Acme", uid, throttleRate: 5, metadata });
  equal(await svix.application.get(uid), made, "an application is read by its uid");
  const same = await svix.application.getOrCreate({ name: "Other", uid });
  equal(same, made, "getOrCreate returns the application that exists");
  equal(await statusOf(svix.application.create({ name: "Two", uid })), 409, "a uid is taken once");

  let patched = await svix.application.patch(uid, { name: "Acme Inc." });
  const wanted = { ...made, name: "Acme Inc.", updatedAt: patched.updatedAt };
  equal(patched, wanted, "patch changes the name only");
  patched = await svix.application.patch(uid, { uid: null, throttleRate: null });
  const cleared = { ...wanted, uid: null, throttleRate: null, updatedAt: patched.updatedAt };
  equal(patched, cleared, "patch clears uid and rate by null");
  equal(await statusOf(svix.application.get(uid)), 404, "the uid is gone");

  const put = await svix.application.upsert(made.id, { name: "Acme", uid });
  equal([put.id, put.metadata], [made.id, {}], "upsert replaces an application");
  const fresh = await svix.application.upsert(`new-js-${RUN}`, { name: "New" });
  equal(fresh.uid, `new-js-${RUN}`, "upsert creates an application");

  const whole = ids((await svix.application.list({ limit: 250 })).data);
  const paged = await pages((page) => svix.application.list(page));
  equal(ids(paged), whole, `pages of one hold each of ${whole.length} applications once`);
  const reversed = await svix.application.list({ limit: 250, order: Ordering.Descending });
  equal(ids(reversed.data), whole.toReversed(), "descending is reversed");
  for (const app of [made.id, fresh.id]) {
    await svix.application.delete(app);
    equal(await statusOf(svix.application.get(app)), 404, `${app} is deleted`);
  }
}

async function eventTypes(svix) {
  const names = ["a", "b", "c"].map((letter) => `type.${letter}.${RUN}`);
  const schemas = { 1: { type: "object" } };
  for (const name of [PAID, REFUNDED, names[0], names[1]])
    await svix.eventType.create({ name, description: "First", schemas });
  await svix.eventType.upsert(names[2], { description: "Third" });
  const shown = ({ description, schemas }) => [description, schemas];
  equal(shown(await svix.eventType.get(names[0])), ["First", schemas], "it has its schemas");
  equal(shown(await svix.eventType.get(names[2])), ["Third", null], "upsert creates an event type");

  let patched = await svix.eventType.patch(names[0], { description: "Patched" });
  equal(shown(patched), ["Patched", schemas], "patch changes one field");
  patched = await svix.eventType.patch(names[0], { schemas: null });
  equal(shown(patched), ["Patched", null], "patch clears schemas by null");
  const put = await svix.eventType.upsert(names[1], { description: "Put" });
  equal(shown(put), ["Put", null], "upsert replaces an event type");

  const listed = async (options) => {
    const found = await pages((page) => svix.eventType.list(page), options);
    return found.map(({ name }) => name).filter((name) => names.includes(name));
  };
  equal(await listed(), names, "pages of one hold each event type once");
  await svix.eventType.delete(names[0]);
  equal(await listed(), names.slice(1), "an archived event type is not listed");
  equal(await listed({ includeArchived: true }), names, "or with includeArchived only");
  check((await svix.eventType.get(names[0])).archived, "it is shown as archived");
  const back = await svix.eventType.create({ name: names[0], description: "Back" });
  equal([back.archived, await listed()], [false, names], "create brings it back");
  for (const name of names) await svix.eventType.delete(name, { expunge: true });
  equal(await listed({ includeArchived: true }), [], "expunged event types are gone");
  equal(await statusOf(svix.eventType.get(names[0])), 404, "and cannot be read");
}

async function endpoints(svix, receiver) {
  const app = await application(svix, "endpoints");
  const url = receiver.url("endpoints");
  const made = await svix.endpoint.create(app, {
    url, uid: "main", description: "Main", throttleRate: 10,
    channels: ["north"], eventTypes: [PAID], metadata: { team: "a" },
  });
  equal(await svix.endpoint.get(app, "main"), made, "an endpoint is read by its uid");
  const unknown = await statusOf(svix.endpoint.create(app, { url, eventTypes: [`no.${RUN}`] }));
  equal(unknown, 422, "an unknown event type is refused");

  let patched = await svix.endpoint.patch(app, "main", { description: "New" });
  let wanted = { ...made, description: "New", updatedAt: patched.updatedAt };
  equal(patched, wanted, "patch changes the description only");
  for (const field of ["channels", "eventTypes", "throttleRate", "uid"]) {
    patched = await svix.endpoint.patch(app, made.id, { [field]: null });
    wanted = { ...wanted, [field]: null, updatedAt: patched.updatedAt };
    equal(patched, wanted, `patch clears ${field} by null, and nothing else`);
  }
  equal(await statusOf(svix.endpoint.get(app, "main")), 404, "the uid is gone");

  const put = await svix.endpoint.upsert(app, made.id, { url, uid: "main" });
  equal([put.id, put.description], [made.id, ""], "upsert replaces an endpoint");
  const fresh = await svix.endpoint.upsert(app, "second", { url });
  equal(fresh.uid, "second", "upsert creates an endpoint");
  const paged = await pages((page) => svix.endpoint.list(app, page));
  equal(ids(paged), [fresh.id, made.id], "pages of one hold each endpoint once, newest first");
  await svix.endpoint.delete(app, "second");
  equal(ids((await svix.endpoint.list(app)).data), [made.id], "a deleted endpoint is not listed");
  equal(await statusOf(svix.endpoint.get(app, fresh.id)), 404, "and cannot be read");
}

async function headers(svix, receiver) {
  const [app, ep] = await pair(svix, receiver, "headers");
  const plain = { "X-Kept": "1", "X-Changed": "2", "X-Null": "3", "X-Removed": "4" };
  const given = { ...plain, Authorization: "Bearer s3cret" };
  await svix.endpoint.setHeaders(app, ep, { headers: given });
  let shown = await svix.endpoint.getHeaders(app, ep);
  equal(shown, { headers: plain, sensitive: ["Authorization"] }, "Authorization is redacted");
  const patch = { headers: { "X-Changed": "5", "X-Null": null }, deleteHeaders: ["X-Removed"] };
  await svix.endpoint.patchHeaders(app, ep, patch);
  shown = await svix.endpoint.getHeaders(app, ep);
  equal(shown.headers, { "X-Kept": "1", "X-Changed": "5" }, "patch changes one, removes two");

  const [{ headers: got }] = await receiver.wait("headers", await send(svix, app));
  const names = ["x-kept", "x-changed", "x-null", "x-removed", "authorization"];
  const wanted = ["1", "5", undefined, undefined, "Bearer s3cret"];
  equal(names.map((name) => got[name]), wanted, "the receiver gets what is set");
}

async function signingSecrets(svix, receiver) {
  const [app, ep] = await pair(svix, receiver, "secrets");
  const secret = async () => (await svix.endpoint.getSecret(app, ep)).key;
  const first = await secret();
  await svix.endpoint.rotateSecret(app, ep);
  const second = await secret();
  check(first !== second, "rotateSecret makes another secret");
  let [delivery] = await receiver.wait("secrets", await send(svix, app));
  check(verifies(second, delivery), "a delivery right after verifies with the new secret");
  check(verifies(first, delivery), "and with the old one");

  const own = `whsec_${randomBytes(32).toString("base64")}`;
  await svix.endpoint.rotateSecret(app, ep, { key: own, gracePeriodSeconds: 0 });
  equal(await secret(), own, "a secret can be given");
  [delivery] = await receiver.wait("secrets", await send(svix, app));
  const ends = [verifies(own, delivery), verifies(second, delivery)];
  equal(ends, [true, false], "without a grace period the old secret ends at once");
}

async function messages(svix, receiver) {
  const [app] = await pair(svix, receiver, "messages");
  const given = { eventId: "first", channels: ["north"], payload: { amount: 4200 } };
  const first = await send(svix, app, given);
  // Ids from the same few milliseconds have no order.
  await attemptsOf(svix, app, first);
  const last = await send(svix, app, { eventType: REFUNDED, channels: ["south"] });
  equal(await statusOf(send(svix, app, { eventId: "first" })), 409, "an eventId is taken once");
  let got = await svix.message.get(app, first, { withContent: true });
  const { eventId, channels, payload } = got;
  equal({ eventId, channels, payload }, given, "a message is read");
  equal((await svix.message.get(app, first)).payload, {}, "without its content unless asked for");
  equal((await svix.message.get(app, "first")).id, first, "a message is read by its eventId");

  for (const [options, wanted] of [
    [{}, [last, first]],
    [{ channel: "north" }, [first]],
    [{ eventTypes: [REFUNDED] }, [last]],
    [{ eventTypes: [PAID, REFUNDED] }, [last, first]],
    [{ after: STARTED }, [last, first]],
    [{ before: STARTED }, []],
  ]) {
    const found = ids((await svix.message.list(app, options)).data);
    equal(found, wanted, `messages by ${JSON.stringify(options)}`);
  }
  const paged = await pages((page) => svix.message.list(app, page));
  equal(ids(paged), [last, first], "pages of one hold each message once");

  await svix.message.expungeContent(app, first);
  got = await svix.message.get(app, first, { withContent: true });
  equal([got.id, got.payload], [first, { expired: true }], "an expunged payload is gone");
}

async function rawPayloads(svix, receiver) {
  const [app, ep] = await pair(svix, receiver, "raw");
  const { key } = await svix.endpoint.getSecret(app, ep);
  for (const [text, contentType] of [
    [' {\n  "b" : 1.0 ,"a":\t"\\u00e9é" }\n', undefined],
    ['<?xml version="1.0"?>\n<a b="1">Grüße, 世界 🎺</a>\n', "text/xml; charset=utf-8"],
  ]) {
    const { id } = await svix.message.create(app, messageInRaw(PAID, text, contentType));
    const [{ headers, body }] = await receiver.wait("raw", id);
    const wanted = contentType ?? "application/json";
    equal([body, headers["content-type"]], [text, wanted], `messageInRaw is delivered as ${wanted}`);
    new Webhook(key).verify(body, headers, { jsonParse: false });
  }
}

async function attempts(svix, receiver) {
  const attempt = svix.messageAttempt;
  const [app, good] = await pair(svix, receiver, "attempts");
  const bad = await endpoint(svix, receiver, app, "failing-attempts");
  const first = await send(svix, app, { channels: ["north"] });
  const both = await attemptsOf(svix, app, first, 2);
  const [ok, failed] = [good, bad].map((ep) => both.find((one) => one.endpointId === ep));
  const shown = (one) => [one.status, one.responseStatusCode, one.response, one.triggerType];
  equal(shown(ok), [MessageStatus.Success, 200, "answer of attempts", 0], "one succeeded");
  equal(shown(failed), [MessageStatus.Fail, 500, "answer of failing-attempts", 0], "one failed");
  equal(await attempt.get(app, first, ok.id), ok, "an attempt is read by its id");

  const last = await send(svix, app, { eventType: REFUNDED, channels: ["south"] });
  await attemptsOf(svix, app, last, 2);
  const sent = (await svix.message.get(app, last)).timestamp;
  const between = new Date((ok.timestamp.getTime() + sent.getTime()) / 2);
  await filters(attempt, { app, good, first, last, between });
  await byMessage(attempt, { app, first, good, bad });

  await attempt.resend(app, first, good);
  await receiver.wait("attempts", first, 2);
  const tried = await poll(async () => {
    const { data } = await attempt.listByMsg(app, first, { endpointId: good });
    return data.length > 1 && data;
  }, "the attempt of resend");
  const triggers = tried.map((one) => one.triggerType);
  equal(triggers, [1, 0], "resend posts a message again, as a manual attempt");
  await attempt.expungeContent(app, first, ok.id);
  const expunged = await attempt.get(app, first, ok.id);
  equal([expunged.id, expunged.response], [ok.id, "EXPUNGED"], "an expunged response is gone");
}

/** The two lists of an endpoint: attempts and messages. */
async function filters(attempt, { app, good, first, last, between }) {
  const attempted = async (options) =>
    (await attempt.listByEndpoint(app, good, options)).data.map((one) => one.msgId);
  const sent = async (options) =>
    ids((await attempt.listAttemptedMessages(app, good, options)).data);
  const shared = [
    [{}, [last, first]],
    [{ status: MessageStatus.Success }, [last, first]],
    [{ status: MessageStatus.Fail }, []],
    [{ eventTypes: [PAID] }, [first]],
    [{ eventTypes: [PAID, REFUNDED] }, [last, first]],
    [{ channel: "south" }, [last]],
    [{ before: between }, [first]],
    [{ after: between }, [last]],
  ];
  for (const [options, wanted] of shared) {
    const name = JSON.stringify(options);
    equal(await attempted(options), wanted, `attempts of an endpoint by ${name}`);
    equal(await sent(options), wanted, `messages of an endpoint by ${name}`);
  }
  equal(await attempted({ statusCodeClass: 200 }), [last, first], "attempts by class 2xx");
  equal(await attempted({ statusCodeClass: 500 }), [], "attempts by class 5xx");
  let paged = await pages((page) => attempt.listByEndpoint(app, good, page));
  equal(paged.map((one) => one.msgId), [last, first], "pages of one hold each attempt once");
  paged = await pages((page) => attempt.listAttemptedMessages(app, good, page));
  equal(ids(paged), [last, first], "pages of one hold each message once");
}

/** The two lists of a message: attempts and destinations. */
async function byMessage(attempt, { app, first, good, bad }) {
  for (const [options, wanted] of [
    [{ endpointId: bad }, [bad]],
    [{ status: MessageStatus.Success }, [good]],
    [{ status: MessageStatus.Fail }, [bad]],
    [{ statusCodeClass: 500 }, [bad]],
    [{ eventTypes: [REFUNDED] }, []],
    [{ channel: "north" }, [good, bad]],
  ]) {
    const { data } = await attempt.listByMsg(app, first, options);
    const found = new Set(data.map((one) => one.endpointId));
    equal(found, new Set(wanted), `attempts of a message by ${JSON.stringify(options)}`);
  }
  const paged = await pages((page) => attempt.listAttemptedDestinations(app, first, page));
  equal(ids(paged), [good, bad].sort(), "pages of one hold each destination once");
  const [ok, retried] = [good, bad].map((ep) => paged.find((one) => one.id === ep).status);
  equal(ok, MessageStatus.Success, "a delivered destination is a success");
  const ended = [MessageStatus.Success, MessageStatus.Fail].includes(retried);
  check(!ended, "one that is retried has not failed yet");
}

async function recovery(svix, receiver) {
  const [app, bad] = await pair(svix, receiver, "failing-recovery");
  const message = await send(svix, app);
  await attemptsOf(svix, app, message);
  let task = await svix.endpoint.recover(app, bad, { since: STARTED });
  equal([task.status, task.task], ["running", "endpoint.recover"], `recovery is ${task.id}`);
  await finished(svix, task.id);
  const listed = await pages((page) => svix.backgroundTask.list(page));
  equal(ids(listed).filter((id) => id === task.id), [task.id], "the task is listed");

  const late = await endpoint(svix, receiver, app, "late");
  task = await svix.endpoint.replayMissing(app, late, { since: STARTED });
  equal([task.status, task.task], ["running", "endpoint.replay"], `replay is ${task.id}`);
  await receiver.wait("late", message);
  check(true, "a message from before an endpoint is replayed to it");
  await finished(svix, task.id);
}

async function finished(svix, task) {
  const read = async () => (await svix.backgroundTask.get(task)).status === "finished";
  check(await poll(read, `${task} is finished`), `${task} is finished`);
}

async function examples(svix, receiver) {
  const [app, ep] = await pair(svix, receiver, "examples");
  const eventType = `example.${RUN}`;
  const schemas = { 1: { type: "object", properties: {}, examples: [{ hello: "world" }] } };
  await svix.eventType.create({ name: eventType, description: "Example", schemas });
  await endpoint(svix, receiver, app, "elsewhere");
  const message = await svix.endpoint.sendExample(app, ep, { eventType });
  const [{ body }] = await receiver.wait("examples", message.id);
  equal(JSON.parse(body), { hello: "world" }, "sendExample sends the schema's example");
  const reached = await svix.messageAttempt.listAttemptedDestinations(app, message.id);
  equal(ids(reached.data), [ep], "to that endpoint only");
}

async function statistics(svix, receiver) {
  const [app, ep] = await pair(svix, receiver, "statistics");
  for (let sent = 0; sent < 3; sent++) await send(svix, app);
  const read = () => svix.endpoint.getStats(app, ep, { since: STARTED });
  await poll(async () => (await read()).success === 3, "3 successes are counted");
  const wanted = { success: 3, fail: 0, pending: 0, sending: 0, canceled: 0 };
  equal(await svix.endpoint.getStats(app, ep), wanted, "3 successes are counted, nothing else");
}

async function portal(svix, receiver) {
  const [app, ep] = await pair(svix, receiver, "portal");
  const other = await application(svix, "other");
  const user = client((await svix.authentication.appPortalAccess(app)).token);
  equal(ids((await user.endpoint.list(app)).data), [ep], "a portal token lists its endpoints");
  equal(await statusOf(user.application.list()), 403, "not applications");
  equal(await statusOf(user.endpoint.list(other)), 404, "no other application's endpoints");
  await user.authentication.logout();
  equal(await statusOf(user.endpoint.list(app)), 401, "after logout it is refused");
  await capabilities(svix, app, ep);
  await expireAll(svix, app);
}

async function capabilities(svix, app, ep) {
  // Tokens, not clients: resolving a promise with a recording client would read its `then`.
  const access = async (body) => (await svix.authentication.appPortalAccess(app, body)).token;
  const viewer = client(await access({ capabilities: ["ViewBase", "ViewEndpointSecret"] }));
  const { key } = await viewer.endpoint.getSecret(app, ep);
  check(key.startsWith("whsec_"), "a capability shows a secret");
  equal(await statusOf(viewer.endpoint.rotateSecret(app, ep, {})), 403, "it does not rotate it");
  const reader = client(await access({ readOnly: true }));
  equal(ids((await reader.endpoint.list(app)).data), [ep], "a read-only token reads");
  equal(await statusOf(reader.endpoint.delete(app, ep)), 403, "it deletes nothing");
}

async function expireAll(svix, app) {
  const access = async (sessionId) =>
    (await svix.authentication.appPortalAccess(app, { sessionId })).token;
  const [anna, ben] = [client(await access("anna")), client(await access("ben"))];
  await svix.authentication.expireAll(app, { sessionIds: ["anna"] });
  equal(await statusOf(anna.endpoint.list(app)), 401, "a named session has ended");
  equal((await ben.endpoint.list(app)).data.length, 1, "another one has not");
  await svix.authentication.expireAll(app, {});
  equal(await statusOf(ben.endpoint.list(app)), 401, "all sessions have ended");
}

const svix = client(process.env.POSTHORN_TOKEN);
const receiver = await new Receiver().start();
await svix.health.get();
check(true, "healthy");
await applications(svix);
await eventTypes(svix);
const sections = [endpoints, headers, signingSecrets, messages, rawPayloads];
const others = [attempts, recovery, examples, statistics, portal];
for (const section of [...sections, ...others]) await section(svix, receiver);
console.log(`${called.size} operations`);
process.exit();
