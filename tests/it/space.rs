//! Spaces: what a declaration means, and what is said of one that means nothing.

use fastrcaps::{
    base::source::Document,
    learn::config::TrialConfig,
    search::space::{Expansion, Space},
};
use proptest::prelude::*;

use crate::facts::Facts;

fn space_with(text: &str, sets: &[(&str, &str)]) -> anyhow::Result<Space> {
    let sets: Vec<(String, String)> = sets.iter().map(|(path, value)| (path.to_string(), value.to_string())).collect();
    Space::from_document(Document::parse("space.toml", text.to_string())?, "space", &sets)
}

fn expand(text: &str) -> Expansion {
    space_with(text, &[]).unwrap().expand().unwrap()
}

/// What `text` is refused with.
fn refusal(text: &str) -> String {
    match space_with(text, &[]) {
        Err(error) => error.to_string(),
        Ok(space) => space.expand().expect_err(text).to_string(),
    }
}

fn labels(expansion: &Expansion) -> Vec<&str> {
    expansion.candidates.iter().map(|candidate| candidate.label.as_str()).collect()
}

#[test]
fn the_first_axis_changes_slowest_and_its_first_values_are_the_baseline() {
    let expansion = expand(
        "[axes]
         \"model.routing_iterations\" = [3, 1]
         \"schedule.lr\" = [{ policy = 'fixed' }, { policy = 'cosine' }]",
    );
    assert_eq!(labels(&expansion), ["baseline", "cosine", "routing iterations 1", "routing iterations 1, cosine"]);
    assert_eq!(expansion.baseline, Some(0));
    assert_eq!((expansion.combinations, expansion.excluded, expansion.duplicates), (4, 0, 0));
}

#[test]
fn dotted_keys_and_quoted_paths_declare_the_same_axis() {
    let quoted = expand("[axes]\n\"model.routing_iterations\" = [1, 2]");
    let dotted = expand("[axes]\nmodel.routing_iterations = [1, 2]");
    let nested = expand("[axes.model]\nrouting_iterations = [1, 2]");
    for other in [dotted, nested] {
        let configs = |of: &Expansion| of.candidates.iter().map(|c| c.config.clone()).collect::<Vec<_>>();
        assert_eq!(configs(&quoted), configs(&other));
    }
}

#[test]
fn a_space_without_axes_is_one_configuration() {
    let expansion = expand("[base]\nmodel = { preset = 'tiny' }");
    assert_eq!(labels(&expansion), ["baseline"]);
}

#[test]
fn routing_iterations_of_a_lenet_collapse() {
    let expansion = expand(
        "[axes]
         \"model.kind\" = ['capsnet', 'lenet5']
         \"model.routing_iterations\" = [3, 2, 1]",
    );
    assert_eq!((expansion.combinations, expansion.duplicates, expansion.candidates.len()), (6, 2, 4));
    let lenet = &expansion.candidates[3];
    assert_eq!(lenet.values, [Some("lenet5".to_string()), None]);
    assert!(expansion.candidates[..3].iter().all(|capsnet| capsnet.values.iter().all(Option::is_some)));
    assert_eq!(lenet.label, "kind lenet5");
}

#[test]
fn values_of_a_decoder_that_is_not_there_collapse() {
    let expansion = expand(
        "[axes]
         \"model.decoder\" = ['none']
         \"model.reconstruction_weight\" = [0.0005, 0.1]",
    );
    assert_eq!(expansion.candidates.len(), 1);
    assert_eq!(expansion.candidates[0].values, [Some("none".to_string()), None]);
}

#[test]
fn a_whole_table_is_a_value_and_replaces_the_bases() {
    let expansion = expand(
        "[base]
         schedule.lr = { policy = 'exponential', decay = 0.5 }
         [axes]
         \"schedule.lr\" = [{ policy = 'fixed' }, { policy = 'cosine', label = 'half a wave' }]",
    );
    assert_eq!(labels(&expansion), ["baseline", "half a wave"]);
}

#[test]
fn values_of_one_policy_are_told_apart_by_their_parameters() {
    let expansion = expand(
        "[axes]
         \"schedule.batch\" = [{ policy = 'fixed', size = 32 }, { policy = 'fixed', size = 64 }]",
    );
    assert_eq!(labels(&expansion), ["baseline", "fixed (size 64)"]);
}

