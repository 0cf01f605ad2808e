//! The IDX reader takes nothing else for an image or label file.

use std::{fs, io::Write};

use fastrcaps::learn::data::{ImageShape, idx};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

const SHAPE: ImageShape = ImageShape { channels: 1, height: 3, width: 2 };
const COUNT: usize = 4;

fn image_file() -> Vec<u8> {
    let header = [0x803_u32, COUNT as u32, 3, 2].map(u32::to_be_bytes).concat();
    [header, (0..24).collect()].concat()
}

fn label_file() -> Vec<u8> {
    let header = [0x801_u32, COUNT as u32].map(u32::to_be_bytes).concat();
    [header, vec![0, 9, 3, 1]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_images(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    idx::read_images(file.path(), COUNT, SHAPE).map_err(|error| {
        let text = format!("{error:#}");
        assert!(text.contains(&file.path().display().to_string()), "the error names no file: {text}");
        text
    })
}

fn images_error(bytes: &[u8]) -> String {
    format!("{:#}", idx::check_images(bytes, COUNT, SHAPE).unwrap_err())
}

fn labels_error(bytes: &[u8]) -> String {
    format!("{:#}", idx::check_labels(bytes, COUNT, 10).unwrap_err())
}

#[test]
fn a_file_is_read_raw_and_compressed_whatever_its_name() {
    let pixels: Vec<u8> = (0..24).collect();
    assert_eq!(read_images(&image_file()).unwrap(), pixels);
    assert_eq!(read_images(&gzip(&image_file())).unwrap(), pixels);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), gzip(&label_file())).unwrap();
    assert_eq!(idx::read_labels(file.path(), COUNT, 10).unwrap(), [0, 9, 3, 1]);
}

#[test]
fn an_error_says_what_was_found_and_what_was_expected() {
    let changed = |mut bytes: Vec<u8>, at: usize, byte: u8| {
        bytes[at] = byte;
        bytes
    };
    assert_eq!(images_error(&[]), "only 0 bytes: the header of IDX images takes 16");
    assert!(images_error(&label_file().repeat(2)).contains("starts with 0x00000801, where 0x00000803"));
    assert_eq!(images_error(&changed(image_file(), 7, 5)), "5 images, where 4 were expected");
    assert_eq!(images_error(&changed(image_file(), 4, 255)), "4278190084 images, where 4 were expected");
    assert_eq!(images_error(&changed(image_file(), 15, 3)), "images of 3×3 pixels, where 3×2 were expected");
    assert_eq!(images_error(&image_file()[..39]), "39 bytes, where its header announces 40: cut short");
    assert_eq!(images_error(&[image_file(), vec![0]].concat()), "more than the 40 bytes its header announces");
    assert_eq!(labels_error(&changed(label_file(), 9, 10)), "label 10 of image 1, where 0 to 9 were expected");
    assert_eq!(labels_error(&changed(label_file(), 7, 3)), "3 labels, where 4 were expected");
}

#[test]
fn damaged_and_endless_gzip_is_an_error_that_names_the_file() {
    let whole = gzip(&image_file());
    assert!(read_images(&whole[..whole.len() - 9]).unwrap_err().contains("damaged or incomplete"));
    assert!(read_images(&[whole.clone(), b"tail".to_vec()].concat()).unwrap_err().contains("damaged or incomplete"));
    // 64 MiB of zeros in 64 KiB: no more than the expected size is ever inflated.
    let endless = gzip(&[image_file(), vec![0; 1 << 26]].concat());
    assert!(read_images(&endless).unwrap_err().contains("more than the 40 bytes"));
}

#[test]
fn a_missing_file_and_a_folder_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert!(idx::read_images(folder.path(), COUNT, SHAPE).is_err());
    let error = idx::read_images(&folder.path().join("none"), COUNT, SHAPE).unwrap_err();
    assert!(format!("{error:#}").contains("cannot open"), "{error:#}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = idx::check_images(&bytes, COUNT, SHAPE);
        let _ = idx::check_labels(&bytes, COUNT, 10);
        let _ = read_images(&bytes);
        let _ = read_images(&[vec![0x1f, 0x8b], bytes].concat());
    }

    #[test]
    fn a_truncated_file_is_an_error(length in 0_usize..40) {
        prop_assert!(read_images(&image_file()[..length]).is_err());
        let whole = gzip(&image_file());
        prop_assert!(read_images(&whole[..length.min(whole.len() - 1)]).is_err());
    }

    #[test]
    fn a_flipped_bit_in_a_gzip_file_never_changes_the_images(bit in 0_usize..8 * 40) {
        let mut bytes = gzip(&image_file());
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Bits of the gzip header that carry no meaning may flip; the checksum guards the rest.
        if let Ok(pixels) = read_images(&bytes) {
            prop_assert_eq!(pixels, (0..24).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn a_flipped_bit_in_a_header_is_an_error(bit in 0_usize..8 * 16) {
        let mut bytes = image_file();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(idx::check_images(&bytes, COUNT, SHAPE).is_err());
    }
}
