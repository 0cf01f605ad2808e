//! The frame of every page: its head, its policy, its style and scripts, and what stands in its foot.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use crate::base::machine::{self, VERSION};

/// How every page begins: a file that begins so may be written anew.
pub use crate::search::study::holdings::PAGE_MARK as MARK;

const STYLE: &str = concat!(include_str!("style.css"), include_str!("style-table.css"));
/// The charting library; a served page takes it from [`ECHARTS_PATH`], so that a page that is taken anew comes without it.
pub const ECHARTS: &str = include_str!(env!("FASTRCAPS_ECHARTS"));
pub const ECHARTS_PATH: &str = "/echarts.js";
const ECHARTS_VERSION: &str = env!("FASTRCAPS_ECHARTS_VERSION");
/// Ours, in the order in which they need each other.
const SCRIPTS: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("js/words.js"),
    include_str!("js/study.js"),
    include_str!("js/filter.js"),
    include_str!("js/table.js"),
    include_str!("js/front.js"),
    include_str!("js/relations.js"),
    include_str!("js/curves.js"),
    include_str!("js/overlay.js"),
    include_str!("js/live.js"),
    include_str!("js/main.js"),
    "})();\n",
);

/// A page before it is written out.
pub struct Document {
    pub title: String,
    pub body: Markup,
    /// What scripts read.
    pub data: Option<serde_json::Value>,
}

/// Where a page is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// A file: it reaches for nothing.
    #[default]
    File,
    /// Served, with the address that tells of changes.
    Live { events: String, home: String },
}

impl Document {
    /// The page as a file, or as it is served.
    pub fn write(&self, content: &Content) -> String {
        let (events, home) = match content {
            Content::File => (None, None),
            Content::Live { events, home } => (Some(events), Some(home)),
        };
        let page = html! {
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy(content));
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="referrer" content="no-referrer";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content={ "fastrcaps " (VERSION) };
                    title { (self.title) }
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                }
                body data-events=[events] {
                    a.skip href="#main" { "Skip to the content" }
                    @if let Some(home) = home {
                        p.live { a href=(home) { "All studies" } " · " span #live role="status" { "connecting …" } }
                    }
                    main #main { (self.body) }
                    (foot())
                    @if let Some(data) = &self.data {
                        script type="application/json" id="data" { (PreEscaped(json(data))) }
                        @if events.is_some() { script src=(ECHARTS_PATH) {} } @else { script { (PreEscaped(ECHARTS)) } }
                    }
                    @if self.data.is_some() || events.is_some() { script { (PreEscaped(SCRIPTS)) } }
                }
            }
        };
        format!("{MARK}\n{}", page.into_string())
    }
}

/// Nothing comes from elsewhere, and of scripts within the page those run only that are known by their hash: a label that were
/// taken for one would not. Styles may be inline, as ECharts sets them so.
pub fn policy(content: &Content) -> String {
    let hash = |script: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script)));
    let (library, connect) = match content {
        Content::File => (hash(ECHARTS), "'none'"),
        Content::Live { .. } => ("'self'".into(), "'self'"),
    };
    format!(
        "default-src 'none'; script-src {library} {}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}; \
         base-uri 'none'; form-action 'none'",
        hash(SCRIPTS)
    )
}

/// JSON that ends no element, whatever texts it holds.
fn json(data: &serde_json::Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

fn foot() -> Markup {
    let build = machine::git_revision().map_or(String::new(), |build| format!(", build {build}"));
    html! {
        footer {
            p { "Written by fastrcaps " (VERSION) (build) ". The page reaches for nothing outside itself." }
            p {
                "Interactive charts: Apache ECharts " (ECHARTS_VERSION) ", © The Apache Software Foundation, Apache License 2.0; \
                 it comes with the crate charming (MIT or Apache-2.0). Pictures: plotters (MIT), with the letters of Noto Sans \
                 (Apache-2.0)."
            }
        }
    }
}
