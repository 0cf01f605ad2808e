//! Images of the user's own: what is read, what is refused, and that a study knows them wherever they lie.

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
};

use fastrcaps::{
    base::source::Document,
    learn::{
        config::TrialConfig,
        data::{
            DataConfig, DataDirs, load,
            own::{self, Inspected, Looked, MOST_CLASSES, Whole, Wishes},
        },
    },
    search::space::Space,
};
use flate2::{Compression, write::GzEncoder};
use image::{GrayImage, ImageFormat, Rgb, RgbImage, RgbaImage};
use tempfile::TempDir;

/// An IDX file of bytes.
pub fn idx(sizes: &[usize], values: &[u8]) -> Vec<u8> {
    let magic = 0x800 | sizes.len() as u32;
    let words = [magic].into_iter().chain(sizes.iter().map(|size| *size as u32));
    [words.flat_map(u32::to_be_bytes).collect::<Vec<_>>(), values.to_vec()].concat()
}

/// An `.npy` file.
pub fn npy(kind: &str, sizes: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}\n");
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), values].concat()
}

/// An `.npz` file, deflated.
pub fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Pixels of no meaning, other ones for each image.
fn pixels(count: usize, of_an_image: usize) -> Vec<u8> {
    (0..count * of_an_image).map(|at| (at * 97 % 251) as u8).collect()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn training(images: Vec<u8>, labels: Vec<u8>) -> [(&'static str, Vec<u8>); 2] {
    [("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)]
}

/// Ten images of each of `labels`, of `size` pixels, and no test part.
fn letters(labels: &[u8], [height, width]: [usize; 2]) -> TempDir {
    let count = 10 * labels.len();
    let all: Vec<u8> = (0..count).map(|index| labels[index % labels.len()]).collect();
    folder(&training(idx(&[count, height, width], &pixels(count, height * width)), idx(&[count], &all)))
}

fn inspect(path: &Path) -> Inspected {
    own::inspect(path.to_str().unwrap(), None, Wishes::default()).unwrap()
}

fn whole(path: &Path) -> Whole {
    inspect(path).whole
}

/// Why what lies there cannot be read.
fn refusal(path: &Path, format: &str, wishes: Wishes) -> String {
    match own::inspect(path.to_str().unwrap(), Some(format), wishes) {
        Ok(_) => panic!("{} was read", path.display()),
        Err(error) => format!("{error:#}"),
    }
}

fn assert_refused(path: &Path, format: &str, why: &str) {
    let error = refusal(path, format, Wishes::default());
    assert!(error.contains(why), "{why:?} is missing from: {error}");
}

/// The config of a training on what a `[data]` table names.
fn config(data: &str) -> TrialConfig {
    let mut data: toml::Table = data.parse().unwrap();
    // Each class has an image to validate on.
    data.insert("validation_fraction".into(), 0.25.into());
    Looked::at(&data.clone(), Path::new("")).unwrap().unwrap().complete(&mut data);
    let mut table: toml::Table = "model = { preset = 'tiny', conv1_kernel = 3, primary_kernel = 3 }".parse().unwrap();
    table.insert("data".into(), data.into());
    TrialConfig::resolve(table).unwrap()
}

fn named(format: &str, path: &Path) -> String {
    format!("name = '{format}'\npath = '{}'\n", path.display())
}

#[test]
fn idx_files_of_any_size_are_read_with_the_labels_that_occur_as_classes() {
    let labels: Vec<u8> = (1..=26).collect();
    let data = letters(&labels, [20, 24]);
    let Inspected { format, whole, .. } = inspect(data.path());
    assert_eq!(format, "idx");
    assert_eq!((whole.shape.channels, whole.shape.height, whole.shape.width), (1, 20, 24));
    assert_eq!(whole.class_names, (1..=26).map(|label| label.to_string()).collect::<Vec<_>>());
    assert_eq!(whole.notes, Vec::<String>::new());
    let gaps = whole_of_labels(&[3, 9, 200]);
    assert_eq!(gaps.class_names, ["3", "9", "200"]);
    assert!(gaps.notes[0].contains("skip numbers"), "{:?}", gaps.notes);
}

fn whole_of_labels(labels: &[u8]) -> Whole {
    whole(letters(labels, [8, 8]).path())
}

#[test]
fn where_there_is_no_test_part_the_same_fifth_of_each_class_is_held_out() {
    let data = letters(&[0, 1, 2], [8, 8]);
    let found = whole(data.path());
    assert!(found.is_held_out);
    assert_eq!(found.test.class_counts(3), [2, 2, 2]);
    assert_eq!(found.train.class_counts(3), [8, 8, 8]);
    let again = whole(data.path());
    assert_eq!((&found.train, &found.test), (&again.train, &again.test));
    let all: Vec<&[u8]> =
        (0..24).map(|index| found.train.image(index)).chain((0..6).map(|index| found.test.image(index))).collect();
    let distinct: std::collections::HashSet<&&[u8]> = all.iter().collect();
    assert_eq!(distinct.len(), 30, "no image is in both parts");
}

#[test]
fn files_are_found_with_prefixes_dots_gzip_channels_and_columns() {
    let gzip = |bytes: Vec<u8>| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let labels = |count: usize| (0..count).map(|index| (index % 2) as u8).collect::<Vec<u8>>();
    let dotted = folder(&[
        ("raw/train-images.idx3-ubyte.gz", gzip(idx(&[20, 8, 8], &pixels(20, 64)))),
        ("raw/train-labels.idx1-ubyte", idx(&[20], &labels(20))),
        ("raw/t10k-images.idx3-ubyte", idx(&[4, 8, 8], &pixels(4, 64))),
        ("raw/t10k-labels.idx1-ubyte.gz", gzip(idx(&[4], &labels(4)))),
    ]);
    let found = whole(dotted.path());
    assert_eq!((found.train.len(), found.test.len(), found.is_held_out), (20, 4, false));

    // Channels last become channels first.
    let colour = folder(&[
        ("train-images-idx4-ubyte", idx(&[20, 8, 8, 3], &pixels(20, 192))),
        ("train-labels-idx1-ubyte", idx(&[20], &labels(20))),
        ("test-images-idx4-ubyte", idx(&[4, 8, 8, 3], &pixels(4, 192))),
        ("test-labels-idx1-ubyte", idx(&[4], &labels(4))),
    ]);
    let found = whole(colour.path());
    assert_eq!(found.shape.channels, 3);
    let image = &pixels(1, 192);
    let planes: Vec<u8> = (0..3).flat_map(|channel| image.iter().skip(channel).step_by(3).copied()).collect();
    assert_eq!(found.train.image(0), planes);

    // As QMNIST: integers of four bytes in eight columns; and two sets in one folder.
    let rows: Vec<u8> =
        (0..20_u32).flat_map(|index| [(index % 2).to_be_bytes().to_vec(), vec![9; 28]].concat()).collect();
    let header = [0xc02_u32, 20, 8].map(u32::to_be_bytes).concat();
    let two = folder(&[
        ("qmnist-train-images-idx3-ubyte", idx(&[20, 8, 8], &pixels(20, 64))),
        ("qmnist-train-labels-idx2-int", [header, rows].concat()),
        ("other-train-images-idx3-ubyte", idx(&[20, 8, 8], &pixels(20, 64))),
        ("other-train-labels-idx1-ubyte", idx(&[20], &labels(20))),
    ]);
    assert_eq!(whole(&two.path().join("qmnist")).class_names, ["0", "1"]);
    assert_refused(two.path(), "idx", "several data sets");
}

#[test]
fn pictures_of_several_sizes_are_refused_until_a_size_is_given() {
    let data = tempfile::tempdir().unwrap();
    for (class, name) in ["ant", "bee"].iter().enumerate() {
        fs::create_dir(data.path().join(name)).unwrap();
        for index in 0..6 {
            let (width, height) = if index == 5 { (30, 20) } else { (16, 12) };
            let image = RgbImage::from_pixel(width, height, Rgb([40 * index as u8, 90 * class as u8, 7]));
            let (file, format) = if index % 2 == 0 { ("png", ImageFormat::Png) } else { ("jpg", ImageFormat::Jpeg) };
            image.save_with_format(data.path().join(name).join(format!("{index}.{file}")), format).unwrap();
        }
    }
    let error = refusal(data.path(), "folder", Wishes::default());
    assert!(error.contains("5.jpg 20×30; data.resize = [height, width]"), "{error}");
    let wishes = Wishes { resize: Some([8, 10]), channels: None };
    let Inspected { whole, .. } = own::inspect(data.path().to_str().unwrap(), None, wishes).unwrap();
    assert_eq!((whole.shape.channels, whole.shape.height, whole.shape.width), (3, 8, 10));
    assert_eq!(whole.class_names, ["ant", "bee"]);
    let first = whole.train.image(0);
    assert!(first[..80].iter().all(|red| *red == first[0]), "{first:?}");

    GrayImage::new(16, 12).save(data.path().join("bee/grey.png")).unwrap();
    let error = refusal(data.path(), "folder", wishes);
    assert!(error.contains("grey.png is grey") && error.contains("data.channels"), "{error}");
    let grey = Wishes { channels: Some(1), ..wishes };
    let Inspected { whole, .. } = own::inspect(data.path().to_str().unwrap(), None, grey).unwrap();
    assert_eq!(whole.shape.channels, 1);
}

#[test]
fn folders_of_pictures_that_cannot_be_meant_are_refused() {
    let picture = |width, height| {
        let mut bytes = Cursor::new(Vec::new());
        GrayImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let good = || vec![("a/1.png", picture(8, 8)), ("a/2.png", picture(8, 8)), ("a/3.png", picture(8, 8))];
    let with = |more: Vec<(&'static str, Vec<u8>)>| folder(&[good(), more].concat());
    let empty = with(vec![]);
    fs::create_dir(empty.path().join("b")).unwrap();
    assert_refused(empty.path(), "folder", "/b holds no PNG or JPEG file");
    assert_refused(with(vec![]).path(), "folder", "1 classes; there must be at least 2");
    assert_refused(with(vec![("b/1.gif", vec![])]).path(), "folder", "1.gif is neither PNG nor JPEG");
    assert_refused(with(vec![("b/c/1.png", picture(8, 8))]).path(), "folder", "/b/c is a folder within");
    assert_refused(with(vec![("b/1.png", b"no picture".to_vec())]).path(), "folder", "1.png cannot be read");
    assert_refused(with(vec![("b/1.png", picture(8, 8))]).path(), "folder", "class b has 1 image");
    let mut jpeg = Cursor::new(Vec::new());
    GrayImage::from_fn(64, 64, |x, y| image::Luma([(x * y) as u8])).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let cut = with(vec![("b/1.jpg", jpeg[..jpeg.len() * 2 / 3].to_vec())]);
    let error = refusal(cut.path(), "folder", Wishes { resize: Some([8, 8]), channels: None });
    assert!(error.contains("1.jpg") && error.contains("cut short"), "{error}");
    let mut clear = Cursor::new(Vec::new());
    RgbaImage::new(8, 8).write_to(&mut clear, ImageFormat::Png).unwrap();
    let clear = with(vec![("b/1.png", clear.into_inner())]);
    let error = refusal(clear.path(), "folder", Wishes { resize: None, channels: Some(1) });
    assert!(error.contains("transparent"), "{error}");
    let one = folder(&[("a/1.png", picture(1, 1)), ("b/1.png", picture(1, 1))]);
    assert_refused(one.path(), "folder", "images of 1×1 pixels; 4×4 to 4096×4096 are read");
    let test =
        folder(&[("train/a/1.png", picture(8, 8)), ("train/b/1.png", picture(8, 8)), ("test/c/1.png", picture(8, 8))]);
    assert_refused(test.path(), "folder", "/test/c is a class to test on");
}

#[test]
fn a_picture_that_would_fill_the_memory_is_refused_by_its_header() {
    // 30 000 × 30 000 pixels of nothing: 2.7 GB in some hundred bytes.
    let chunk = |kind: &[u8], content: &[u8]| {
        let mut sum = flate2::Crc::new();
        sum.update(&[kind, content].concat());
        [&(content.len() as u32).to_be_bytes(), kind, content, &sum.sum().to_be_bytes()].concat()
    };
    let side = 30_000_u32.to_be_bytes();
    let head = [side.as_slice(), &side, &[8, 2, 0, 0, 0]].concat();
    let bomb =
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &head), chunk(b"IDAT", &[0x78, 0x9c]), chunk(b"IEND", b"")]
            .concat();
    let data = folder(&[("a/1.png", bomb.clone()), ("b/1.png", bomb)]);
    let error = refusal(data.path(), "folder", Wishes { resize: Some([64, 64]), channels: None });
    assert!(error.contains("1.png"), "{error}");
    // So are IDX files and arrays.
    let data = folder(&training(idx(&[2, 30_000, 30_000], &[0; 8]), idx(&[2], &[0, 1])));
    assert_refused(data.path(), "idx", "images of 30000×30000 pixels; 4×4 to 4096×4096 are read");
    let data = folder(&training(idx(&[1 << 24, 4096, 4096], &[0; 8]), idx(&[2], &[0, 1])));
    assert_refused(data.path(), "idx", "take more than 4 GiB of memory");
}

#[test]
fn idx_files_that_do_not_fit_together_are_refused() {
    let images = || idx(&[20, 8, 8], &pixels(20, 64));
    let labels =
        |count: usize, classes: usize| idx(&[count], &(0..count).map(|at| (at % classes) as u8).collect::<Vec<_>>());
    for (files, why) in [
        (folder(&training(images(), labels(19, 2))), "has 20 images, and"),
        (folder(&training(images()[..1000].to_vec(), labels(20, 2))), "which announces 1280: cut short"),
        (folder(&training([images(), vec![0]].concat(), labels(20, 2))), "more than the 1280 bytes"),
        (folder(&training(labels(20, 2), labels(20, 2))), "1 size in its header"),
        (folder(&training(b"not an IDX file".to_vec(), labels(20, 2))), "no IDX file"),
        (folder(&training(images(), labels(20, 1))), "1 classes; there must be at least 2"),
        (folder(&training(images(), labels(20, 15))), "class 0 has 2 images"),
        (folder(&training(idx(&[20, 8, 8, 5], &pixels(20, 320)), labels(20, 2))), "1 to 3 channels"),
        (folder(&[("train-images-idx3-ubyte", images())]), "both images and labels"),
        (folder(&[]), "no IDX files"),
        (
            folder(
                &[
                    training(images(), labels(20, 2)).as_slice(),
                    &[("t10k-images-idx3-ubyte", images()), ("t10k-labels-idx1-ubyte", labels(20, 3))],
                ]
                .concat(),
            ),
            "test image 2 has the label 2, which no training image has",
        ),
    ] {
        assert_refused(files.path(), "idx", why);
    }
    let data = letters(&[0, 1], [8, 8]);
    let error = refusal(data.path(), "idx", Wishes { resize: Some([8, 8]), channels: None });
    assert!(error.contains("data.resize and data.channels are for the format \"folder\""), "{error}");
}

#[test]
fn npz_arrays_are_read_and_objects_never_run() {
    let file = |arrays: &[(&str, Vec<u8>)]| folder(&[("data.npz", npz(arrays))]);
    let numbers = |labels: &[i64]| labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>();
    let classes: Vec<i64> = (0..20).map(|at| at % 2 - 1).collect();
    let images = || npy("|u1", "20, 8, 8", &pixels(20, 64));
    let data = file(&[("x", images()), ("y", npy("<i8", "20, 1", &numbers(&classes))), ("names", Vec::new())]);
    let found = whole(&data.path().join("data.npz"));
    assert_eq!(found.class_names, ["-1", "0"]);
    assert_eq!(found.notes, ["not read: names"]);
    let many: Vec<i64> = (0..70_000).collect();
    let labels = || npy("<i8", "20,", &numbers(&classes));
    for (arrays, why) in [
        (vec![("x", images()), ("y", npy("|O", "20,", b"cposix\nsystem\n"))], "array y: it holds Python objects"),
        (vec![("x", npy("<f4", "20, 8, 8", &[0; 5120])), ("y", labels())], "save images.astype('uint8')"),
        (vec![("x", images()), ("y", npy("<f8", "20,", &[0; 160]))], "labels are integers"),
        (vec![("x", images()), ("y", npy("|u1", "20, 2", &[0; 40]))], "save labels.argmax(1)"),
        (
            vec![("x", npy("|u1", "70000, 4, 4", &pixels(70_000, 16))), ("y", npy("<i8", "70000,", &numbers(&many)))],
            "70000 classes; at most 256",
        ),
        (
            vec![("x", npy("|u1", "20, 8, 9", &pixels(20, 64))), ("y", labels())],
            "1280 bytes where its header announces 1440",
        ),
        (vec![("a", images())], "its arrays are a; there must be x_train and y_train"),
        (vec![("x", b"no array".to_vec()), ("y", labels())], "no NumPy array"),
    ] {
        assert_refused(&file(&arrays).path().join("data.npz"), "npz", why);
    }
    let data = folder(&[("data.npz", b"no archive".to_vec())]);
    assert_refused(&data.path().join("data.npz"), "npz", "no zip archive");
    assert_eq!(MOST_CLASSES, 256);
}

#[test]
fn the_same_images_are_the_same_training_wherever_they_lie_and_whatever_they_are_called() {
    let labels = [1, 2, 3];
    let (one, other) = (letters(&labels, [20, 24]), letters(&labels, [20, 24]));
    let (here, there) = (config(&named("idx", one.path())), config(&(named("idx", other.path()) + "label = 'abc'\n")));
    assert_eq!(there.data.name.label(), "abc");
    let print = |config: &TrialConfig| load(&config.data, &DataDirs::at("/nonexistent")).unwrap().fingerprint;
    assert_eq!(print(&here), print(&there));
    assert_eq!(here.key(&print(&here)), there.key(&print(&there)));
    // So are they in another format.
    let all: Vec<u8> = (0..30).map(|index| labels[index % 3]).collect();
    let array = folder(&[(
        "data.npz",
        npz(&[("x", npy("|u1", "30, 20, 24", &pixels(30, 480))), ("y", npy("|u1", "30,", &all))]),
    )]);
    let packed = config(&named("npz", &array.path().join("data.npz")));
    assert_eq!(packed.key(&print(&packed)), here.key(&print(&here)));
    // Turned images are others, though their bytes are not.
    let turned = config(&named("idx", letters(&labels, [24, 20]).path()));
    assert_ne!(turned.key(""), here.key(""));
    // The written config says all: it is read without the images, and loads them from where they were.
    let written = TrialConfig::resolve(here.to_toml().parse().unwrap()).unwrap();
    assert_eq!(written, here);
    drop(one);
    assert_eq!(TrialConfig::resolve(here.to_toml().parse().unwrap()).unwrap().key(""), here.key(""));
    let error = format!("{:#}", load(&here.data, &DataDirs::at("/nonexistent")).unwrap_err());
    assert!(error.contains("cannot be used as \"idx\""), "{error}");
}

#[test]
fn images_that_changed_since_they_were_looked_at_are_refused() {
    let data = letters(&[1, 2], [8, 8]);
    let config = config(&named("idx", data.path()));
    fs::write(data.path().join("train-images-idx3-ubyte"), idx(&[20, 8, 9], &pixels(20, 72))).unwrap();
    let error = format!("{:#}", load(&config.data, &DataDirs::at("/nonexistent")).unwrap_err());
    assert!(error.contains("16 training and 4 test images of 8×9×1 in 2 classes now"), "{error}");
}

#[test]
fn a_space_looks_at_images_beside_its_file_and_is_read_again_without_them() {
    let data = letters(&[1, 2, 3], [20, 24]);
    let space = data.path().join("space.toml");
    let text = "[base]\ndata = { name = 'idx', path = '.', validation_fraction = 0.25 }\nmodel = { preset = 'tiny', primary_kernel = 3 }\n[axes]\n\"data.shift\" = [0, 2]\n";
    fs::write(&space, text).unwrap();
    let read = Space::read(&space, &[]).unwrap();
    let expansion = read.expand().unwrap();
    assert_eq!(expansion.candidates[0].config.data.name.classes(), 3);
    let sets = read.sets().to_vec();
    drop(data);
    let again =
        Space::from_document(Document::parse("space", text.into()).unwrap(), "space", &sets).unwrap().expand().unwrap();
    assert_eq!(again.candidates[1].config, expansion.candidates[1].config);
    assert!(Space::read(&space, &[]).is_err());
}

#[test]
fn a_table_that_does_not_name_images_well_says_what_is_missing() {
    let refused = |text: &str| {
        let table: toml::Table = text.parse().unwrap();
        format!("{:#}", Looked::at(&table, Path::new("")).unwrap_err())
    };
    assert!(refused("name = 'idx'").contains("data.path is missing"));
    assert!(refused("name = 'idx'\npath = 3").contains("data.path = 3: it must be the place"));
    assert!(refused("name = 'folder'\npath = '/nonexistent'").contains("/nonexistent"));
    assert!(
        refused("name = 'folder'\npath = '/'\nresize = 8").contains("data.resize = 8: it must be height and width")
    );
    assert!(refused("name = 'folder'\npath = '/'\nresize = [1, 8]").contains("data.resize = [1, 8]"));
    assert_eq!(Looked::at(&"name = 'mnist'".parse().unwrap(), Path::new("")).unwrap(), None);
    let resolved = |text: &str| TrialConfig::resolve(text.parse().unwrap()).unwrap_err().to_string();
    assert!(resolved("data = { name = 'mnist', path = 'x' }").contains("are for images of your own"));
    assert!(
        resolved("data = { name = 'idx', path = '.', validation_fraction = 0.25 }").contains("have not been looked at")
    );
    let images = "images = { shape = [1, 99999999, 8], train = 20, test = 4, classes = ['a', 'b'] }";
    assert!(resolved(&format!("data = {{ name = 'idx', path = 'x', {images} }}")).contains("99999999×8 pixels"));
}

#[test]
fn what_a_known_data_set_writes_did_not_change() {
    let written = serde_json::to_string(&DataConfig::default().canonical()).unwrap();
    let expected = "{\"name\":\"glyphs\",\"train_samples\":5000,\"test_samples\":1000,\"validation_fraction\":0.1,\"seed\":0,\"shift\":2}";
    assert_eq!(written, expected);
}