#[test]
fn equal_names_on_two_axes_are_told_apart_by_the_axis() {
    let expansion = expand(
        "[axes]
         \"schedule.lr\" = [{ policy = 'cosine' }, { policy = 'fixed' }]
         \"schedule.batch\" = [{ policy = 'adabatch' }, { policy = 'fixed' }]",
    );
    assert_eq!(labels(&expansion), ["baseline", "batch fixed", "lr fixed", "lr fixed, batch fixed"]);
}

#[test]
fn exclusions_take_out_what_they_match_by_value_list_part_or_label() {
    let text = |exclude: &str| {
        format!(
            "[axes]
             \"model.routing_iterations\" = [1, 2, 3]
             \"schedule.lr\" = [{{ policy = 'fixed' }}, {{ policy = 'cosine', label = 'wave' }}]
             [[exclude]]
             {exclude}"
        )
    };
    for (exclude, left) in [
        ("\"model.routing_iterations\" = 1", 4),
        ("\"model.routing_iterations\" = [1, 2]", 2),
        ("\"schedule.lr\" = { policy = 'cosine' }", 3),
        ("\"schedule.lr\" = 'wave'", 3),
        ("schedule.lr = 'wave'\nmodel.routing_iterations = 3", 5),
        ("\"data.name\" = 'glyphs'\n\"schedule.lr\" = 'wave'", 3),
    ] {
        let expansion = expand(&text(exclude));
        assert_eq!((expansion.candidates.len(), expansion.excluded), (left, 6 - left), "{exclude}");
    }
}

#[test]
fn the_baseline_can_be_named() {
    let expansion = expand(
        "[axes]
         \"model.routing_iterations\" = [1, 2, 3]
         [baseline]
         \"model.routing_iterations\" = 3",
    );
    assert_eq!(expansion.baseline, Some(2));
    assert_eq!(labels(&expansion), ["routing iterations 1", "routing iterations 2", "baseline"]);
}

#[test]
fn replicates_differ_in_their_seed_and_come_round_by_round() {
    let space = space_with("replicates = 2\n[base]\nseed = 7\n[axes]\n\"train.epochs\" = [1, 2]", &[]).unwrap();
    let trials = space.expand().unwrap().trials(space.replicates);
    let found: Vec<_> = trials.iter().map(|t| (t.candidate, t.replicate, t.config.seed)).collect();
    assert_eq!(found, [(0, 0, 7), (1, 0, 7), (0, 1, 8), (1, 1, 8)]);
}

#[test]
fn set_goes_over_the_base_and_replaces_an_axis() {
    let text = "[base]\ntrain = { epochs = 3 }\n[axes]\n\"model.routing_iterations\" = [1, 3]\nschedule.batch = [{ policy = 'fixed', size = 8 }]";
    let space =
        space_with(text, &[("train.epochs", "2"), ("model.routing_iterations", "2"), ("replicates", "3")]).unwrap();
    let expansion = space.expand().unwrap();
    assert_eq!((expansion.candidates.len(), space.replicates), (1, 3));
    assert_eq!(expansion.candidates[0].config.train.epochs, 2);
    let axes: Vec<&str> = space.axes.iter().map(|axis| axis.path.as_str()).collect();
    assert_eq!(axes, ["schedule.batch"]);
}

#[test]
fn a_policy_need_not_be_named_where_it_is_the_default() {
    let keys = |text: &str, sets: &[(&str, &str)]| {
        let expansion = space_with(text, sets).unwrap().expand().unwrap();
        let keys: Vec<String> = expansion.candidates.iter().map(|of| of.config.key("")).collect();
        (keys, labels(&expansion).join("; "))
    };
    let named = "[axes]\nschedule.lr = [{ policy = 'fixed', rate = 1e-3 }, { policy = 'fixed', rate = 1e-2 }]\n\
                 schedule.batch = [{ policy = 'fixed', size = 16 }, { policy = 'fixed', size = 32 }]";
    let by_field = "[axes]\n\"schedule.lr.rate\" = [1e-3, 1e-2]\n\"schedule.batch.size\" = [16, 32]";
    let of_field = keys(by_field, &[]);
    assert_eq!(of_field.0, keys(named, &[]).0);
    assert_eq!(of_field.1, "baseline; size 32; rate 0.01; rate 0.01, size 32");
    assert_eq!(keys("[axes]\nschedule.lr = [{ rate = 1e-3 }, { rate = 1e-2 }]", &[("schedule.batch.size", "32")]).0, {
        let of = keys(by_field, &[]).0;
        [of[1].clone(), of[3].clone()]
    });
    let given = "[base]\nschedule.batch = { policy = 'fixed', size = 16 }";
    assert_eq!(keys("", &[("schedule.batch.size", "16")]).0, keys(given, &[]).0);
    // A field of the base's own policy is set, also of another one; what that lacks is told.
    let cycle = "[base]\nschedule.lr = { policy = 'one-cycle' }\n[axes]\n";
    assert_eq!(keys(&format!("{cycle}\"schedule.lr.peak\" = [1e-3, 1e-2]"), &[]).0.len(), 2);
    for (text, facts) in [
        (
            &format!("{cycle}\"schedule.lr.rate\" = [1e-3]")[..],
            &[
                "space.toml:4",
                "schedule.lr.rate = 0.001",
                "`rate`",
                "`initial`",
                "`peak`",
                "`last`",
                "`up`",
                "`down`",
                "\"one-cycle\"",
            ][..],
        ),
        (
            "[base]\nschedule.lr = { peak = 1e-2 }",
            &["space.toml:2", "schedule.lr.peak = 0.01", "`peak`", "`rate`", "\"fixed\""],
        ),
    ] {
        refusal(text).names(facts);
    }
}

