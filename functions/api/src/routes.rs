//! Routes, each with its description. Routes are made at every start; descriptions, which took twice as
//! long as everything else of a start, only when somebody asks for them.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    middleware::{self, Next},
    routing::MethodRouter,
};
use posthorn_contract::{
    Refusal,
    body::{parse_body, unknown_field},
};
use posthorn_domain::error::FieldError;
use serde::Deserialize;
use utoipa::openapi::{
    OpenApi as Document, RefOr,
    path::{Operation, ParameterIn},
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{Api, extract::read_body, query::pairs};

/// Handlers of one path, and what describes them.
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) methods: MethodRouter<Arc<Api>>,
    pub(crate) describe: Describe,
}

type Describe = fn() -> UtoipaMethodRouter<Arc<Api>>;

/// The routes of a resource, or of all.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Arc<Api>>,
    described: Vec<Describe>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn routes(mut self, route: Route) -> Self {
        self.described.push(route.describe);
        Self {
            router: self.router.route(&route.path, route.methods),
            ..self
        }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.described.extend(other.described);
        Self {
            router: self.router.merge(other.router),
            ..self
        }
    }

    /// The routes, and what adds their descriptions to a document.
    pub(crate) fn into_parts(self) -> (Router<Arc<Api>>, impl Fn(Document) -> Document + Clone) {
        let described = self.described;
        let describe = move |document| {
            let begin = OpenApiRouter::with_openapi(document);
            let all = described.iter();
            all.fold(begin, |router, describe| router.routes(describe()))
                .into_openapi()
        };
        (self.router, describe)
    }
}

/// Query parameters that official clients send by themselves and that change nothing here; docs/api.md says why.
const HARMLESS: [&str; 1] = ["expanded_statuses"];

/// A handler that gets only requests whose query parameters and body its description has, so that no handler can
/// ignore one.
pub(crate) fn with_known_parts(
    methods: MethodRouter<Arc<Api>>,
    describe: fn() -> Operation,
) -> MethodRouter<Arc<Api>> {
    let check = move |request: Request, next: Next| async move {
        refuse_unknown(request.uri().query(), describe)?;
        let request = refuse_body(request, describe).await?;
        Ok::<_, Refusal>(next.run(request).await)
    };
    methods.route_layer(middleware::from_fn(check))
}

/// The body of an operation that takes none. Some clients send an empty object.
#[derive(Deserialize)]
struct Nothing {}

async fn refuse_body(request: Request, describe: fn() -> Operation) -> Result<Request, Refusal> {
    let is_empty = request.body().size_hint().exact() == Some(0);
    if is_empty || describe().request_body.is_some() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    if !body.is_empty() {
        parse_body::<Nothing>(&body)?;
    }
    Ok(Request::from_parts(parts, Body::empty()))
}

fn refuse_unknown(query: Option<&str>, describe: fn() -> Operation) -> Result<(), FieldError> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(());
    };
    let parameters = describe().parameters.unwrap_or_default();
    let is_known = |name: &str| {
        parameters.iter().any(|known| match known {
            RefOr::T(known) => known.parameter_in == ParameterIn::Query && known.name == name,
            RefOr::Ref(_) => false,
        })
    };
    let unknown = pairs(query)?
        .into_keys()
        .find(|name| !is_known(name) && !HARMLESS.contains(&&**name));
    match unknown {
        Some(name) => Err(unknown_field(vec!["query".to_owned(), name])),
        None => Ok(()),
    }
}

/// Handlers of one path; path and methods are those of their `#[utoipa::path]`.
macro_rules! routes {
    ($first:ident $(, $more:ident)*) => {
        utoipa_axum::paste! {{
            use utoipa::Path as _;
            use utoipa_axum::PathItemExt as _;
            $(debug_assert_eq!([<__path_ $first>]::path(), [<__path_ $more>]::path());)*
            let methods = $crate::routes::guarded!($first);
            $(let methods = methods.merge($crate::routes::guarded!($more));)*
            $crate::routes::Route {
                path: [<__path_ $first>]::path(),
                methods,
                describe: || utoipa_axum::routes!($first $(, $more)*),
            }
        }}
    };
}
/// The methods of one handler's `#[utoipa::path]`.
macro_rules! guarded {
    ($handler:ident) => {
        utoipa_axum::paste! {{
            let methods = [<__path_ $handler>]::methods()
                .iter()
                .fold(axum::routing::MethodRouter::new(), |methods, method| {
                    methods.on(method.to_method_filter(), $handler)
                });
            $crate::routes::with_known_parts(methods, [<__path_ $handler>]::operation)
        }}
    };
}

pub(crate) use {guarded, routes};
