//! Fuzzing of what comes from the queue.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

use bolero::check;
use posthorn_queue::{Task, Work};

/// A task as it is on the queue.
const TASK: &str = r#"{"attempt":{"organization":"org_2KWPBgLlAfxdpx2AI54pPJ85f4W","application":"app_2KWPBgLlAfxdpx2AI54pPJ85f4W","endpoint":"ep_2KWPBgLlAfxdpx2AI54pPJ85f4W","revision":3,"message":"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W","event_type":"invoice.paid","shards":4,"attempt":0,"expires_at":1795253400000,"payload":{ "z": "\u00e9", "a" : 1.0 }}}"#;

const JOB: &str = r#"{"job":{"organization":"org_2KWPBgLlAfxdpx2AI54pPJ85f4W","endpoint":"ep_2KWPBgLlAfxdpx2AI54pPJ85f4W","job":"qtask_2KWPBgLlAfxdpx2AI54pPJ85f4W"}}"#;

#[test]
fn fuzz_a_record_is_a_task_or_refused_and_a_task_survives_its_body() {
    type Edits = Vec<(u16, Option<char>)>;
    assert!(Work::from_body(TASK).is_ok() && Work::from_body(JOB).is_ok());
    check!()
        .with_iterations(50_000)
        .with_type::<(bool, Edits)>()
        .for_each(|(is_job, edits)| {
            let mut body: Vec<char> = if *is_job { JOB } else { TASK }.chars().collect();
            for (at, other) in edits {
                let at = usize::from(*at) % body.len().max(1);
                match other {
                    Some(other) if at < body.len() => body[at] = *other,
                    _ => body.truncate(at.max(1)),
                }
            }
            let body: String = body.into_iter().collect();
            if let Ok(Work::Attempt(task)) = Work::from_body(&body) {
                let again = Task::from_body(&task.to_body().unwrap()).unwrap();
                assert_eq!(*task, again, "{body}");
            }
        });
}
