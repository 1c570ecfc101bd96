//! The API's description, generated from the handlers and served at `/api/v1/openapi.json`.

use axum::{
    body::Bytes,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::IntoResponse,
};
use posthorn_domain::error::FieldError;
use serde::Serialize;
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        ContentBuilder, OpenApi as Document, Ref, RefOr, Required, Response, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::messages;

#[derive(OpenApi)]
#[openapi(
    info(title = "Posthorn", description = "Webhooks from your own AWS account: Svix's v1 REST API."),
    paths(messages::create, messages::create_batch),
    components(schemas(HttpErrorOut, HttpValidationError)),
    security(("HTTPBearer" = []))
)]
pub(crate) struct Description;

/// `HttpErrorOut` of the contract.
#[derive(Serialize, ToSchema)]
pub(crate) struct HttpErrorOut {
    /// For programs.
    pub(crate) code: String,
    /// For people.
    pub(crate) detail: String,
}

/// `HTTPValidationError` of the contract.
#[derive(Serialize, ToSchema)]
struct HttpValidationError {
    detail: Vec<FieldError>,
}

/// What every operation may answer besides its own.
const ERRORS: [(&str, &str); 8] = [
    ("400", "The request as a whole cannot be carried out"),
    (
        "401",
        "The token is missing, malformed, expired or not ours",
    ),
    ("403", "The token does not reach this operation"),
    ("404", "Nothing of that id exists here"),
    (
        "409",
        "It exists already, changed meanwhile, or its state does not allow this",
    ),
    ("413", "The body is too large"),
    ("422", "A field breaks a rule"),
    (
        "503",
        "A service behind the API failed; nothing was acknowledged",
    ),
];

/// The text of the document. It is written once per process: everybody may ask for it.
pub(crate) fn write(document: Document) -> Bytes {
    let text = serde_json::to_vec(&complete(document));
    text.inspect_err(|error| tracing::error!(%error, "the API's description could not be written"))
        .unwrap_or_default()
        .into()
}

/// The document as an answer, which anybody may keep for an hour.
pub(crate) fn answer(text: &Bytes) -> impl IntoResponse + use<> {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, text.clone())
}

/// Adds what all operations share: errors, the token, `idempotency-key` of every POST.
fn complete(mut document: Document) -> Document {
    for (path, item) in &mut document.paths.paths {
        if path.starts_with("/api/v1/health") {
            continue;
        }
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        operations.into_iter().flatten().for_each(add_errors);
        if let Some(post) = &mut item.post {
            add_errors(post);
            post.parameters
                .get_or_insert_default()
                .push(idempotency_key().into());
        }
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    if let Some(components) = &mut document.components {
        components.add_security_scheme("HTTPBearer", bearer);
    }
    document
}

fn add_errors(operation: &mut Operation) {
    for (status, description) in ERRORS {
        let schema = if status == "422" {
            "HttpValidationError"
        } else {
            "HttpErrorOut"
        };
        let known = operation.responses.responses.entry(status.to_owned());
        known.or_insert_with(|| RefOr::T(error(schema, description)));
    }
}

fn error(schema: &str, description: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build()
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String);
    ParameterBuilder::new()
        .name(posthorn_contract::http::IDEMPOTENCY_KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The same request with the same key again has one effect.",
        ))
        .schema(Some(text.min_length(Some(1)).max_length(Some(256))))
        .build()
}
