//! Fetching from a small server that misbehaves in known ways.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use fastrcaps::learn::data::{
    descriptor::{PublishedFile, Source},
    fetch::{Outcome, fetch},
};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, PartialEq)]
enum Server {
    /// Serves everything, and ranges.
    Good,
    /// Ends the first connection after a third of the file; then as `Good`.
    BreaksOnce,
    /// Knows no ranges: always the whole file.
    NoRanges,
    /// Answers 503 to everything.
    Down,
    /// Answers 404 to everything.
    Missing,
}

/// The `Range` header of each request, in order.
type Requests = Arc<Mutex<Vec<Option<String>>>>;

fn serve(server: Server, content: Vec<u8>) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = requests.clone();
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            answer(server, index, &content, &seen, stream.unwrap());
        }
    });
    (url, requests)
}

fn answer(server: Server, index: usize, content: &[u8], seen: &Requests, mut stream: TcpStream) {
    let mut range = None;
    for line in BufReader::new(&stream).lines() {
        let line = line.unwrap().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: ") {
            range = Some(value.to_owned());
        }
    }
    seen.lock().unwrap().push(range.clone());
    let start = range.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
    let (head, body) = match start {
        _ if server == Server::Down => ("HTTP/1.1 503 Service Unavailable\r\n".to_owned(), &b"down"[..]),
        _ if server == Server::Missing => ("HTTP/1.1 404 Not Found\r\n".to_owned(), &b"not here"[..]),
        Some(start) if server != Server::NoRanges => (
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n",
                content.len() - 1,
                content.len()
            ),
            &content[start..],
        ),
        _ => ("HTTP/1.1 200 OK\r\n".to_owned(), content),
    };
    let sent = if server == Server::BreaksOnce && index == 0 { &body[..body.len() / 3] } else { body };
    write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
    // The client may hang up first.
    let _ = stream.write_all(sent);
}

/// `files` of a data set with checksums of their contents, as a server has them; published are others of the same contents.
fn source_with(name: &str, published: &[u8], contents: &[(&str, &[u8])]) -> Source {
    let of = |(name, bytes): &(&str, &[u8])| (&*name.to_string().leak(), &*sha256(bytes).leak());
    let contents: Vec<(&'static str, &'static str)> = contents.iter().map(of).collect();
    let file = PublishedFile {
        name: name.to_string().leak(),
        bytes: published.len() as u64,
        sha256: sha256(published).leak(),
    };
    Source {
        files: vec![file].leak(),
        contents: contents.leak(),
        ..source_of(published, &["http://127.0.0.1:1/known"])
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::new(level));
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn content() -> Vec<u8> {
    (0..300_000_u64).map(|index| ((index * index) >> 7) as u8).collect()
}

fn source_of(content: &[u8], mirrors: &[&str]) -> Source {
    let sha256 = sha256(content);
    let mirrors: Vec<&'static str> = mirrors.iter().map(|mirror| &*mirror.to_string().leak()).collect();
    let files = vec![PublishedFile { name: "digits.bin", bytes: content.len() as u64, sha256: sha256.leak() }];
    Source { mirrors: mirrors.leak(), files: files.leak(), contents: &[], layouts: &[], unread: &[] }
}

fn fetched(source: &Source, dir: &Path) -> anyhow::Result<Outcome> {
    Ok(fetch(source, dir, None, &mut |_| {})?[0].1)
}

fn names_in(dir: &Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_downloaded_whole_and_not_a_second_time() {
    let (url, requests) = serve(Server::Good, content());
    let dir = tempfile::tempdir().unwrap();
    let source = source_of(&content(), &[&url]);
    let mut last = (0, 0);
    let outcomes = fetch(&source, &dir.path().join("new"), None, &mut |progress| {
        assert!(progress.bytes_done >= last.0);
        last = (progress.bytes_done, progress.bytes_total);
    });
    assert_eq!(outcomes.unwrap()[0].1, Outcome::Fetched);
    assert_eq!(last, (300_000, 300_000));
    assert_eq!(fs::read(dir.path().join("new/digits.bin")).unwrap(), content());
    assert_eq!(fetched(&source, &dir.path().join("new")).unwrap(), Outcome::AlreadyThere);
    assert_eq!(requests.lock().unwrap().len(), 1);
    assert_eq!(names_in(&dir.path().join("new")), ["digits.bin"]);
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let (url, requests) = serve(Server::BreaksOnce, content());
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(fetched(&source_of(&content(), &[&url]), dir.path()).unwrap(), Outcome::Fetched);
    assert_eq!(*requests.lock().unwrap(), [None, Some("bytes=100000-".to_owned())]);
    assert_eq!(fs::read(dir.path().join("digits.bin")).unwrap(), content());
}

#[test]
fn a_part_of_an_earlier_call_is_resumed() {
    let (url, requests) = serve(Server::Good, content());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("digits.bin.part"), &content()[..1234]).unwrap();
    fetched(&source_of(&content(), &[&url]), dir.path()).unwrap();
    assert_eq!(*requests.lock().unwrap(), [Some("bytes=1234-".to_owned())]);
    assert_eq!(names_in(dir.path()), ["digits.bin"]);
}

#[test]
fn nothing_is_fetched_through_a_link_or_into_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let source = source_of(&content(), &["http://127.0.0.1:1"]);
    fs::write(dir.path().join("precious"), "x").unwrap();
    for (link, target) in [("digits.bin.part", "precious"), ("digits.bin", "nowhere")] {
        let link = dir.path().join(link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let said = format!("{:#}", fetched(&source, dir.path()).unwrap_err());
        assert!(said.contains("is a link: remove it") && link.is_symlink(), "{said}");
        fs::remove_file(link).unwrap();
    }
    assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"x");
    let said = format!("{:#}", fetched(&source, &dir.path().join("precious")).unwrap_err());
    assert!(said.contains("precious is a file, not a folder"), "{said}");
}