#[test]
fn a_study_reads_back_the_space_it_kept() {
    let text = "[axes]\n\"schedule.lr\" = [{ policy = 'fixed' }]\n\"model.routing_iterations\" = [1, 3]";
    let space = space_with(text, &[("train.epochs", "2")]).unwrap();
    let again = space_with(space.text(), &[("train.epochs", "2")]).unwrap();
    let keys = |space: &Space| space.expand().unwrap().candidates.iter().map(|c| c.config.key("")).collect::<Vec<_>>();
    assert_eq!(keys(&space), keys(&again));
}

#[test]
fn every_mistake_is_named_with_its_line_its_value_and_what_is_allowed() {
    for (text, facts) in [
        ("[bass]\n", vec!["space.toml:1", "`bass`", "base"]),
        ("replicates = 0\n", vec!["space.toml:1", "replicates = 0", "1 to 10000"]),
        ("replicates = 'many'\n", vec!["space.toml:1", "replicates", "many"]),
        ("name = '../up'\n", vec!["space.toml:1", "../up"]),
        ("[base\n", vec!["space.toml:1", "TOML"]),
        ("[base]\nmodel = { preset = 'huge' }\n", vec!["space.toml:2", "huge", "paper, small, tiny"]),
        ("[base]\ntrain = { epocs = 3 }\n", vec!["space.toml:2", "`epocs`", "`epochs`"]),
        ("[base]\ntrain = { epochs = 'three' }\n", vec!["space.toml:2", "train.epochs", "\"three\""]),
        ("[base]\ntrain = { epochs = 0 }\n", vec!["space.toml:2", "train.epochs = 0", "1"]),
        (
            "[base]\n\n[base.schedule]\nlr = { policy = 'fast' }\n",
            vec!["space.toml:4", "schedule.lr", "`fast`", "`one-cycle`"],
        ),
        ("[base.schedule.lr]\npolicy = 'fixed'\nrat = 1.0\n", vec!["space.toml:3", "schedule.lr.rat", "`rate`"]),
        (
            "[base]\nmodel = { kind = 'lenet5', routng = 1 }\n",
            vec!["space.toml:2", "model.routng", "`routing_iterations`"],
        ),
        (
            "[axes]\n\"train.epochs\" = [1]\n\"model.primary_sharing\" = [1, 7]\n",
            vec!["space.toml:3", "primary_sharing = 7", "1, 2, 4"],
        ),
        ("[axes]\n\"model.rooting\" = [1]\n", vec!["space.toml:2", "model.rooting", "`routing_iterations`"]),
        ("[axes]\n\"train.epochs\" = []\n", vec!["space.toml:2", "train.epochs"]),
        ("[axes]\n\"train.epochs\" = 3\n", vec!["space.toml:2", "train.epochs", "3"]),
        ("[axes]\nseed = [1, 2]\n", vec!["space.toml:2", "replicates"]),
        ("[axes]\ndata.name = ['glyphs', 'mnist']\n", vec!["space.toml:2", "data.name", "glyphs", "mnist"]),
        (
            "[axes]\n\"schedule\" = [{}]\n\"schedule.lr\" = [{ policy = 'fixed' }]\n",
            vec!["space.toml:2", "schedule.lr", "schedule"],
        ),
        ("[axes]\n\"train.epochs\" = [1, 2]\n[[exclude]]\n\"train.epochs\" = [1, 2]\n", vec!["space.toml:3"]),
        ("[axes]\n\"train.epochs\" = [1, 2]\n[[exclude]]\n\"train.epochs\" = 3\n", vec!["space.toml:3"]),
        (
            "[axes]\n\"schedule.lr\" = [\n{ policy = 'fixed' },\n{ policy = 'cosine', label = ' ' },\n]\n",
            vec!["space.toml:4", "schedule.lr"],
        ),
        (
            "[axes]\n\"schedule.lr\" = [\n{ policy = 'fixed' },\n{ policy = 'cosine', label = \"a\\u001b[2J\" },\n]\n",
            vec!["space.toml:4", "schedule.lr", "U+001B"],
        ),
        (
            "[axes]\n\"schedule.lr\" = [\n{ policy = 'fixed' },\n{ policy = 'cosine', label = '=1+1' },\n]\n",
            vec!["space.toml:4", "schedule.lr", "=1+1"],
        ),
        ("[axes]\n\"train.epochs\" = [1, 2]\n[baseline]\n\"train.epochs\" = 3\n", vec!["space.toml:3", "0"]),
        ("[axes]\n\"train.epochs\" = [1, 2]\n[baseline]\n", vec!["space.toml:3", "2"]),
    ] {
        refusal(text).names(facts);
    }
}

