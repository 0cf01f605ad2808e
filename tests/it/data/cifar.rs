//! The CIFAR-10 reader, from files and from the archive.

use std::{fs, io::Write, path::Path};

use fastrcaps::learn::data::{DataConfig, DataDirs, DatasetName, cifar, load, sets::cifar10};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

const RECORD: usize = 1 + 3 * 32 * 32;

/// A file of 10 000 images: image i is of class i mod 10, all its pixels are `fill`.
fn batch_file(fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; cifar::IMAGES_PER_FILE * RECORD];
    for (index, record) in bytes.chunks_exact_mut(RECORD).enumerate() {
        record[0] = (index % 10) as u8;
    }
    bytes
}

fn write_archive(path: &Path, names: &[&str]) {
    let mut archive = tar::Builder::new(GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast()));
    for (index, name) in names.iter().enumerate() {
        let bytes = batch_file(index as u8);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[test]
fn files_and_archive_give_the_same_data_set() {
    let (files, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = files.path().join("cifar10/cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    for (index, name) in cifar::FILES.iter().enumerate() {
        fs::write(folder.join(name), batch_file(index as u8)).unwrap();
    }
    write_archive(&archive.path().join("cifar-10-binary.tar.gz"), &cifar::FILES);
    let config = DataConfig {
        name: DatasetName::named("cifar10").unwrap(),
        train_samples: Some(500),
        test_samples: Some(100),
        ..DataConfig::default()
    };
    let data = load(&config, &DataDirs::at(files.path())).unwrap();
    assert_eq!(data.fingerprint, load(&config, &DataDirs::at(archive.path())).unwrap().fingerprint);
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (450, 50, 100));
    assert_eq!(data.shape.pixels(), 3072);
    assert!(data.test.pixels.iter().all(|&byte| byte == 5), "the test images come from test_batch.bin");
    assert_eq!(data.train.class_counts(10), [45; 10]);
}

#[test]
fn an_archive_that_lacks_a_file_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cifar-10-binary.tar.gz");
    write_archive(&path, &cifar::FILES[..5]);
    let error = format!("{:#}", cifar::read_archive(&path, &cifar10::SET).unwrap_err());
    assert!(error.ends_with("lacks test_batch.bin"), "{error}");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = format!("{:#}", cifar::read_archive(&path, &cifar10::SET).unwrap_err());
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn an_error_says_what_was_found_and_what_was_expected() {
    let error = |bytes: &[u8]| cifar::parse(bytes, 2, &cifar10::SET).unwrap_err().to_string();
    assert!(error(&vec![0; 2 * RECORD - 1]).contains("6145 bytes, where 2 CIFAR-10 images take 6146"));
    assert!(error(&vec![0; 2 * RECORD + 1]).starts_with("more than the 6146 bytes"));
    let mut bytes = vec![0; 2 * RECORD];
    bytes[RECORD] = 10;
    assert_eq!(error(&bytes), "label 10 of image 1, where 0 to 9 were expected");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let start = bytes.len() / 2;
        for content in [bytes.clone(), [&[0x1f, 0x8b, 8], &bytes[start..]].concat()] {
            fs::write(file.path(), content).unwrap();
            prop_assert!(cifar::read_file(file.path(), &cifar10::SET).is_err());
            prop_assert!(cifar::read_archive(file.path(), &cifar10::SET).is_err());
        }
    }
}
