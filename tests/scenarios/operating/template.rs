//! The template and the code agree.

use std::collections::{BTreeMap, BTreeSet};

use posthorn_local::template::Template;

#[test]
fn every_function_folder_is_in_the_template() {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../functions")).unwrap();
    let folders: BTreeSet<_> = folders
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let template = Template::load(&BTreeMap::new(), "").unwrap();
    let functions = template.functions.iter();
    let binaries: BTreeSet<_> = functions.map(|it| it.binary.clone()).collect();
    assert_eq!(folders, binaries);
}

#[test]
fn the_template_encrypts_queues_and_opens_no_network() {
    let template = Template::load(&BTreeMap::new(), "").unwrap();
    assert_eq!(template.queues.len(), 3);
    for queue in &template.queues {
        let encryption = queue.attributes.get("SqsManagedSseEnabled");
        assert_eq!(
            encryption.map(String::as_str),
            Some("true"),
            "{}",
            queue.name
        );
    }
    for function in &template.functions {
        // Only the local stack may set this.
        assert!(
            !function.environment.contains_key("ALLOW_SUBNETS"),
            "{}",
            function.logical_id
        );
    }
}

#[test]
fn both_lanes_run_the_same_program_with_the_same_settings() {
    let template = Template::load(&BTreeMap::new(), "").unwrap();
    let [fast, slow] = ["DispatcherFunction", "SlowDispatcherFunction"].map(|id| {
        let function = template.functions.iter().find(|it| it.logical_id == id);
        function.unwrap()
    });
    assert_eq!(fast.binary, slow.binary);
    assert_eq!(fast.environment, slow.environment);
    assert_eq!(fast.timeout, slow.timeout);
}
