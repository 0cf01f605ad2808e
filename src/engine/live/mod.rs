//! Pages of studies, served while they are explored. Read-only: no request names a file, and nothing is written.
//!
//! One thread looks four times a second whether a study has changed ([`watch`]). Each connection has a thread, one request
//! ([`request`]), and its answer (`pages`); one that follows a study stays open and is told of changes. All of them stand
//! back: whatever trains goes first.

mod pages;
pub mod request;
pub mod watch;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{base::machine, present::page};
use pages::{Answer, Pages};
use request::{
    Access, COOKIE, Head, MALFORMED, MOST_HEAD, NOT_FOUND, Refusal, Route, TOO_LONG, TOO_MANY, TOO_SLOW, encoded, judge,
};
use watch::{Changes, studies_at};

/// How often it is looked whether a study has changed.
const LOOK: Duration = Duration::from_millis(250);
/// Trials go first, but where they take all cores a page must still come within a second: at 19 it does not.
const NICENESS: i32 = 10;
/// How often it is looked whether someone connects, or all is to end.
const ACCEPT: Duration = Duration::from_millis(50);
/// How long the head of a request, and the sending of a page, may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
const SEND_PATIENCE: Duration = Duration::from_secs(20);
/// How often who follows a study is told that the connection stands.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Connections at a time.
const MOST: usize = 64;

/// A server of pages that listens.
pub struct Live {
    listener: TcpListener,
    access: Access,
    place: PathBuf,
}

impl Live {
    /// Listens: on loopback, or where `listen` says, with a new token. `place` is a study, or a folder of studies.
    pub fn new(place: PathBuf, listen: Option<IpAddr>, port: u16) -> Result<Live> {
        if studies_at(&place).is_empty() {
            bail!(
                "{} is no study, and holds none: give a folder that `fastrcaps explore` made, or the one in which such folders are",
                place.display()
            );
        }
        let access = match listen {
            None => Access::Loopback,
            Some(_) => Access::Token { token: token()?, host: machine::host() },
        };
        let address = SocketAddr::new(listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port);
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}: give another --port"))?;
        listener.set_nonblocking(true).context("cannot wait for connections")?;
        Ok(Live { listener, access, place })
    }

    /// The address to open, with the token where there is one.
    pub fn url(&self) -> Result<String> {
        let address = self.listener.local_addr().context("cannot tell its own address")?;
        let port = address.port();
        Ok(match &self.access {
            Access::Loopback => format!("http://{address}/"),
            Access::Token { token, host } if address.ip().is_unspecified() => {
                format!("http://{host}:{port}/?token={token}")
            }
            Access::Token { token, .. } => format!("http://{address}/?token={token}"),
        })
    }

    /// Answers until `stop` says so.
    pub fn run(self, stop: &Arc<AtomicBool>) -> Result<()> {
        machine::stand_back(NICENESS);
        let server = Arc::new(Server {
            pages: Pages::new(self.place),
            changes: Changes::default(),
            access: self.access,
            stop: stop.clone(),
            open: AtomicUsize::new(0),
        });
        let watcher = thread::Builder::new().name("watch".into()).spawn({
            let server = server.clone();
            move || server.watch()
        })?;
        while !stop.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok((stream, _)) => server.take(stream),
                // Whoever went away at once, and a moment without descriptors, are no reason to end.
                Err(_) => thread::sleep(ACCEPT),
            }
        }
        server.changes.wake();
        let _ = watcher.join();
        // Who was answering ends with what it sends; nobody is waited for long.
        let since = Instant::now();
        while server.open.load(Ordering::Relaxed) > 0 && since.elapsed() < Duration::from_secs(2) {
            thread::sleep(ACCEPT);
        }
        Ok(())
    }
}

/// A token of 128 bits.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("cannot make a token: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Server {
    pages: Pages,
    changes: Changes,
    access: Access,
    stop: Arc<AtomicBool>,
    /// Connections that are open.
    open: AtomicUsize,
}

impl Server {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Looks for changes until the end.
    fn watch(&self) {
        let mut since = Instant::now();
        while !self.stops() {
            if since.elapsed() >= LOOK {
                since = Instant::now();
                self.pages.changed().iter().for_each(|name| self.changes.add(name));
            }
            thread::sleep(ACCEPT);
        }
        self.changes.wake();
    }

