//! The published data sets: which files, where from, with which checksums, under which names.

use super::{DatasetName, cifar};

/// Where a data set comes from and how its files may lie in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub dataset: DatasetName,
    /// Base URLs, tried in order; a file's URL is the base, a slash and its name.
    pub mirrors: &'static [&'static str],
    /// The files as published.
    pub files: &'static [PublishedFile],
    /// SHA-256 of inflated contents, by the first name in [`Layout::files`]: they tell a file that
    /// was inflated, or compressed anew, from one that was altered.
    pub contents: &'static [(&'static str, &'static str)],
    /// How the files may lie in a folder, the preferred first.
    pub layouts: &'static [Layout],
    /// Files and folders of other versions of the data set, which are not read, and what they are.
    pub unread: &'static [(&'static str, &'static str)],
}

/// One file as it lies on the mirrors.
#[derive(Clone, Copy, Debug)]
pub struct PublishedFile {
    pub name: &'static str,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: &'static str,
}

/// A way in which a data set's files may lie in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Images and labels of the training part, then of the test part, each raw or gzip, in `folder` below.
    Idx { folder: &'static str },
    /// The six files of the binary version, in `folder` below.
    CifarFiles { folder: &'static str },
    /// `cifar-10-binary.tar.gz` as downloaded.
    CifarArchive,
}

impl Layout {
    /// For each file, in order, the names it may have.
    pub fn files(self) -> &'static [&'static [&'static str]] {
        match self {
            Layout::Idx { .. } => &[
                &[
                    "train-images-idx3-ubyte",
                    "train-images-idx3-ubyte.gz",
                    "train-images.idx3-ubyte",
                    "train-images.idx3-ubyte.gz",
                ],
                &[
                    "train-labels-idx1-ubyte",
                    "train-labels-idx1-ubyte.gz",
                    "train-labels.idx1-ubyte",
                    "train-labels.idx1-ubyte.gz",
                ],
                &[
                    "t10k-images-idx3-ubyte",
                    "t10k-images-idx3-ubyte.gz",
                    "t10k-images.idx3-ubyte",
                    "t10k-images.idx3-ubyte.gz",
                ],
                &[
                    "t10k-labels-idx1-ubyte",
                    "t10k-labels-idx1-ubyte.gz",
                    "t10k-labels.idx1-ubyte",
                    "t10k-labels.idx1-ubyte.gz",
                ],
            ],
            Layout::CifarFiles { .. } => &[
                &[cifar::FILES[0]],
                &[cifar::FILES[1]],
                &[cifar::FILES[2]],
                &[cifar::FILES[3]],
                &[cifar::FILES[4]],
                &[cifar::FILES[5]],
            ],
            Layout::CifarArchive => &[&["cifar-10-binary.tar.gz"]],
        }
    }

    /// The folder below, in which the files lie.
    pub fn folder(self) -> &'static str {
        match self {
            Layout::CifarFiles { folder } | Layout::Idx { folder } => folder,
            Layout::CifarArchive => "",
        }
    }
}

/// The source of a data set; glyphs have none.
pub fn source(dataset: DatasetName) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.dataset == dataset)
}

/// Checksums of the published files: TensorFlow Datasets (`url_checksums/`), each found the same in
/// other projects. Checksums of MNIST's contents: of the files themselves, and of other projects.
/// Checksums of CIFAR-10's contents: of one project alone (torchvision for Ruby).
pub static SOURCES: [Source; 3] = [
    Source {
        dataset: DatasetName::Mnist,
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
        layouts: &[Layout::Idx { folder: "" }, Layout::Idx { folder: "MNIST/raw" }, Layout::Idx { folder: "raw" }],
        unread: &[
            ("mnist.npz", "Keras's NumPy version"),
            ("mnist.pkl.gz", "a pickled Python version"),
            ("MNIST/processed", "torchvision's own version"),
        ],
    },
    Source {
        dataset: DatasetName::FashionMnist,
        mirrors: &[
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ],
        files: &[
            PublishedFile {
                name: "train-images-idx3-ubyte.gz",
                bytes: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            },
            PublishedFile {
                name: "train-labels-idx1-ubyte.gz",
                bytes: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            },
            PublishedFile {
                name: "t10k-images-idx3-ubyte.gz",
                bytes: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            },
            PublishedFile {
                name: "t10k-labels-idx1-ubyte.gz",
                bytes: 5148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ],
        contents: &[],
        // Then as torchvision lays them: below its root, or below the data set's folder in it.
        layouts: &[
            Layout::Idx { folder: "" },
            Layout::Idx { folder: "FashionMNIST/raw" },
            Layout::Idx { folder: "raw" },
        ],
        unread: &[
            ("fashion-mnist_train.csv", "a version as tables"),
            ("FashionMNIST/processed", "torchvision's own version"),
        ],
    },
    Source {
        dataset: DatasetName::Cifar10,
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
            Layout::CifarFiles { folder: "" },
            Layout::CifarFiles { folder: "cifar-10-batches-bin" },
            Layout::CifarArchive,
        ],
        unread: &[
            ("cifar-10-batches-py", "the Python version, which is pickled"),
            ("cifar-10-python.tar.gz", "the Python version, which is pickled"),
            ("batches.meta", "the Python version, which is pickled"),
            ("cifar-10-batches-mat", "the Matlab version"),
            ("cifar-10-matlab.tar.gz", "the Matlab version"),
        ],
    },
];