#[test]
fn labels_and_names_of_files_with_what_moves_a_cursor_or_makes_a_formula_are_refused() {
    let labelled = |label: &str| {
        let value = toml::Value::String(label.into());
        refusal(&format!(
            "[axes]\n\"schedule.lr\" = [{{ policy = 'fixed' }}, {{ policy = 'cosine', label = {value} }}]\n"
        ))
    };
    for control in
        ["a\nb", "a\tb", "a\rb", "\u{1b}]0;x\u{7}", "\u{7f}", "a\u{85}b", "a\u{202e}b", "a\u{2028}b", "\u{2066}a"]
    {
        let message = labelled(control);
        let first = control.chars().find(|c| c.is_control() || "\u{202e}\u{2028}\u{2066}".contains(*c)).unwrap();
        message.names(["space.toml:2", &format!("U+{:04X}", u32::from(first))]);
        assert!(!message.lines().next().unwrap().contains(control), "{message}");
    }
    for formula in ["=1", "+decoder", "-decoder", "@home", " =1", "＝1"] {
        labelled(formula).names(["space.toml:2", formula.trim()]);
    }
    let document = || Document::parse("space.toml", "[base]\n".into()).unwrap();
    let message = Space::from_document(document(), "a\u{1b}b", &[]).unwrap_err().to_string();
    message.names(["U+001B", "name = "]);
    for fine in ["中文 🚀", "50 % = half", "a-b", "1+1", "mail@home", "é"] {
        let text =
            format!("[axes]\n\"schedule.lr\" = [{{ policy = 'fixed' }}, {{ policy = 'cosine', label = '{fine}' }}]\n");
        assert_eq!(labels(&expand(&text)), ["baseline", fine]);
        assert_eq!(fastrcaps::present::report::tables::text(fine), fine);
    }
}

#[test]
fn no_cell_of_a_table_is_a_formula_and_numbers_stay_numbers() {
    let text = fastrcaps::present::report::tables::text;
    for (cell, wanted) in
        [("=1+1", "'=1+1"), ("-x", "'-x"), ("\tx", "'\tx"), ("-0.5", "-0.5"), ("+1e3", "+1e3"), ("", "")]
    {
        assert_eq!(text(cell), wanted);
    }
}

#[test]
fn the_key_at_fault_is_named_however_deep_it_stands() {
    for (text, wanted) in [
        ("[base.model]\nkind = 'capsnet'\nrouting_iterations = 'two'\n", "model.routing_iterations = \"two\": "),
        ("[base.model]\nclass_sharing = 3\n", "model.class_sharing = 3: "),
        ("[base]\nschedule.lr = 'fixed'\n", "schedule.lr = \"fixed\": "),
        ("[base]\nschedule.lr = { policy = 'step' }\n", "schedule.lr.policy = \"step\": "),
        (
            "[base]\nschedule.batch = { policy = 'adabatch', phases = [{ size = 1 }, { sise = 2 }] }\n",
            "schedule.batch.phases[1].sise = 2: ",
        ),
        (
            "[base]\nschedule.lr = { policy = 'warm-restarts', period = 'batch-phse' }\n",
            "schedule.lr.period = \"batch-phse\": ",
        ),
        ("[base]\nmodel.decoder_hidden = [3]\n", "model.decoder_hidden: "),
        ("[base]\nmodel = { kind = 'lenet5', conv1_channels = 'abc' }\n", "model.conv1_channels = \"abc\": "),
        ("[base]\nseed = -1\n", "seed = -1: "),
    ] {
        // The key and its value, before what is said of them.
        let message = refusal(text);
        assert!(message.contains(wanted), "{text}\nsays: {message}\nwithout: {wanted}");
        for rust in ["usize", "u64", "f64", "enum", "variant identifier"] {
            assert!(!message.contains(rust), "{message} speaks of {rust}");
        }
    }
}

