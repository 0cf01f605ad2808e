//! Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): articles of clothing, in files as those of MNIST.
//!
//! Checksums of the published files: TensorFlow Datasets (`url_checksums/`), each found the same in other projects. Checksums of
//! the contents: of the labels from the published files, each found the same in five other projects; of the images from those projects.

use crate::learn::data::{
    descriptor::{Descriptor, Origin, PublishedFile, Source},
    idx,
    images::ImageShape,
};

pub static SET: Descriptor = Descriptor {
    name: "fashion-mnist",
    shape: ImageShape { channels: 1, height: 28, width: 28 },
    class_names: &[
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ],
    available: (60_000, 10_000),
    default_samples: (60_000, 10_000),
    origin: Origin::Files(Source {
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
        contents: &[
            ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ],
        // Then as torchvision lays them: below its root, or below the data set's folder in it.
        layouts: &[idx::layout(""), idx::layout("FashionMNIST/raw"), idx::layout("raw")],
        unread: &[
            ("fashion-mnist_train.csv", "a version as tables"),
            ("FashionMNIST/processed", "torchvision's own version"),
        ],
    }),
};