#[test]
fn a_part_that_was_whole_needs_no_server() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("digits.bin.part"), content()).unwrap();
    fetched(&source_of(&content(), &["http://127.0.0.1:1"]), dir.path()).unwrap();
    assert_eq!(names_in(dir.path()), ["digits.bin"]);
}

#[test]
fn a_server_without_ranges_gives_the_file_from_its_start() {
    let (url, _) = serve(Server::NoRanges, content());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("digits.bin.part"), vec![7; 5000]).unwrap();
    fetched(&source_of(&content(), &[&url]), dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("digits.bin")).unwrap(), content());
}

#[test]
fn a_part_of_something_else_is_dropped_and_the_file_fetched_anew() {
    let (url, requests) = serve(Server::Good, content());
    for wrong in [vec![7; 5000], vec![7; 300_000], vec![7; 300_001]] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("digits.bin.part"), wrong).unwrap();
        fetched(&source_of(&content(), &[&url]), dir.path()).unwrap();
        assert_eq!(requests.lock().unwrap().last(), Some(&None));
        assert_eq!(fs::read(dir.path().join("digits.bin")).unwrap(), content());
    }
}

#[test]
fn a_wrong_checksum_leaves_nothing_behind() {
    let (url, requests) = serve(Server::Good, vec![1; 300_000]);
    let dir = tempfile::tempdir().unwrap();
    let error = format!("{:#}", fetched(&source_of(&content(), &[&url]), dir.path()).unwrap_err());
    assert!(error.contains("sha256 is") && error.contains("was deleted"), "{error}");
    assert!(names_in(dir.path()).is_empty());
    assert_eq!(requests.lock().unwrap().len(), 1, "the same bytes are not asked for again");
}

#[test]
fn the_next_mirror_is_tried_when_one_is_down_and_keeps_the_part() {
    let (down, _) = serve(Server::Down, content());
    let (good, requests) = serve(Server::Good, content());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("digits.bin.part"), &content()[..99]).unwrap();
    fetched(&source_of(&content(), &[&down, &good]), dir.path()).unwrap();
    assert_eq!(*requests.lock().unwrap(), [Some("bytes=99-".to_owned())]);
}

#[test]
fn a_refused_connection_says_what_to_place_where_and_keeps_the_part() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("digits.bin.part"), &content()[..99]).unwrap();
    let error = format!("{:#}", fetched(&source_of(&content(), &[&url]), dir.path()).unwrap_err());
    for part in [&format!("{url}/digits.bin"), dir.path().to_str().unwrap(), "refused"] {
        assert!(error.contains(part), "{part} is missing from: {error}");
    }
    assert_eq!(names_in(dir.path()), ["digits.bin.part"]);
}