#[test]
fn a_grid_beyond_reason_is_refused() {
    let values = (1..=101).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "[axes]\n\"train.epochs\" = [{values}]\n\"schedule.batch.size\" = [{values}]\n\"model.conv1_channels\" = [{values}]\n"
    );
    refusal(&text).names(["1030301 combinations"]);
}

#[test]
fn the_shipped_spaces_are_sound() {
    for (file, configurations) in [
        ("smoke", 16..=100),
        ("mnist-small", 100..=200),
        ("mnist-factors", 20..=20),
        ("mnist-optimizers", 22..=22),
        ("mnist-schedule-free", 14..=14),
        ("paper", 8..=8),
    ] {
        let path = format!("{}/search-spaces/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        let expansion = Space::read(path.as_ref(), &[]).unwrap().expand().unwrap();
        assert!(configurations.contains(&expansion.candidates.len()), "{file}: {}", expansion.candidates.len());
        assert!(expansion.baseline.is_some(), "{file} has no baseline");
        let mut labels = labels(&expansion);
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), expansion.candidates.len(), "{file}: two configurations have one label");
    }
    // Of this one all combinations are too many to list.
    let path = format!("{}/search-spaces/fast.toml", env!("CARGO_MANIFEST_DIR"));
    let fast = Space::read(path.as_ref(), &[]).unwrap();
    assert!(fast.size() > 1_000_000 && fast.baseline_choice().is_ok());
    fast.check_values().unwrap();
}

#[test]
fn the_papers_solutions_have_the_papers_sizes() {
    let path = format!("{}/search-spaces/paper.toml", env!("CARGO_MANIFEST_DIR"));
    let expansion = Space::read(path.as_ref(), &[]).unwrap().expand().unwrap();
    let parameters: Vec<usize> = expansion.candidates.iter().map(|c| c.config.parameters()).collect();
    assert_eq!(parameters, [8_215_728, 8_215_728, 8_215_728, 8_215_728, 8_215_728, 8_215_728, 6_708_400, 6_708_400]);
}

#[test]
fn a_resolved_config_reads_back_as_itself_with_the_same_key() {
    for text in [
        "",
        "[model]\npreset = 'paper'\nprimary_sharing = 8",
        "[model]\npreset = 'tiny'\ndecoder = 'none'\n[schedule]\nlr = { policy = 'warm-restarts', period = 'batch-phase' }\nbatch = { policy = 'adabatch' }",
        "seed = 3\n[model]\nkind = 'lenet5'\n[data]\nname = 'cifar10'\ntrain_samples = 500",
    ] {
        let config = TrialConfig::resolve(text.parse().unwrap()).unwrap();
        let again = TrialConfig::resolve(config.to_toml().parse().unwrap()).unwrap();
        assert_eq!(config, again);
        assert_eq!(config.key("data"), again.key("data"));
        assert_ne!(config.key("data"), config.key("other data"));
        assert_ne!(config.key("data"), config.replicate(1).key("data"));
    }
}

#[test]
fn a_preset_and_its_fields_spelled_out_are_one_config() {
    let short = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
    let mut table = short.to_table();
    table.insert("train".into(), toml::Value::Table("epochs = 10".parse().unwrap()));
    assert_eq!(TrialConfig::resolve(table).unwrap().key(""), short.key(""));
}

proptest! {
    /// Whatever stands in the file, it is read or refused with a message.
    #[test]
    fn a_damaged_space_never_panics(cut in 0usize..3000, at in 0usize..3000, byte in 32u8..127) {
        for file in ["smoke", "mnist-small", "paper"] {
            let path = format!("{}/search-spaces/{file}.toml", env!("CARGO_MANIFEST_DIR"));
            let mut text = std::fs::read_to_string(path).unwrap();
            let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let whole = text.clone();
            text.truncate(cut);
            let _ = space_with(&text, &[]).map(|space| space.expand());
            let mut bytes = whole.into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = space_with(&text, &[]).map(|space| space.expand());
            }
        }
    }
}
