//! The template and the code agree.

use std::collections::BTreeMap;

use posthorn_local::template::Template;

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
