import { Webhook, WebhookVerificationError } from "standardwebhooks";

// The status to answer with. `body` is what arrived, not parsed; with Express: express.raw({ type: "*/*" }).
export function receive(secret, headers, body) {
  try {
    // Not parsed: a payload may be any text (see `content-type`). Most are JSON.
    new Webhook(secret).verify(body, headers, { jsonParse: false });
  } catch (error) {
    if (error instanceof WebhookVerificationError) return 400;
    throw error;
  }
  // Deliveries may arrive twice: `webhook-id` stays the same, so remember it.
  console.log("received", headers["webhook-id"], String(body));
  return 204;
}
