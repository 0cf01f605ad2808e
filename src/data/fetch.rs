//! Downloads the published files of a data set: resumed where one was interrupted, checked by
//! SHA-256, and put in place only when whole.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use ureq::{Agent, http::StatusCode};

use super::{
    file::hex,
    source::{PublishedFile, Source},
    verify::{Identity, identify},
};
use crate::files::{is_link, make_folder};

/// How often one URL is tried, as long as each try brings something new.
const TRIES: usize = 3;

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
    /// The file was there before, and is the published one.
    AlreadyThere,
}

/// Fetches the files of `source` into the folder `dir`, from its mirrors or from `mirror` alone.
///
/// A download grows in `NAME.part` and is renamed to `NAME` once its checksum is right; a later call
/// resumes it.
///
/// # Errors
/// When a file cannot be had from any mirror, its checksum is wrong (its part is then deleted), a
/// different file is in its place, or another process is fetching it. The message says which files to
/// place where by hand.
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
            let names = [file.name, file.name.trim_end_matches(".gz")];
            match identify(source, &target, &names)? {
                Identity::Published | Identity::SameContents => Outcome::AlreadyThere,
                Identity::Altered | Identity::Unknown => bail!(
                    "{} exists, but is not the published file (sha256 {}); move it away or delete it to fetch it",
                    target.display(),
                    file.sha256
                ),
            }
        } else {
            fetch_file(&agent, file, &target, mirrors, progress)
                .with_context(|| by_hand(source.files, dir, mirrors.first().unwrap_or(&"")))?;
            Outcome::Fetched
        };
        outcomes.push((target, outcome));
    }
    Ok(outcomes)
}

/// How to get the files without this function.
fn by_hand(files: &[PublishedFile], dir: &Path, mirror: &str) -> String {
    let urls: Vec<String> = files.iter().map(|file| format!("\n  {}", url(mirror, file))).collect();
    format!(
        "the download failed; run the command again to go on, or place these files in {}:{}\nwhat failed",
        dir.display(),
        urls.concat()
    )
}

fn url(mirror: &str, file: &PublishedFile) -> String {
    format!("{}/{}", mirror.trim_end_matches('/'), file.name)
}

fn fetch_file(
    agent: &Agent,
    file: &PublishedFile,
    target: &Path,
    mirrors: &[&str],
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let part_path = target.with_file_name(format!("{}.part", file.name));
    // Behind a link nothing is written, and nothing is put in its place.
    if let Some(link) = [target, &part_path].into_iter().find(|path| is_link(path)) {
        bail!("{} is a link: remove it to fetch the file", link.display());
    }
    let mut part = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part_path)
        .with_context(|| format!("cannot write {}", part_path.display()))?;
    // A file system without locks is no reason not to fetch.
    if let Err(TryLockError::WouldBlock) = part.try_lock() {
        bail!("{} is locked: another process is fetching it", part_path.display());
    }
    let mut failures = Vec::new();
    for mirror in mirrors {
        let url = url(mirror, file);
        for _ in 0..TRIES {
            let before = part.metadata()?.len();
            match download(agent, &url, file, &mut part, progress) {
                Ok(()) => {
                    part.sync_all()?;
                    fs::rename(&part_path, target)
                        .with_context(|| format!("cannot rename {} to {}", part_path.display(), target.display()))?;
                    let dir = target.parent().context("a file in a folder")?;
                    return Ok(File::open(dir)?.sync_all()?);
                }
                Err(error) => failures.push(format!("{url}: {error:#}")),
            }
            if part.metadata()?.len() == before {
                break;
            }
        }
    }
    if part.metadata()?.len() == 0 {
        fs::remove_file(&part_path)?;
    }
    failures.dedup();
    bail!("{}", failures.join("\n  "))
}

/// Brings `part` to the whole of `file`, going on from what it holds; empties it when the checksum is wrong.
fn download(
    agent: &Agent,
    url: &str,
    file: &PublishedFile,
    part: &mut File,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let mut hash = Sha256::new();
    let mut done = rehash(part, file.bytes, &mut hash)?;
    let resumed = done > 0;
    let mut report = |done: u64| progress(Progress { file: file.name, bytes_done: done, bytes_total: file.bytes });
    if done < file.bytes {
        let mut request = agent.get(url);
        if resumed {
            request = request.header("Range", format!("bytes={done}-"));
        }
        let mut response = request.call()?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if continues_at(response.headers(), done) => {}
            // The server does not do ranges, or not the one asked for: this is the file from its start.
            StatusCode::OK => {
                done = 0;
                hash = Sha256::new();
                empty(part)?;
            }
            // The part cannot be gone on from here: the next try starts from nothing.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                empty(part)?;
                bail!("the server did not give the bytes from {done} on");
            }
            status => bail!("the server answered {status}"),
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        report(done);
        while done < file.bytes {
            let length = body.read(&mut buffer).with_context(|| format!("after {done} of {} bytes", file.bytes))?;
            if length == 0 {
                bail!("ended after {done} of {} bytes", file.bytes);
            }
            let fitting = length.min(usize::try_from(file.bytes - done).unwrap_or(usize::MAX));
            part.write_all(&buffer[..fitting]).context("cannot write the part")?;
            hash.update(&buffer[..fitting]);
            done += fitting as u64;
            report(done);
        }
    }
    let found = hex(&hash.finalize());
    if found != file.sha256 {
        empty(part)?;
        bail!("sha256 is {found}, where {} was expected; the download was deleted", file.sha256);
    }
    Ok(())
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
