//! Every soak has a file of its own, whose name is its name in `make soak`.

use std::fs;

#[test]
fn every_file_of_the_soaks_has_exactly_one_soak() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soaks")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let is_soak = |name: &str| !["main", "long_form"].contains(&name);
    let mut soaks = 0;
    for path in paths.filter(|path| is_soak(path.file_stem().unwrap().to_str().unwrap())) {
        let source = fs::read_to_string(&path).unwrap();
        assert_eq!(source.matches("\n#[apply(soak)]\n").count(), 1, "{}", path.display());
        soaks += 1;
    }
    assert!(soaks >= 19, "only {soaks}");
}
