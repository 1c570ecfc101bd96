//! A secret is replaced without a gap: both sign until the old one expires.

use base64::{Engine, engine::general_purpose::STANDARD};
use posthorn_tests::client::{ApplicationOut, EndpointOut};
use posthorn_tests::{Receiver, Request, World};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{"n":1}}"#;
const SEED: &str = "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=";

struct Rotation {
    world: World,
    receiver: Receiver,
    application: ApplicationOut,
    endpoint: EndpointOut,
}

impl Rotation {
    async fn start() -> Self {
        let world = World::start().await;
        let receiver = Receiver::accepting().await;
        let application = world.application().await;
        let endpoint = world.endpoint(&application, &receiver).await;
        Self {
            world,
            receiver,
            application,
            endpoint,
        }
    }

    async fn secret(&self) -> String {
        self.world.secret(&self.application, &self.endpoint).await
    }

    async fn rotate(&self, body: serde_json::Value) -> posthorn_tests::Answer {
        let (app, endpoint) = (&self.application.id, &self.endpoint.id);
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/secret/rotate");
        self.world.call("POST", &path, Some(body)).await
    }

    /// The next delivery.
    async fn deliver(&self) -> Request {
        let before = self.receiver.received().len();
        self.world.send(&self.application.id, MESSAGE).await;
        self.receiver.wait_for(before + 1).await.pop().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_verify_a_delivery_until_the_old_one_is_gone() {
    let rotation = Rotation::start().await;
    let first = rotation.secret().await;
    assert_eq!(rotation.rotate(json!({})).await.status, 204);
    let second = rotation.secret().await;
    assert_ne!(first, second);
    let request = rotation.deliver().await;
    request.verify(&first).unwrap();
    request.verify(&second).unwrap();
    assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
    let third = format!("whsec_{}", STANDARD.encode([7; 24]));
    let body = json!({ "key": third, "gracePeriodSeconds": 0 });
    assert_eq!(rotation.rotate(body).await.status, 204);
    let request = rotation.deliver().await;
    request.verify(&third).unwrap();
    request.verify(&first).unwrap();
    assert!(request.verify(&second).is_err(), "it had no grace");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_earlier_secrets_are_the_most_and_bad_ones_are_refused() {
    let rotation = Rotation::start().await;
    for _ in 0..10 {
        assert_eq!(rotation.rotate(json!({})).await.status, 204);
    }
    let full = rotation.rotate(json!({})).await;
    assert_eq!(
        (full.status, full.body["code"].as_str()),
        (400, Some("bad_request"))
    );
    rotation
        .deliver()
        .await
        .verify(&rotation.secret().await)
        .unwrap();
    for (field, body) in [
        ("key", json!({ "key": STANDARD.encode([7; 23]) })),
        (
            "key",
            json!({ "key": format!("whsec_{}", STANDARD.encode([7; 23])) }),
        ),
        (
            "key",
            json!({ "key": format!("whsec_{}", STANDARD.encode([7; 76])) }),
        ),
        (
            "key",
            json!({ "key": format!("whsk_{}", STANDARD.encode([7; 64])) }),
        ),
        (
            "gracePeriodSeconds",
            json!({ "gracePeriodSeconds": 604801 }),
        ),
        ("gracePeriodSeconds", json!({ "gracePeriodSeconds": -1 })),
    ] {
        let refused = rotation.rotate(body).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(refused.body["detail"][0]["loc"], json!(["body", field]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ed25519_key_signs_beside_an_hmac_secret() {
    let rotation = Rotation::start().await;
    let hmac = rotation.secret().await;
    assert_eq!(rotation.rotate(json!({ "key": SEED })).await.status, 204);
    let public = rotation.secret().await;
    let key = STANDARD
        .decode(public.strip_prefix("whpk_").unwrap())
        .unwrap();
    let request = rotation.deliver().await;
    request.verify(&hmac).unwrap();
    let signatures = request.header("webhook-signature");
    let signature = signatures
        .split(' ')
        .find_map(|one| one.strip_prefix("v1a,"))
        .unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let [id, at] = ["webhook-id", "webhook-timestamp"].map(|name| request.header(name));
    let mut signed = format!("{id}.{at}.").into_bytes();
    signed.extend_from_slice(&request.body);
    let verifier = UnparsedPublicKey::new(&ED25519, key);
    verifier.verify(&signed, &signature).unwrap();
    signed[0] ^= 1;
    assert!(verifier.verify(&signed, &signature).is_err());
}
