//! Loading: the split, its identity, and where files are found.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use fastrcaps::learn::data::{Counts, DataConfig, DataDirs, Dataset, DatasetName, Images, in_turn, load};

fn nowhere() -> DataDirs {
    DataDirs::at("/nonexistent")
}

fn glyphs(train: usize) -> DataConfig {
    DataConfig { train_samples: Some(train), test_samples: Some(50), ..DataConfig::default() }
}

/// The folder of real MNIST beside the project, where there is one.
pub fn real_mnist() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mnist");
    if !folder.join("train-images-idx3-ubyte.gz").is_file() {
        crate::skipped::skipped(format_args!("no MNIST in {}", folder.display()));
        return None;
    }
    Some(folder)
}

fn counts(data: &Dataset) -> Counts {
    Counts { train: data.train.len(), validation: data.validation.len(), test: data.test.len() }
}

#[test]
fn the_splits_have_the_sizes_that_the_config_announces() {
    for (samples, fraction) in [(20, 0.5), (25, 0.42), (101, 0.1), (999, 0.333), (5000, 0.1)] {
        let config = DataConfig { validation_fraction: fraction, ..glyphs(samples) };
        assert_eq!(counts(&load(&config, &nowhere()).unwrap()), config.counts());
    }
}

#[test]
fn validation_is_held_out_stratified_and_by_the_seed_of_the_data() {
    let data = load(&glyphs(1000), &nowhere()).unwrap();
    assert_eq!(data.validation.class_counts(10), [10; 10]);
    assert_eq!(data.train.class_counts(10), [90; 10]);
    let held_out: HashSet<&[u8]> = (0..data.validation.len()).map(|index| data.validation.image(index)).collect();
    assert!((0..data.train.len()).all(|index| !held_out.contains(data.train.image(index))));
}

#[test]
fn the_fingerprint_tells_contents_apart_and_nothing_else() {
    let print = |config: DataConfig| load(&config, &nowhere()).unwrap().fingerprint;
    assert_eq!(print(glyphs(200)), print(glyphs(200)));
    assert_eq!(print(glyphs(200)), print(DataConfig { shift: 0, ..glyphs(200) }));
    assert_ne!(print(glyphs(200)), print(glyphs(210)));
    assert_ne!(print(glyphs(200)), print(DataConfig { seed: 1, ..glyphs(200) }));
    assert_ne!(print(glyphs(200)), print(DataConfig { validation_fraction: 0.2, ..glyphs(200) }));
}

#[test]
fn the_default_glyphs_are_the_same_bits_on_every_machine() {
    assert_eq!(load(&DataConfig::default(), &nowhere()).unwrap().fingerprint, "f2d6e0aaacff5f8d");
}

#[test]
fn a_missing_data_set_is_an_error_that_says_where_what_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let config = DataConfig { name: DatasetName::named("fashion-mnist").unwrap(), ..DataConfig::default() };
    let error = format!("{:#}", load(&config, &DataDirs::at(folder.path())).unwrap_err());
    let place = folder.path().display();
    for part in [
        &format!("looked in: {place}/fashion-mnist, {place}\n"),
        "train-images-idx3-ubyte",
        "fastrcaps data fetch fashion-mnist",
    ] {
        assert!(error.contains(part), "{part} is missing from: {error}");
    }
    let config = DataConfig { name: DatasetName::named("cifar10").unwrap(), ..config };
    let error = format!("{:#}", load(&config, &DataDirs::at(folder.path())).unwrap_err());
    assert!(error.contains("cifar-10-binary.tar.gz"), "{error}");
}

#[test]
fn files_are_found_below_as_torchvision_lays_them_and_under_dotted_names() {
    for (below, dot, gz) in
        [("MNIST/raw", "-", ""), ("mnist/MNIST/raw", "-", ".gz"), ("raw", "-", ""), ("", ".", ".gz")]
    {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join(below);
        fs::create_dir_all(&dir).unwrap();
        for name in ["train-images", "t10k-images", "train-labels", "t10k-labels"] {
            let kind = if name.ends_with("images") { "idx3" } else { "idx1" };
            fs::write(dir.join(format!("{name}{dot}{kind}-ubyte{gz}")), b"").unwrap();
        }
        let found = DataDirs::at(folder.path()).find(DatasetName::named("mnist").unwrap()).unwrap();
        assert_eq!(found.dir, dir.components().collect::<PathBuf>());
    }
}

