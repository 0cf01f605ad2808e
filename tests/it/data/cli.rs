//! `fastrcaps data` as a user calls it.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use super::load::real_mnist;

fn data(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fastrcaps")).arg("data").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn list_shows_every_data_set_and_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = data(&["list", "--data-dir", folder.path().to_str().unwrap()]);
    assert!(output.status.success());
    let table = text(&output.stdout);
    for part in ["glyphs", "built in", "28×28×1", "32×32×3", "fastrcaps data fetch cifar10"] {
        assert!(table.contains(part), "{part} is missing from:\n{table}");
    }
}

#[test]
fn glyphs_are_verified_by_drawing_them() {
    let output = data(&["verify", "glyphs"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("    9      500      100\n  all     5000     1000"));
}

#[test]
fn mnist_is_verified_by_its_contents() {
    let Some(folder) = real_mnist() else { return };
    let output = data(&["verify", "mnist", "--data-dir", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    assert_eq!(report.matches("the published").count(), 4, "{report}");
    assert!(report.contains("    0     5923      980\n"), "{report}");
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let output = data(&["fetch", "minst"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("glyphs, mnist, fashion-mnist, cifar10"));
}

#[test]
fn a_fetch_without_a_network_says_which_files_to_place_where() {
    let folder = tempfile::tempdir().unwrap();
    // A port that nobody listens on: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mirror = format!("http://127.0.0.1:{port}/mnist");
    let output = data(&["fetch", "mnist", "--mirror", &mirror, "--data-dir", folder.path().to_str().unwrap()]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    let place = folder.path().join("mnist");
    for part in [&format!("{mirror}/t10k-labels-idx1-ubyte.gz"), place.to_str().unwrap()] {
        assert!(error.contains(part), "{part} is missing from:\n{error}");
    }
    assert_eq!(place.read_dir().unwrap().count(), 0, "nothing half-written is left");
}
