//! The template and the code agree.

use std::collections::BTreeMap;

use posthorn_local::template::Template;
use posthorn_tests::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_template_is_served_and_nothing_but_health_is_open() {
    let world = World::start().await;
    let template = Template::load(&BTreeMap::new(), "").unwrap();
    let mut checked = 0;
    for route in template
        .functions
        .iter()
        .flat_map(|function| &function.routes)
    {
        let path = route.path.replace(['{', '}'], "");
        let answer = world
            .request(&route.method, &path, Some("{}"), &[], None)
            .await;
        let expected = if path.starts_with("/api/v1/health") {
            204
        } else {
            401
        };
        assert_eq!(
            answer.status, expected,
            "{} {path}: {answer:?}",
            route.method
        );
        checked += 1;
    }
    assert!(checked >= 23, "{checked} routes");
}

#[test]
fn every_function_folder_is_in_the_template() {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../functions")).unwrap();
    let mut folders: Vec<_> = folders
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let template = Template::load(&BTreeMap::new(), "").unwrap();
    let mut binaries: Vec<_> = template
        .functions
        .iter()
        .map(|function| function.binary.clone())
        .collect();
    folders.sort();
    binaries.sort();
    assert_eq!(folders, binaries);
}
