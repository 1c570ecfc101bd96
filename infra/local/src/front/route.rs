//! Which route handles a request (Amazon API Gateway: "Create routes for HTTP APIs"): a full match
//! before a greedy one, then, segment by segment, the more specific path before the less specific
//! one.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::template::Route;

/// How a segment of a route matched, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matched {
    Literally,
    AsVariable,
    Greedily,
}

/// The variables of a path.
pub(super) type Variables = BTreeMap<String, String>;

/// The route that handles a request, and the variables of its path. `path` was percent-decoded
/// once.
pub(super) fn find<'r, T>(
    routes: &'r [(Route, T)],
    method: &str,
    path: &str,
) -> Option<(&'r (Route, T), Variables)> {
    let candidates = routes.iter().filter_map(|it| {
        let (route, _) = it;
        let is_any = route.method == "ANY";
        let (matched, variables) = matches(&route.path, path)?;
        (is_any || route.method == method).then_some((matched, is_any, it, variables))
    });
    let best = candidates.min_by(|a, b| rank(&a.0, a.1, &b.0, b.1));
    best.map(|(_, _, route, variables)| (route, variables))
}

fn rank(a: &[Matched], a_is_any: bool, b: &[Matched], b_is_any: bool) -> Ordering {
    let is_greedy = |matched: &[Matched]| matched.contains(&Matched::Greedily);
    let by_kind = is_greedy(a).cmp(&is_greedy(b));
    by_kind.then_with(|| a.cmp(b)).then(a_is_any.cmp(&b_is_any))
}

/// How the segments of a route match a path. A greedy variable matches the whole rest, even an
/// empty one after a slash.
fn matches(route: &str, path: &str) -> Option<(Vec<Matched>, Variables)> {
    let (mut matched, mut variables) = (Vec::new(), Variables::new());
    let mut left = Some(path);
    for wanted in route.split('/') {
        let rest = left?;
        let variable = wanted.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        if let Some(name) = variable.and_then(|name| name.strip_suffix('+')) {
            variables.insert(name.to_owned(), rest.to_owned());
            matched.push(Matched::Greedily);
            return Some((matched, variables));
        }
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        match variable {
            Some(name) if !segment.is_empty() => {
                variables.insert(name.to_owned(), segment.to_owned());
                matched.push(Matched::AsVariable);
            }
            None if segment == wanted => matched.push(Matched::Literally),
            _ => return None,
        }
        left = after;
    }
    left.is_none().then_some((matched, variables))
}
