//! CIFAR-10 (Krizhevsky 2009): photographs of animals and vehicles, the binary version.
//!
//! Checksums of the published file: TensorFlow Datasets (`url_checksums/`), found the same in other projects. Checksums of the
//! contents: of one project alone (torchvision for Ruby).

use crate::learn::data::{
    cifar,
    descriptor::{Descriptor, Layout, Origin, PublishedFile, Source},
    images::ImageShape,
};

pub static SET: Descriptor = Descriptor {
    name: "cifar10",
    shape: ImageShape { channels: 3, height: 32, width: 32 },
    class_names: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    available: (50_000, 10_000),
    default_samples: (50_000, 10_000),
    origin: Origin::Files(Source {
        mirrors: &["https://www.cs.toronto.edu/~kriz"],
        files: &[PublishedFile {
            name: "cifar-10-binary.tar.gz",
            bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
        contents: &[
            ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
            ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
            ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
            ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
            ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
            ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
        ],
        layouts: &[
            Layout { folder: "", format: &cifar::Files },
            Layout { folder: "cifar-10-batches-bin", format: &cifar::Files },
            Layout { folder: "", format: &cifar::Archive },
        ],
        unread: &[
            ("cifar-10-batches-py", "the Python version, which is pickled"),
            ("cifar-10-python.tar.gz", "the Python version, which is pickled"),
            ("batches.meta", "the Python version, which is pickled"),
            ("cifar-10-batches-mat", "the Matlab version"),
            ("cifar-10-matlab.tar.gz", "the Matlab version"),
        ],
    }),
};