#[test]
fn another_version_of_a_data_set_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cifar-10-batches-py")).unwrap();
    fs::write(folder.path().join("mnist.npz"), b"").unwrap();
    for (name, said) in [
        (
            DatasetName::named("cifar10").unwrap(),
            "cifar-10-batches-py is the Python version, which is pickled: it is not read",
        ),
        (DatasetName::named("mnist").unwrap(), "mnist.npz is Keras's NumPy version: it is not read"),
    ] {
        let error = DataDirs::at(folder.path()).find(name).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("fastrcaps data fetch"), "{error}");
    }
}

#[test]
fn a_damaged_file_is_an_error_that_says_how_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    {
        fs::write(folder.path().join(name), b"no data").unwrap();
    }
    let config = DataConfig { name: DatasetName::named("mnist").unwrap(), ..DataConfig::default() };
    let error = format!("{:#}", load(&config, &DataDirs::at(folder.path())).unwrap_err());
    for part in ["fastrcaps data verify mnist", "fastrcaps data fetch mnist", "train-images-idx3-ubyte", "only 7 bytes"]
    {
        assert!(error.contains(part), "{part} is missing from: {error}");
    }
}

#[test]
fn mnist_is_loaded_from_its_folder_and_from_the_folder_above() {
    let Some(folder) = real_mnist() else { return };
    let config = DataConfig { name: DatasetName::named("mnist").unwrap(), ..DataConfig::default() };
    let start = Instant::now();
    let data = load(&config, &DataDirs::at(&folder)).unwrap();
    println!("MNIST loaded in {:?}", start.elapsed());
    assert_eq!(counts(&data), config.counts());
    assert_eq!(counts(&data), Counts { train: 54_000, validation: 6000, test: 10_000 });
    assert_eq!(data.test.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    assert_eq!(data.validation.class_counts(10), [592, 674, 596, 613, 584, 542, 592, 627, 585, 595]);
    let above = load(&config, &DataDirs::at(folder.parent().unwrap())).unwrap();
    assert_eq!(above.fingerprint, data.fingerprint);
}

#[test]
fn a_subset_of_mnist_is_stratified() {
    let Some(folder) = real_mnist() else { return };
    let config = DataConfig {
        name: DatasetName::named("mnist").unwrap(),
        train_samples: Some(20),
        validation_fraction: 0.5,
        test_samples: Some(10),
        ..DataConfig::default()
    };
    let data = load(&config, &DataDirs::at(&folder)).unwrap();
    assert_eq!(data.train.class_counts(10), [1; 10]);
    assert_eq!(data.validation.class_counts(10), [1; 10]);
    assert_eq!(data.test.class_counts(10), [1; 10]);
}

#[test]
fn mnist_is_not_taken_for_fashion_mnist() {
    let Some(folder) = real_mnist() else { return };
    let config = DataConfig { name: DatasetName::named("fashion-mnist").unwrap(), ..DataConfig::default() };
    let error = format!("{:#}", load(&config, &DataDirs::at(&folder)).unwrap_err());
    assert!(error.contains("fashion-mnist not found") && error.contains("is mnist"), "{error}");
}

#[test]
fn a_few_images_are_of_each_class_in_turn() {
    let labels = [2, 2, 2, 0, 0, 1, 2, 0];
    assert_eq!(in_turn(&labels, 5), [3, 5, 0, 4, 1]);
    assert_eq!(in_turn(&labels, 100).len(), labels.len());
    let images = Images { pixels: (0..8).collect(), labels: labels.to_vec() };
    let few = images.of_each_class(3);
    assert_eq!((few.labels, few.pixels), (vec![0, 1, 2], vec![3, 5, 0]));
}
