//! Downloads the published files of a data set: resumed where one was interrupted, checked by
//! SHA-256 (of the file, or of what is in it), and put in place only when whole.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode},
};

use super::{
    descriptor::{PublishedFile, Source},
    file::hex,
    identity::{Identity, identify},
};
use crate::base::{
    files::{is_link, make_folder},
    words::plural,
};

/// How often one URL is tried, as long as each try brings something new.
const TRIES: usize = 3;

/// Size of the largest file that is taken for another packing, in sizes of the published one: MNIST's images have 4.75 times as
/// many bytes when they are not packed at all.
const LARGEST: u64 = 5;

/// A failure that comes again however often the same server is asked: it has something else, or nothing, under this name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lasting(String);

/// How far the download of one file has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub file: &'a str,
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// What became of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fetched,
    /// Fetched, packed otherwise than published: what is in it is right.
    FetchedRepacked,
    /// The file was there before, and is the published one.
    AlreadyThere,
}

/// Fetches the files of `source` into the folder `dir`, from its mirrors or from `mirror` alone.
///
/// A download grows in `NAME.part` and is renamed to `NAME` once its checksum is right, or that of its contents; a later call
/// resumes it.
///
/// # Errors
/// When a file cannot be had from any mirror, its checksum and that of its contents are wrong (its part is then deleted), a
/// different file is in its place, or another process is fetching it. The message says which files to
/// place where by hand, and to run the command again where that may help.
pub fn fetch(
    source: &Source,
    dir: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<(PathBuf, Outcome)>> {
    let mirrors = mirror.as_ref().map_or(source.mirrors, std::slice::from_ref);
    make_folder(dir)?;
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut outcomes = Vec::new();
    for file in source.files {
        let target = dir.join(file.name);
        let outcome = if target.exists() {
            match identify(source, &target, &names(file))? {
                Identity::Published | Identity::SameContents => Outcome::AlreadyThere,
                Identity::Altered | Identity::Unknown => bail!(
                    "{} exists, but is not the published file (sha256 {}); move it away or delete it to fetch it",
                    target.display(),
                    file.sha256
                ),
            }
        } else {
            fetch_file(&agent, source, file, &target, mirrors, progress).map_err(|error| {
                let advice = advice(&error, source, dir, mirror, mirrors);
                error.context(advice)
            })?
        };
        outcomes.push((target, outcome));
    }
    Ok(outcomes)
}

/// What to do about an error, with the files that can be fetched by hand.
fn advice(error: &Error, source: &Source, dir: &Path, given: Option<&str>, mirrors: &[&str]) -> String {
    let (what, from) = match (error.is::<Lasting>(), given) {
        (false, _) => ("the download failed; run the command again to go on, or place".to_string(), mirrors),
        // From the known ones: the given one does not have them.
        (true, Some(mirror)) => (
            format!(
                "{mirror} does not have the published files; take the known mirrors (without --mirror) or another one, or place"
            ),
            source.mirrors,
        ),
        (true, None) => {
            ("no known mirror has the published files; give another one with --mirror URL, or place".into(), mirrors)
        }
    };
    let mirror = from.first().unwrap_or(&"");
    let urls: Vec<String> = source.files.iter().map(|file| format!("\n  {}", url(mirror, file))).collect();
    format!("{what} these files in {}:{}\nwhat failed", dir.display(), urls.concat())
}

fn url(mirror: &str, file: &PublishedFile) -> String {
    format!("{}/{}", mirror.trim_end_matches('/'), file.name)
}

fn fetch_file(
    agent: &Agent,
    source: &Source,
    file: &PublishedFile,
    target: &Path,
    mirrors: &[&str],
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome> {
    let part_path = target.with_file_name(format!("{}.part", file.name));
    let mut part = open_part(target, &part_path)?;
    // What cannot be unpacked holds something else.
    let inside = || identify(source, &part_path, &names(file)).unwrap_or(Identity::Altered);
    let mut failures = Vec::new();
    let mut is_lasting = true;
    for mirror in mirrors {
        let url = url(mirror, file);
        let mut last = false;
        for _ in 0..TRIES {
            let before = part.metadata()?.len();
            match download(agent, &url, file, &mut part, &inside, progress) {
                Ok(outcome) => {
                    part.sync_all()?;
                    fs::rename(&part_path, target)
                        .with_context(|| format!("cannot rename {} to {}", part_path.display(), target.display()))?;
                    let dir = target.parent().context("a file in a folder")?;
                    File::open(dir)?.sync_all()?;
                    return Ok(outcome);
                }
                Err(error) => {
                    // What an earlier part was to blame for shows in the try that follows it.
                    last = error.is::<Lasting>();
                    failures.push(format!("{url}: {error:#}"));
                }
            }
            if part.metadata()?.len() == before {
                break;
            }
        }
        is_lasting &= last;
    }
    if part.metadata()?.len() == 0 {
        fs::remove_file(&part_path)?;
    }
    failures.dedup();
    let failures = failures.join("\n  ");
    if is_lasting { Err(Lasting(failures).into()) } else { bail!("{failures}") }
}

/// The part of a file, for this process alone.
fn open_part(target: &Path, part_path: &Path) -> Result<File> {
    // Behind a link nothing is written, and nothing is put in its place.
    if let Some(link) = [target, part_path].into_iter().find(|path| is_link(path)) {
        bail!("{} is a link: remove it to fetch the file", link.display());
    }
    let part = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(part_path)
        .with_context(|| format!("cannot write {}", part_path.display()))?;
    // A file system without locks is no reason not to fetch.
    if let Err(TryLockError::WouldBlock) = part.try_lock() {
        bail!("{} is locked: another process is fetching it", part_path.display());
    }
    Ok(part)
}

/// The names under which what a published file holds is known.
fn names(file: &PublishedFile) -> [&'static str; 2] {
    [file.name, file.name.trim_end_matches(".gz")]
}

/// Brings `part` to the whole of `file`, going on from what it holds; empties it when it is another file, whose contents are
/// not right either.
fn download(
    agent: &Agent,
    url: &str,
    file: &PublishedFile,
    part: &mut File,
    inside: &dyn Fn() -> Identity,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome> {
    let mut hash = Sha256::new();
    let done = rehash(part, file.bytes, &mut hash)?;
    let mut download = Download { file, part, hash, done };
    if done < file.bytes {
        let (response, total) = download.ask(agent, url)?;
        download.receive(response, total, progress)?;
    }
    download.judge(inside)
}

/// A part of a file while more of it comes.
struct Download<'a> {
    file: &'a PublishedFile,
    part: &'a mut File,
    /// Of what the part holds.
    hash: Sha256,
    /// Bytes that the part holds.
    done: u64,
}

impl Download<'_> {
    /// Asks for what is missing: the answer, and the size of the whole file where the server says it.
    fn ask(&mut self, agent: &Agent, url: &str) -> Result<(Response<Body>, Option<u64>)> {
        let mut request = agent.get(url);
        if self.done > 0 {
            request = request.header("Range", format!("bytes={}-", self.done));
        }
        let response = request.call()?;
        let total = match response.status() {
            StatusCode::PARTIAL_CONTENT if continues_at(response.headers(), self.done) => {
                whole_size(response.headers())
            }
            // The server does not do ranges, or not the one asked for: this is the file from its start.
            StatusCode::OK => {
                (self.done, self.hash) = (0, Sha256::new());
                empty(self.part)?;
                response.body().content_length()
            }
            // The part cannot be gone on from here: the next try starts from nothing.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                empty(self.part)?;
                bail!("the server did not give the bytes from {} on", self.done);
            }
            status => {
                let answer = format!("the server answered {status}");
                return Err(if is_lasting(status) { Lasting(answer).into() } else { anyhow!(answer) });
            }
        };
        Ok((response, total))
    }

    /// Adds what the answer brings to the part.
    fn receive(
        &mut self,
        mut response: Response<Body>,
        total: Option<u64>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        // What the server has may be the same, packed otherwise: then it has a size of its own.
        let most = LARGEST.saturating_mul(self.file.bytes);
        let published = plural(self.file.bytes as usize, "byte");
        let too_large = |bytes: u64| {
            let found = plural(bytes as usize, "byte");
            Lasting(format!("it has {found} or more, where {published} were expected: another file"))
        };
        if let Some(total) = total.filter(|total| *total > most) {
            return Err(too_large(total).into());
        }
        let bytes_total = total.unwrap_or(self.file.bytes);
        let mut report = |bytes_done: u64| progress(Progress { file: self.file.name, bytes_done, bytes_total });
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        report(self.done);
        loop {
            let length =
                body.read(&mut buffer).with_context(|| format!("after {} of {bytes_total} bytes", self.done))?;
            if length == 0 {
                break;
            }
            self.part.write_all(&buffer[..length]).context("cannot write the part")?;
            self.hash.update(&buffer[..length]);
            self.done += length as u64;
            report(self.done);
            if self.done > most {
                empty(self.part)?;
                return Err(too_large(self.done).into());
            }
        }
        if total.is_some_and(|total| self.done < total) {
            bail!("ended after {} of {bytes_total} bytes", self.done);
        }
        Ok(())
    }

    /// Whether the part is the published file, or holds the same.
    fn judge(self, inside: &dyn Fn() -> Identity) -> Result<Outcome> {
        let found = hex(&self.hash.finalize());
        if found == self.file.sha256 {
            return Ok(Outcome::Fetched);
        }
        let inside = match inside() {
            Identity::Published | Identity::SameContents => return Ok(Outcome::FetchedRepacked),
            Identity::Altered => "what is in it is not the published data, either",
            Identity::Unknown => "no checksum of what is in it is known, by which another packing could be told",
        };
        empty(self.part)?;
        Err(Lasting(format!(
            "it is another file: {}, whose sha256 is {found}, where {} with {} were expected; {inside}; the download was \
             deleted",
            plural(self.done as usize, "byte"),
            self.file.bytes,
            self.file.sha256
        ))
        .into())
    }
}

/// Whether a server that answers this does so again: not where it is busy or broken.
fn is_lasting(status: StatusCode) -> bool {
    const PASSING: [StatusCode; 3] =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !PASSING.contains(&status)
}

/// Feeds what the part holds to `hash` and gives its length; a part longer than the file is emptied.
fn rehash(part: &mut File, limit: u64, hash: &mut Sha256) -> Result<u64> {
    if part.metadata()?.len() > limit {
        empty(part)?;
    }
    part.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(done),
            length => {
                hash.update(&buffer[..length]);
                done += length as u64;
            }
        }
    }
}

fn empty(part: &mut File) -> Result<()> {
    part.set_len(0)?;
    part.seek(SeekFrom::Start(0))?;
    Ok(())
}

fn continues_at(headers: &ureq::http::HeaderMap, done: u64) -> bool {
    let range = headers.get("content-range").and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {done}-")))
}

/// The size of the whole file of which a part comes, where the server says it.
fn whole_size(headers: &ureq::http::HeaderMap) -> Option<u64> {
    headers.get("content-range")?.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}
