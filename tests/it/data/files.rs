//! The files of a data set as others are told of them, and whether images are found and are those that are meant.

use std::fs;

use fastrcaps::learn::data::{DataConfig, DataDirs, DatasetName, files_of, load};

use crate::cli::{program, succeed};

fn of(name: &str) -> DataConfig {
    DataConfig { name: DatasetName::named(name).unwrap(), ..DataConfig::default() }
}

const MNIST: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"];

#[test]
fn the_files_of_a_published_data_set_are_found_in_another_folder_by_the_same_names() {
    for below in ["", "mnist", "mnist/raw", "MNIST/raw"] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(below)).unwrap();
        MNIST.iter().for_each(|name| fs::write(folder.path().join(below).join(name), name).unwrap());
        let files = files_of(&of("mnist"), &DataDirs::at(folder.path())).unwrap().unwrap();
        assert_eq!((files.names.len(), files.own), (4, None), "{below}");
        let other = tempfile::tempdir().unwrap();
        for name in &files.names {
            let to = other.path().join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(files.from.join(name), to).unwrap();
        }
        let again = files_of(&of("mnist"), &DataDirs::at(other.path())).unwrap().unwrap();
        assert_eq!((&again.names, &again.identity), (&files.names, &files.identity));
        fs::write(other.path().join(&files.names[0]), "other bytes").unwrap();
        let changed = files_of(&of("mnist"), &DataDirs::at(other.path())).unwrap().unwrap();
        assert_ne!(changed.identity, files.identity);
    }
    assert_eq!(files_of(&of("glyphs"), &DataDirs::at("/nowhere")).unwrap(), None, "they are drawn");
}

#[test]
fn has_data_says_whether_images_are_found_and_are_those_that_are_meant() {
    let folder = tempfile::tempdir().unwrap();
    let glyphs =
        DataConfig { train_samples: Some(60), test_samples: Some(20), validation_fraction: 0.5, ..of("glyphs") };
    let here = load(&glyphs, &DataDirs::at("")).unwrap().fingerprint;
    let ask = |config: &DataConfig, fingerprint: &str| {
        let selection = serde_json::to_string(config).unwrap();
        succeed(folder.path(), &["has-data", &selection, fingerprint, "--data-dir", "data"])
    };
    assert_eq!(ask(&glyphs, &here).trim(), "here");
    assert!(ask(&glyphs, "0123456789abcdef").contains(&here));
    assert!(ask(&of("mnist"), &here).contains("mnist not found"));
    let refused = program().args(["has-data", "{", "x"]).output().unwrap();
    assert!(!refused.status.success());
}