#[test]
fn another_file_of_the_name_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("digits.bin"), b"mine").unwrap();
    let error = format!("{:#}", fetched(&source_of(&content(), &["http://127.0.0.1:1"]), dir.path()).unwrap_err());
    assert!(error.contains("is not the published file"), "{error}");
    assert_eq!(fs::read(dir.path().join("digits.bin")).unwrap(), b"mine");
}

#[test]
fn two_processes_do_not_write_one_part() {
    let dir = tempfile::tempdir().unwrap();
    let part = fs::File::create(dir.path().join("digits.bin.part")).unwrap();
    part.lock().unwrap();
    let error = format!("{:#}", fetched(&source_of(&content(), &["http://127.0.0.1:1"]), dir.path()).unwrap_err());
    assert!(error.contains("another process is fetching it"), "{error}");
}

#[test]
fn a_file_packed_otherwise_is_taken_by_its_contents_whatever_its_size() {
    let raw = vec![7; 1000];
    let packed = [gzip(&raw, 0), gzip(&raw, 9), raw.clone()];
    for (published, served) in [(0, 1), (0, 2), (2, 0)] {
        let source = source_with("digits.gz", &packed[published], &[("digits", &raw)]);
        let (url, requests) = serve(Server::Good, packed[served].clone());
        let dir = tempfile::tempdir().unwrap();
        let fetched = || fetch(&source, dir.path(), Some(&url), &mut |_| {}).unwrap()[0].1;
        assert_eq!(fetched(), Outcome::FetchedRepacked);
        assert_eq!(fetched(), Outcome::AlreadyThere);
        assert_eq!(names_in(dir.path()), ["digits.gz"]);
        assert_eq!(requests.lock().unwrap().len(), 1);
    }
}

#[test]
fn an_archive_packed_otherwise_is_taken_by_the_files_in_it() {
    let archive = |level: u32, last: &[u8]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in [("data_batch_1.bin", &b"one"[..]), ("readme.html", b"x"), ("test_batch.bin", last)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes).unwrap();
        }
        gzip(&tar.into_inner().unwrap(), level)
    };
    let contents: [(&str, &[u8]); 2] = [("data_batch_1.bin", b"one"), ("test_batch.bin", b"two")];
    let source = source_with("cifar-10-binary.tar.gz", &archive(9, b"two"), &contents);
    for (last, is_right) in [(&b"two"[..], true), (b"three", false)] {
        let (url, _) = serve(Server::Good, archive(1, last));
        let dir = tempfile::tempdir().unwrap();
        let fetched = fetch(&source, dir.path(), Some(&url), &mut |_| {});
        assert_eq!(fetched.is_ok(), is_right, "{fetched:?}");
    }
}

#[test]
fn a_mirror_of_other_files_is_named_with_sizes_and_nobody_is_told_to_try_again() {
    let published = gzip(&content(), 9);
    let source = source_with("digits.gz", &published, &[("digits", &content())]);
    let huge = vec![0; 6 * published.len()];
    let sizes = [published.len(), 500, huge.len()].map(|size| size.to_string());
    for (server, served, said) in [
        (Server::Good, gzip(b"something else", 9), vec!["is not the published data", &sizes[0]]),
        (Server::Good, b"<html>no such file</html>".repeat(20), vec!["is not the published data", &sizes[1]]),
        (Server::Good, huge, vec!["another file", &sizes[2]]),
        (Server::Missing, content(), vec!["404"]),
    ] {
        let (url, requests) = serve(server, served);
        let dir = tempfile::tempdir().unwrap();
        let error = format!("{:#}", fetch(&source, dir.path(), Some(&url), &mut |_| {}).unwrap_err());
        let advice = [format!("{url} does not have the published files"), "known/digits.gz".into()];
        for part in said.into_iter().chain(advice.iter().map(String::as_str)) {
            assert!(error.contains(part), "{part} is missing from: {error}");
        }
        assert!(!error.contains("run the command again"), "{error}");
        assert!(names_in(dir.path()).is_empty());
        assert_eq!(requests.lock().unwrap().len(), 1, "it is not asked for again");
    }
}

#[test]
fn where_no_contents_are_known_another_packing_is_refused_in_words() {
    let source = source_with("digits.gz", &gzip(&content(), 9), &[]);
    let (url, _) = serve(Server::Good, gzip(&content(), 1));
    let dir = tempfile::tempdir().unwrap();
    let error = format!("{:#}", fetch(&source, dir.path(), Some(&url), &mut |_| {}).unwrap_err());
    assert!(error.contains("no checksum of what is in it is known"), "{error}");
}
