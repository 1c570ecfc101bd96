//! The code of the receivers' guide works. CI runs the Python and JavaScript code
//! (.ci/smoke-clients); the Go code is only compared with the guide.

use posthorn_tests::{Receiver, World};

#[path = "../../receivers/receive.rs"]
#[allow(
    unreachable_pub,
    reason = "it is public where the guide's readers put it"
)]
mod receive;

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_rust_receiver_verifies_deliveries() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let secret = world.secret(&application, &endpoint).await;
    let message = r#"{"eventType":"invoice.paid","payload":{"amount":4200}}"#;
    world.send(&application.id, message).await;
    let request = &receiver.wait_for(1).await[0];
    let receive = |body: &[u8]| receive::receive(&secret, &request.headers, body).as_u16();
    assert_eq!(receive(&request.body), 204);
    let mut flipped = request.body.to_vec();
    flipped[0] ^= 1;
    assert_eq!(receive(&flipped), 400);
}

#[test]
fn the_guide_shows_the_code_that_is_run() {
    let guide = include_str!("../../../docs/receivers.md");
    for (language, code) in [
        ("python", include_str!("../../receivers/receive.py")),
        ("js", include_str!("../../receivers/receive.mjs")),
        ("go", include_str!("../../receivers/receive.go")),
        ("rust", include_str!("../../receivers/receive.rs")),
    ] {
        let block = format!("```{language}\n{code}```\n");
        assert!(guide.contains(&block), "{language}");
    }
}
