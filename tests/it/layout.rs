//! The layers of networks: what follows from their sizes is what it has always been.

use fastrcaps::{
    learn::{
        config::TrialConfig,
        model::{
            config::{EfficientCapsNetConfig, ModelConfig},
            pass::Work,
            scope::Scope,
        },
        train::memory::{gpu_peak_bytes, peak_bytes, peak_bytes_beside_gpu},
    },
    timing::shape::steps_of,
};
use proptest::prelude::*;

use crate::model::{CIFAR, MNIST, any_capsnet};

/// Figures of a configuration at batch 128, as they stood when its layers came, or before there was one description of a network.
/// Committed records hold trials' keys and times by step keys, and predictions of memory decide what runs at once.
struct Row {
    data: &'static str,
    model: &'static str,
    parameters: usize,
    /// Predicted on one thread and on three, of a GPU, and on the host beside one.
    bytes: [u64; 4],
    /// Of the trial, on data of the fingerprint `x`, and of its step on a whole batch.
    keys: [&'static str; 2],
    /// Samples of a step on CPU cores, and its multiply-adds, those by definition, and its bytes, without the optimizer's; zeros
    /// where nobody counts.
    work_of: usize,
    work: [u64; 3],
}

const ROWS: &[Row] = &[
    Row {
        data: "mnist",
        model: "preset = 'paper'",
        parameters: 8_215_728,
        bytes: [672_410_057, 679_815_810, 1_482_662_768, 870_497_248],
        keys: ["18ac6a80f1317175", "744b59db004d6717"],
        work_of: 5,
        work: [3_003_617_280, 3_003_617_280, 79_105_112],
    },
    Row {
        data: "cifar10",
        model: "preset = 'paper'",
        parameters: 11_749_280,
        bytes: [1_121_599_190, 1_130_156_582, 2_162_123_872, 1_185_894_080],
        keys: ["64c8699cf4ceb187", "744b59db004d6717"],
        work_of: 5,
        work: [5_570_191_360, 5_570_191_360, 114_020_568],
    },
    Row {
        data: "glyphs",
        model: "preset = 'paper', conv1_sharing = 4, primary_sharing = 4, class_sharing = 'by-type'",
        parameters: 2_785_264,
        bytes: [378_529_439, 385_307_890, 1_345_535_344, 683_129_824],
        keys: ["838b20a70fdacdd2", "41fa32ac7235f763"],
        work_of: 5,
        work: [768_665_600, 768_665_600, 35_723_608],
    },
    Row {
        data: "glyphs",
        model: "preset = 'small'",
        parameters: 401_328,
        bytes: [88_746_233, 95_826_744, 706_120_048, 644_986_848],
        keys: ["f0fc1e48893f3613", "111b40dd16a6aa05"],
        work_of: 128,
        work: [379_355_136, 439_910_400, 19_619_136],
    },
    Row {
        data: "cifar10",
        model: "preset = 'small', decoder = 'none', routing_iterations = 1",
        parameters: 223_072,
        bytes: [485_499_356, 491_790_812, 923_869_280, 1_001_474_752],
        keys: ["f2fca6abf4024ad3", "562393826d308094"],
        work_of: 128,
        work: [264_044_544, 664_141_824, 23_149_568],
    },
    Row {
        data: "mnist",
        model: "preset = 'tiny'",
        parameters: 128_800,
        bytes: [184_967_672, 191_306_586, 741_431_920, 741_106_400],
        keys: ["93d3c6943b2a4f39", "a10c5563f4593986"],
        work_of: 128,
        work: [164_610_048, 194_887_680, 11_981_248],
    },
    Row {
        data: "glyphs",
        model: "preset = 'tiny', conv1_kernel = 4, primary_stride = 1, primary_dim = 4, decoder_hidden = [11, 70], decoder = 'small', class_sharing = 'by-type'",
        parameters: 72347,
        bytes: [92_565_617, 98_907_468, 744_326_176, 639_723_152],
        keys: ["764248c484df300d", "b117cbc07f7810c5"],
        work_of: 128,
        work: [141_530_880, 489_920_256, 22_135_444],
    },
    Row {
        data: "mnist",
        model: "preset = 'paper', primary = 'dense'",
        parameters: 7_996_400,
        bytes: [439_663_772, 447_040_605, 989_927_280, 866_988_000],
        keys: ["d11310318659670e", "7c54548bec2c1fc1"],
        work_of: 5,
        work: [201_514_240, 201_514_240, 76_069_976],
    },
    Row {
        data: "cifar10",
        model: "preset = 'small', primary = 'dense', primary_capsules = 5, decoder = 'small'",
        parameters: 1_023_432,
        bytes: [493_102_609, 499_394_065, 913_630_944, 1_014_280_512],
        keys: ["4bb8ac733bc221dd", "8b1cb968a6ec4d22"],
        work_of: 128,
        work: [431_063_040, 680_165_376, 37_513_632],
    },
    Row {
        data: "mnist",
        model: "preset = 'paper', class_capsules = 'homogeneous'",
        parameters: 6_792_288,
        bytes: [619_400_842, 626_803_024, 1_365_433_968, 847_722_208],
        keys: ["934d4e7ea9c37258", "5f5e5c46c3f12c1a"],
        work_of: 5,
        work: [2_970_839_040, 2_970_839_040, 67_871_512],
    },
    Row {
        data: "glyphs",
        model: "preset = 'tiny', class_capsules = 'homogeneous', class_sharing = 'by-type', decoder = 'small'",
        parameters: 81056,
        bytes: [74_105_114, 80_813_340, 690_428_016, 639_862_496],
        keys: ["148007a662451c60", "e84e9d2c0792c1f8"],
        work_of: 128,
        work: [111_771_648, 142_049_280, 11_599_296],
    },
    Row {
        data: "mnist",
        model: "kind = 'lenet5'",
        parameters: 44426,
        bytes: [184_263_933, 190_555_389, 730_804_496, 739_756_416],
        keys: ["eba016775d480d96", "78d7a25f9978d300"],
        work_of: 128,
        work: [0, 0, 0],
    },
    Row {
        data: "cifar10",
        model: "kind = 'lenet5'",
        parameters: 62006,
        bytes: [492_812_988, 499_104_444, 896_830_912, 998_897_696],
        keys: ["934dbe74cef6701f", "78d7a25f9978d300"],
        work_of: 128,
        work: [0, 0, 0],
    },
];

#[test]
fn figures_of_networks_stay_what_they_are() {
    let mut other = Vec::new();
    for row in ROWS {
        let text = format!(
            "data = {{ name = '{}' }}\nmodel = {{ {} }}\nschedule = {{ batch = {{ policy = 'fixed', size = 128 }} }}\n\
             train = {{ epochs = 2 }}\n",
            row.data, row.model
        );
        let config = TrialConfig::resolve(text.parse().unwrap()).unwrap();
        let name = format!("{} on {}", row.model, row.data);
        let [one, three] = [1, 3].map(|threads| peak_bytes(&config, threads).unwrap());
        let bytes = [one, three, gpu_peak_bytes(&config).unwrap(), peak_bytes_beside_gpu(&config)];
        let (step, _) = steps_of(&config, 2).into_iter().find(|(shape, _)| shape.samples == 128).unwrap();
        let (key, step) = (config.key("x"), step.id());
        let mut work = [0; 3];
        if let ModelConfig::Capsnet(model) = &config.model {
            let layers = model.layers(config.data.name.image_shape(), config.data.name.classes());
            for (_, Work { multiply_adds, direct_multiply_adds, bytes }) in
                layers.work::<f32>(Scope::default(), row.work_of).unwrap()
            {
                work = [work[0] + multiply_adds, work[1] + direct_multiply_adds, work[2] + bytes];
            }
        }
        let found = (config.parameters(), bytes, [key.as_str(), step.as_str()], work);
        if found != (row.parameters, row.bytes, row.keys, row.work) {
            other.push(format!("{name}: {found:?}"));
        }
    }
    assert!(other.is_empty(), "parameters, predicted bytes, keys, work:\n{}", other.join("\n"));
}

proptest! {
    #[test]
    fn each_layer_takes_what_the_one_before_gives(config in any_capsnet(), which in 0..4) {
        let model = match which {
            0 => ModelConfig::Lenet5,
            1 => ModelConfig::EfficientCapsnet(EfficientCapsNetConfig::default()),
            _ => config,
        };
        for shape in [MNIST, CIFAR] {
            let mut given = shape.pixels();
            for layer in model.layers(shape, 10) {
                prop_assert_eq!(layer.inputs(), given, "{:?}", layer);
                given = layer.values();
            }
        }
    }
}
