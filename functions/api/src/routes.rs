//! Routes, each with its description. Routes are made at every start; descriptions, which took twice as
//! long as everything else of a start, only when somebody asks for them.

use std::sync::Arc;

use axum::{Router, routing::MethodRouter};
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::Api;

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

/// Handlers of one path; path and methods are those of their `#[utoipa::path]`.
macro_rules! routes {
    ($first:ident $(, $more:ident)*) => {
        utoipa_axum::paste! {{
            use utoipa::Path as _;
            use utoipa_axum::PathItemExt as _;
            $(debug_assert_eq!([<__path_ $first>]::path(), [<__path_ $more>]::path());)*
            let methods = axum::routing::MethodRouter::new();
            let methods = [<__path_ $first>]::methods()
                .iter()
                .fold(methods, |methods, method| methods.on(method.to_method_filter(), $first));
            $(
                let methods = [<__path_ $more>]::methods()
                    .iter()
                    .fold(methods, |methods, method| methods.on(method.to_method_filter(), $more));
            )*
            $crate::routes::Route {
                path: [<__path_ $first>]::path(),
                methods,
                describe: || utoipa_axum::routes!($first $(, $more)*),
            }
        }}
    };
}
pub(crate) use routes;