    /// Gives a connection its thread.
    fn take(self: &Arc<Self>, mut stream: TcpStream) {
        let set_up = || -> io::Result<()> {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(HEAD_PATIENCE))?;
            stream.set_write_timeout(Some(SEND_PATIENCE))
        };
        if set_up().is_err() {
            return;
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= MOST {
            let _ = refuse(&mut stream, TOO_MANY, false);
            self.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let server = self.clone();
        let spawned = thread::Builder::new().name("connection".into()).spawn(move || {
            // Of a client that went away nothing is to be said to anyone.
            let _ = server.answer(&mut stream);
            server.open.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, stream: &mut TcpStream) -> io::Result<()> {
        let head = match read_head(stream) {
            Ok(head) => head,
            Err(refusal) => return refuse(stream, refusal, false),
        };
        let answer = match judge(&head, &self.access) {
            Err(refusal) => return refuse(stream, refusal, head.is_head()),
            Ok(Route::Events(Some(name))) if !self.pages.has(&name) => Err(NOT_FOUND),
            Ok(Route::Events(name)) if !head.is_head() => return self.follow(stream, name.as_deref()),
            Ok(Route::Events(_)) => {
                Ok(Answer { kind: "text/event-stream", policy: String::new(), body: Arc::default() })
            }
            Ok(Route::Library) => return send(stream, 200, LIBRARY, page::ECHARTS.as_bytes(), head.is_head()),
            Ok(Route::Keep { token, to }) => return keep(stream, &token, &to),
            Ok(Route::Index) => self.pages.index(),
            Ok(Route::Study(name)) => self.pages.study(&name),
            Ok(Route::Compare(first, second)) => self.pages.compare(&first, &second),
        };
        match answer {
            Ok(answer) => {
                let policy = if answer.policy.is_empty() { String::new() } else { format!("; {}", answer.policy) };
                let own = format!(
                    "Content-Type: {}\r\nContent-Security-Policy: frame-ancestors 'none'{policy}\r\n",
                    answer.kind
                );
                send(stream, 200, &own, answer.body.as_bytes(), head.is_head())
            }
            Err(refusal) => refuse(stream, refusal, head.is_head()),
        }
    }

    /// Tells of changes until the client goes away.
    fn follow(&self, stream: &mut TcpStream, name: Option<&str>) -> io::Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{COMMON}\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(b": follows\n\n")?;
        let mut seen = self.changes.count(name);
        while !self.stops() {
            let now = self.changes.wait(name, seen, HEARTBEAT);
            let line =
                if now == seen { ": still here\n\n".to_string() } else { format!("event: changed\ndata: {now}\n\n") };
            seen = now;
            stream.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

/// Reads the head of a request, within its time.
fn read_head(stream: &mut TcpStream) -> Result<Head, Refusal> {
    let since = Instant::now();
    let mut bytes = Vec::with_capacity(1024);
    let mut part = [0; 1024];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return Err(MALFORMED),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(TOO_SLOW),
        }
        if let Some(head) = Head::parse(&bytes)? {
            return Ok(head);
        }
        if bytes.len() >= MOST_HEAD {
            return Err(TOO_LONG);
        }
        if since.elapsed() > HEAD_PATIENCE {
            return Err(TOO_SLOW);
        }
    }
}

/// What the answer with the charting library says.
const LIBRARY: &str = "Content-Type: text/javascript; charset=utf-8\r\n";

/// What every answer says.
const COMMON: &str = "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
     Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n";

fn send(stream: &mut TcpStream, status: u16, own: &str, body: &[u8], is_head: bool) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        303 => "See Other",
        _ => "Refused",
    };
    let head = format!("HTTP/1.1 {status} {reason}\r\n{own}{COMMON}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    if !is_head {
        stream.write_all(body)?;
    }
    stream.flush()?;
    // What was sent and not read would have the system take the answer back.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 1024];
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let _ = stream.read(&mut rest);
    Ok(())
}

fn refuse(stream: &mut TcpStream, Refusal { status, why }: Refusal, is_head: bool) -> io::Result<()> {
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let own = format!("Content-Type: text/plain; charset=utf-8\r\n{allow}");
    send(stream, status, &own, format!("{why}\n").as_bytes(), is_head)
}

/// Puts the token into a cookie, and leads to the page without it: a token in an address stays in histories.
fn keep(stream: &mut TcpStream, token: &str, to: &str) -> io::Result<()> {
    let to = to
        .split('/')
        .map(|part| if part.contains('%') { part.into() } else { encoded(part) })
        .collect::<Vec<_>>()
        .join("/");
    let own = format!("Location: {to}\r\nSet-Cookie: {COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/\r\n");
    send(stream, 303, &own, b"", false)
}
