//! Operations and a delivery with the official Rust client, against the stack that POSTHORN_URL and
//! POSTHORN_TOKEN name. Every printed line is a check that passed; the first failing check ends the
//! program.

mod receiver;

use std::{env, fmt::Debug, time::Duration};

use receiver::Deliveries;
use serde_json::json;
use svix::{api::*, error::Error, models::*, webhooks::Webhook};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How often an attempt or a task is polled for, every tenth of a second.
const LOOKS: usize = 600;

fn check<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got != wanted {
        return Err(format!("{what}: {got:?} instead of {wanted:?}").into());
    }
    println!("  ok  {what}");
    Ok(())
}

/// Polls until there is a result.
async fn poll<T, F: Future<Output = Outcome<Option<T>>>>(
    what: &str,
    look: impl Fn() -> F,
) -> Outcome<T> {
    for _ in 0..LOOKS {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{what}: nothing came").into())
}

/// The status code of a refusal.
fn status<T>(result: Result<T, Error>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(Error::Http(refused)) => refused.status.as_u16(),
        Err(Error::Validation(refused)) => refused.status.as_u16(),
        Err(_) => 0,
    }
}

fn client(token: &str) -> Outcome<Svix> {
    let options = SvixOptions {
        server_url: Some(env::var("POSTHORN_URL")?),
        ..SvixOptions::default()
    };
    Ok(Svix::new(token.to_owned(), Some(options)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let svix = client(&env::var("POSTHORN_TOKEN")?)?;
    svix.health().get().await?;
    let app = applications(&svix).await?;
    event_types(&svix, &app).await?;
    delivered(&svix, &app).await?;
    endpoints(&svix, &app).await?;
    recovered(&svix, &app).await?;
    portal(&svix, &app).await?;
    svix.application().delete(app.clone()).await?;
    let gone = svix.application().get(app).await;
    check("an application that was deleted is gone", status(gone), 404)
}

/// Returns the id of an application.
async fn applications(svix: &Svix) -> Outcome<String> {
    let applications = svix.application();
    let mut wanted = ApplicationIn::new("Rust client".to_owned());
    let uid = format!("rust-{}", std::process::id());
    wanted.uid = Some(uid.clone());
    let created = applications.create(wanted.clone(), None).await?;
    check(
        "an application is read by its uid",
        applications.get(uid.clone()).await?.id,
        created.id.clone(),
    )?;
    check(
        "a uid is taken once",
        status(applications.create(wanted.clone(), None).await),
        409,
    )?;
    let same = applications.get_or_create(wanted.clone(), None).await?;
    check("get_or_create finds it", same.id, created.id.clone())?;
    wanted.name = "Renamed".to_owned();
    let renamed = applications.upsert(uid, wanted).await?;
    check("upsert replaces it", renamed.name.as_str(), "Renamed")?;
    let options = ApplicationListOptions {
        limit: Some(250),
        ..Default::default()
    };
    let listed = applications.list(Some(options)).await?.data;
    check(
        "it is listed",
        listed.iter().any(|one| one.id == created.id),
        true,
    )?;
    Ok(created.id)
}

async fn event_types(svix: &Svix, app: &str) -> Outcome {
    let types = svix.event_type();
    let name = format!("rust.{app}");
    types
        .create(EventTypeIn::new(name.clone(), "First".to_owned()), None)
        .await?;
    check(
        "an event type is read",
        types.get(name.clone()).await?.description.as_str(),
        "First",
    )?;
    types.delete(name.clone(), None).await?;
    check(
        "and archived by delete",
        types.get(name).await?.archived,
        Some(true),
    )
}

/// A message arrives signed, and is recorded.
async fn delivered(svix: &Svix, app: &str) -> Outcome {
    let receiver = Deliveries::answering(204)?;
    let endpoints = svix.endpoint();
    let endpoint = endpoints
        .create(app.to_owned(), EndpointIn::new(receiver.url.clone()), None)
        .await?;
    let secret = endpoints
        .get_secret(app.to_owned(), endpoint.id.clone())
        .await?
        .key;
    let payload = json!({ "amount": 4200, "name": "Grüße, 世界 🎺" });
    let mut message = MessageIn::new("invoice.paid".to_owned(), payload.clone());
    message.event_id = Some("first".to_owned());
    let sent = svix
        .message()
        .create(app.to_owned(), message.clone(), None)
        .await?;
    let delivery = receiver.next()?;
    check(
        "delivered",
        delivery.headers.get("webhook-id"),
        Some(&sent.id),
    )?;
    let webhook = Webhook::new(&secret)?;
    let headers = ["id", "timestamp", "signature"].map(|name| format!("webhook-{name}"));
    let mut signed = http::HeaderMap::new();
    for name in headers {
        let value = delivery.headers.get(&name).ok_or("a header is missing")?;
        signed.insert(http::HeaderName::try_from(name)?, value.parse()?);
    }
    check(
        "verified by the client",
        webhook.verify(&delivery.body, &signed).is_ok(),
        true,
    )?;
    let body: serde_json::Value = serde_json::from_slice(&delivery.body)?;
    check("the payload arrives", body, payload.clone())?;
    let repeated = svix.message().create(app.to_owned(), message, None).await;
    check("an eventId is taken once", status(repeated), 409)?;
    let content = MessageGetOptions {
        with_content: Some(true),
    };
    let read = svix
        .message()
        .get(app.to_owned(), sent.id.clone(), Some(content))
        .await?;
    check(
        "a message is read",
        (read.event_id.as_deref(), read.payload),
        (Some("first"), payload),
    )?;
    let listed = svix.message().list(app.to_owned(), None).await?.data;
    check("it is listed", listed.len(), 1)?;
    let attempt = attempt(svix, app, &sent.id).await?;
    check(
        "its attempt succeeded",
        (attempt.status, attempt.response_status_code),
        (MessageStatus::Success, 204),
    )?;
    endpoints.delete(app.to_owned(), endpoint.id).await?;
    Ok(())
}

/// The newest attempt of a message.
async fn attempt(svix: &Svix, app: &str, message: &str) -> Outcome<MessageAttemptOut> {
    poll("an attempt", || async {
        let attempts = svix.message_attempt();
        let listed = attempts
            .list_by_msg(app.to_owned(), message.to_owned(), None)
            .await?;
        Ok(listed.data.into_iter().next())
    })
    .await
}

async fn endpoints(svix: &Svix, app: &str) -> Outcome {
    let endpoints = svix.endpoint();
    let app = || app.to_owned();
    let created = endpoints
        .create(
            app(),
            EndpointIn::new("https://example.com/a".to_owned()),
            None,
        )
        .await?;
    let id = || created.id.clone();
    let patch = EndpointPatch {
        description: Some("Patched".to_owned()),
        ..EndpointPatch::new()
    };
    endpoints.patch(app(), id(), patch).await?;
    check(
        "an endpoint is patched",
        endpoints.get(app(), id()).await?.description.as_str(),
        "Patched",
    )?;
    let headers = EndpointHeadersIn::new([("x-kept".to_owned(), "1".to_owned())].into());
    endpoints.set_headers(app(), id(), headers).await?;
    let read = endpoints.get_headers(app(), id()).await?.headers;
    check(
        "its headers are read",
        read.get("x-kept").map(String::as_str),
        Some("1"),
    )?;
    let before = endpoints.get_secret(app(), id()).await?.key;
    endpoints
        .rotate_secret(app(), id(), EndpointSecretRotateIn::new(), None)
        .await?;
    check(
        "its secret is rotated",
        endpoints.get_secret(app(), id()).await?.key == before,
        false,
    )?;
    let stats = endpoints.get_stats(app(), id(), None).await?;
    check(
        "nothing is counted yet",
        (stats.success, stats.fail),
        (0, 0),
    )?;
    endpoints.delete(app(), id()).await?;
    check(
        "a deleted endpoint is gone",
        status(endpoints.get(app(), id()).await),
        404,
    )
}

/// Sends failed messages again: a single one, and all of an endpoint.
async fn recovered(svix: &Svix, app: &str) -> Outcome {
    let receiver = Deliveries::answering(500)?;
    let endpoint = EndpointIn::new(receiver.url.clone());
    let endpoint = svix
        .endpoint()
        .create(app.to_owned(), endpoint, None)
        .await?;
    let message = MessageIn::new("invoice.failed".to_owned(), json!({}));
    let sent = svix.message().create(app.to_owned(), message, None).await?;
    receiver.next()?;
    let failed = attempt(svix, app, &sent.id).await?;
    check(
        "a failed attempt is recorded",
        failed.response_status_code,
        500,
    )?;
    let attempts = svix.message_attempt();
    attempts
        .resend(app.to_owned(), sent.id.clone(), endpoint.id.clone(), None)
        .await?;
    let again = receiver.next()?;
    check(
        "resend sends it again",
        again.headers.get("webhook-id"),
        Some(&sent.id),
    )?;
    let since = RecoverIn::new(sent.timestamp);
    let task = svix
        .endpoint()
        .recover(app.to_owned(), endpoint.id.clone(), since, None)
        .await?;
    poll("the end of a recovery", || async {
        let task = svix.background_task().get(task.id.clone()).await?;
        Ok((task.status == BackgroundTaskStatus::Finished).then_some(()))
    })
    .await?;
    check("a recovery is finished", true, true)?;
    svix.endpoint().delete(app.to_owned(), endpoint.id).await?;
    Ok(())
}

async fn portal(svix: &Svix, app: &str) -> Outcome {
    let access = svix.authentication();
    let access = access
        .app_portal_access(app.to_owned(), AppPortalAccessIn::new(), None)
        .await?;
    let user = client(&access.token)?;
    check(
        "a portal token lists endpoints",
        user.endpoint().list(app.to_owned(), None).await?.data.len(),
        0,
    )?;
    check(
        "not applications",
        status(user.application().list(None).await),
        403,
    )?;
    user.authentication().logout(None).await?;
    check(
        "after logout it is refused",
        status(user.endpoint().list(app.to_owned(), None).await),
        401,
    )
}
