//! Pages that are served: who may look, what is refused, and that they follow their study.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use fastrcaps::engine::live::request::{Access, Head, Route, encoded, judge};
use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cli::{folder_with, program, refuse, told},
    facts::Facts,
    report::{SPACE, browse_at, study},
};

/// A server, ended when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    token: Option<String>,
}

impl Server {
    fn start(place: &Path, arguments: &[&str]) -> Server {
        let mut command = program();
        command.arg("serve").arg(place).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let rest = line.trim().strip_prefix("http://").unwrap_or_else(|| panic!("{line:?}"));
        let (address, query) = rest.split_once('/').unwrap();
        let token = query.strip_prefix("?token=").map(String::from);
        Server { child, address: address.parse().unwrap(), token }
    }

    fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes as they are; gives all that comes back.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.stream();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, target: &str, headers: &str) -> String {
        self.raw(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address).as_bytes())
    }

    /// By SIGTERM, as whoever runs the tests may have SIGINT ignored.
    fn interrupt(&mut self) -> Option<i32> {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[test]
fn a_study_is_served_on_loopback_and_ends_with_an_interrupt() {
    let mut server = Server::start(study(), &[]);
    assert!(server.address.ip().is_loopback() && server.token.is_none());
    let page = server.get("/", "");
    assert_eq!(status(&page), "200");
    for header in
        ["Content-Security-Policy: frame-ancestors 'none'; default-src 'none'", "Cache-Control: no-store", "nosniff"]
    {
        assert!(page.contains(header), "{header}");
    }
    assert!(page.contains("data-events=\"/events/space\"") && page.contains("All times are screened"));
    // What does not change comes once, and not with each page that is taken anew.
    assert!(page.contains("<script src=\"/echarts.js\"></script>") && page.len() < 500_000, "{}", page.len());
    let library = server.get("/echarts.js", "");
    assert!(
        status(&library) == "200" && library.contains("Content-Type: text/javascript") && library.contains("Apache")
    );
    let head = server.raw(format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).as_bytes());
    assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(server.interrupt(), Some(0));
}

#[test]
fn what_is_no_request_or_not_meant_for_it_is_refused() {
    let server = Server::start(study(), &[]);
    let own = server.address;
    let long = format!("GET /{} HTTP/1.1\r\nHost: {own}\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: {own}\r\n{}\r\n", "X: y\r\n".repeat(100));
    let line = |line: &str| format!("{line}\r\nHost: {own}\r\n\r\n");
    let rows: Vec<(&str, String, &str)> = vec![
        ("no HTTP", "hello\r\n\r\n".into(), "400"),
        ("nothing", "\r\n\r\n".into(), "408"),
        ("zero bytes", "\0\0\0\r\n\r\n".into(), "400"),
        ("no version", line("GET /"), "400"),
        ("HTTP/2", line("GET / HTTP/2.0"), "400"),
        ("a header without a colon", format!("GET / HTTP/1.1\r\nHost: {own}\r\nnonsense\r\n\r\n"), "400"),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".into(), "400"),
        ("two Hosts", format!("GET / HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n\r\n"), "400"),
        ("the Host of another", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), "421"),
        ("a Host that begins alike", "GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n".into(), "421"),
        ("too long a target", long, "431"),
        ("too many headers", many, "431"),
        ("POST", line("POST / HTTP/1.1"), "405"),
        ("PUT", line("PUT /study/space HTTP/1.1"), "405"),
        ("DELETE", line("DELETE /study/space HTTP/1.1"), "405"),
        ("OPTIONS", line("OPTIONS * HTTP/1.1"), "405"),
        ("CONNECT", line("CONNECT evil.example:443 HTTP/1.1"), "405"),
        ("up the path", line("GET /../../etc/passwd HTTP/1.1"), "404"),
        ("up the path, encoded", line("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1"), "404"),
        ("up from a study", line("GET /study/..%2f..%2fetc%2fpasswd HTTP/1.1"), "404"),
        ("up from a study, twice encoded", line("GET /study/%252e%252e HTTP/1.1"), "404"),
        ("up by backslashes", line("GET /study/..%5c..%5cetc HTTP/1.1"), "404"),
        ("the parent", line("GET /study/.. HTTP/1.1"), "404"),
        ("the study's own folder", line("GET /study/. HTTP/1.1"), "404"),
        ("a file of the study", line("GET /study/space/journal.sqlite HTTP/1.1"), "404"),
        ("a zero byte", line("GET /study/space%00 HTTP/1.1"), "404"),
        ("no UTF-8", line("GET /study/%ff%fe HTTP/1.1"), "404"),
        ("half an escape", line("GET /study/%2 HTTP/1.1"), "404"),
        ("another's address as target", line("GET http://evil.example/ HTTP/1.1"), "404"),
        ("a study that is not there", line("GET /study/other HTTP/1.1"), "404"),
        ("events of it", line("GET /events/other HTTP/1.1"), "404"),
    ];
    for (what, request, wanted) in rows {
        let answer = server.raw(request.as_bytes());
        println!("{what}: {}", status(&answer));
        assert!(wanted.contains(status(&answer)), "{what}: {}", answer.lines().next().unwrap_or_default());
        assert!(!answer.contains("root:"), "{what}");
    }
    assert_eq!(status(&server.get("/", "")), "200", "it still answers");
}

