//! MNIST (LeCun, Cortes, Burges 1998): handwritten digits.
//!
//! Checksums of the published files: TensorFlow Datasets (`url_checksums/`), each found the same in other projects. Checksums of
//! the contents: of the files themselves, and of other projects.

use crate::learn::data::{
    descriptor::{Descriptor, Origin, PublishedFile, Source},
    idx,
    images::ImageShape,
};

pub static SET: Descriptor = Descriptor {
    name: "mnist",
    shape: ImageShape { channels: 1, height: 28, width: 28 },
    class_names: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    available: (60_000, 10_000),
    default_samples: (60_000, 10_000),
    origin: Origin::Files(Source {
        mirrors: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ],
        files: &[
            PublishedFile {
                name: "train-images-idx3-ubyte.gz",
                bytes: 9_912_422,
                sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            },
            PublishedFile {
                name: "train-labels-idx1-ubyte.gz",
                bytes: 28_881,
                sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            },
            PublishedFile {
                name: "t10k-images-idx3-ubyte.gz",
                bytes: 1_648_877,
                sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            },
            PublishedFile {
                name: "t10k-labels-idx1-ubyte.gz",
                bytes: 4542,
                sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ],
        contents: &[
            ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ],
        // Then as torchvision lays them: below its root, or below the data set's folder in it.
        layouts: &[idx::layout(""), idx::layout("MNIST/raw"), idx::layout("raw")],
        unread: &[
            ("mnist.npz", "Keras's NumPy version"),
            ("mnist.pkl.gz", "a pickled Python version"),
            ("MNIST/processed", "torchvision's own version"),
        ],
    }),
};
