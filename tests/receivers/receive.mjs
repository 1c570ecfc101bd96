import { Webhook, WebhookVerificationError } from "standardwebhooks";

// The status to answer with. `body` is what arrived, not parsed; with Express: express.raw({ type: "*/*" }).
export function receive(secret, headers, body) {
  let event;
  try {
    event = new Webhook(secret).verify(body, headers);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return 400;
    throw error;
  }
  // Deliveries may come twice: `webhook-id` stays the same, so remember it.
  console.log("received", headers["webhook-id"], event);
  return 204;
}