#[test]
fn another_interface_takes_the_token() {
    let server = Server::start(study(), &["--listen", "127.0.0.1"]);
    let token = server.token.clone().unwrap();
    assert_eq!(token.len(), 32);
    let wrong: String = token.chars().rev().collect();
    let rows = [
        ("none", "/".to_string(), String::new()),
        ("a wrong one", format!("/?token={wrong}0"), String::new()),
        ("an empty one", "/?token=".into(), String::new()),
        ("its beginning", format!("/?token={}", &token[..31]), String::new()),
        ("more than it", format!("/?token={token}0"), String::new()),
        ("in capitals", format!("/?token={}X", token.to_uppercase()), String::new()),
        ("a wrong cookie", "/".into(), "Cookie: fastrcaps-token=0\r\n".into()),
        ("a cookie of another name", "/".into(), format!("Cookie: xfastrcaps-token={token}\r\n")),
        ("none, for events", "/events/space".into(), String::new()),
    ];
    for (what, target, headers) in rows {
        assert_eq!(status(&server.get(&target, &headers)), "401", "{what}");
    }
    let kept = server.get(&format!("/study/space?token={token}"), "");
    assert_eq!(status(&kept), "303");
    assert!(kept.contains("Location: /study/space\r\n") && kept.contains("HttpOnly; SameSite=Strict"), "{kept}");
    let elsewhere = server.get(&format!("//evil.example/?token={token}"), "");
    assert!(elsewhere.contains("Location: /\r\n"), "{elsewhere}");
    let page = server.get("/study/space", &format!("Cookie: other=1; fastrcaps-token={token}\r\n"));
    assert!(status(&page) == "200" && !page.contains(&token), "the page does not say the token");
    assert_eq!(status(&server.raw(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")), "421");
}

#[test]
fn a_folder_of_studies_has_a_list_and_two_fronts_in_one_picture() {
    let place = study().parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two & <b>"] {
        copy(study(), &folder.path().join(name));
    }
    assert!(place.exists());
    let server = Server::start(folder.path(), &[]);
    let index = server.get("/", "");
    assert!(index.contains("/study/one") && index.contains("two &amp; &lt;b&gt;"), "{index}");
    let other = encoded("two & <b>");
    assert_eq!(status(&server.get(&format!("/study/{other}"), "")), "200");
    let both = server.get(&format!("/compare/one/{other}"), "");
    assert!(status(&both) == "200" && both.contains("Both fronts") && both.contains("chart-overlay"));
    assert_eq!(status(&server.get("/compare/one/none", "")), "404");
}

/// Copies the files of a study that pages need.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["study.toml", "journal.sqlite", "machine.json"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn who_follows_a_study_is_told_of_its_trials() {
    let folder = folder_with(SPACE);
    told(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm", "--limit", "2"]);
    let mut server = Server::start(&folder.path().join("results"), &[]);
    assert_eq!(status(&server.get("/study/space", "")), "200");
    let mut stream = server.stream();
    write!(stream, "GET /events/space HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.starts_with(": follows")));
    let before = server.get("/study/space", "");
    let since = Instant::now();
    told(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm"]);
    assert!(lines.by_ref().any(|line| line == "event: changed"), "no change was told");
    println!("told within {:.1} s of the start of a sweep", since.elapsed().as_secs_f64());
    // The watcher looks once a second; until it has, the last page may be kept.
    let patience = Instant::now();
    while server.get("/study/space", "") == before && patience.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(server.get("/study/space", "").contains(": 12 done"), "the page has all trials");
    assert_eq!(server.interrupt(), Some(0), "it ends while somebody follows");
}

#[test]
fn a_browser_draws_a_served_page_which_follows_its_study() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("space");
    copy(study(), &own);
    fs::copy(study().join("trials.csv"), own.join("trials.csv")).unwrap();
    let server = Server::start(&own, &[]);
    browse_at(&format!("http://{}/", server.address), &own.join("trials.csv"), "served");
}

#[test]
fn a_place_without_studies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    refuse(folder.path(), &["serve", "."]).names(["fastrcaps explore"]);
}

#[test]
fn a_name_in_an_address_comes_back_as_it_was() {
    for name in ["smoke", "a b", "ü/..", "%", "a?b#c"] {
        let head = Head {
            method: "GET".into(),
            target: format!("/study/{}", encoded(name)),
            headers: vec![("host".into(), "localhost:1".into())],
        };
        assert_eq!(judge(&head, &Access::Loopback), Ok(Route::Study(name.into())));
    }
}

proptest! {
    #[test]
    fn whatever_comes_in_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), target in "\\PC{0,40}") {
        let _ = Head::parse(&bytes);
        let text = format!("GET /{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        if let Ok(Some(head)) = Head::parse(text.as_bytes()) {
            let _ = judge(&head, &Access::Loopback);
            let listening = Access::Token { token: "0123456789abcdef".into(), host: "here".into() };
            let judged = judge(&head, &listening);
            prop_assert!(judged.is_err(), "{judged:?} without a token");
        }
    }
}
