//! What a connection asks for, and whether it may: pure functions of what came in.

use std::net::{IpAddr, Ipv6Addr};

use subtle::ConstantTimeEq;

use crate::present::page::ECHARTS_PATH;

/// Bytes that the head of a request has at most.
pub const MOST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;
/// The cookie in which a browser keeps the token.
pub const COOKIE: &str = "fastrcaps-token";

/// The head of a request; names of headers are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
}

/// Who may look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Programs of this machine.
    Loopback,
    /// Whoever has the token; `host` is this machine's name.
    Token { token: String, host: String },
}

/// Why a request is not answered: a status of HTTP, and words for who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub why: &'static str,
}

const fn refusal(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

pub const MALFORMED: Refusal = refusal(400, "this is no request of HTTP/1.1");
pub const TOO_LONG: Refusal = refusal(431, "the head of the request is too long");
pub const TOO_SLOW: Refusal = refusal(408, "the request did not come in time");
pub const TOO_MANY: Refusal = refusal(503, "too many connections are open: close some pages");
pub const NOT_FOUND: Refusal = refusal(404, "there is no such page; / lists the studies");
const WRONG_METHOD: Refusal = refusal(405, "pages can only be read: GET and HEAD");
const WRONG_HOST: Refusal =
    refusal(421, "the Host of the request is not this server's: open the address that was printed");
const NO_TOKEN: Refusal =
    refusal(401, "the token is missing or wrong: open the address that was printed, with its token");

/// What is asked for. Names are those of studies, decoded; they are looked up and never a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Index,
    Study(String),
    Compare(String, String),
    /// The charting library, which pages load once.
    Library,
    /// Changes of a study, or of any.
    Events(Option<String>),
    /// A token that is right, to be kept in a cookie: where to go on.
    Keep {
        token: String,
        to: String,
    },
}

impl Head {
    /// Reads a head; none where it has not ended yet.
    pub fn parse(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Partial) if bytes.len() >= MOST_HEAD => return Err(TOO_LONG),
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_LONG),
            Err(_) => return Err(MALFORMED),
        }
        let (Some(method), Some(target)) = (request.method, request.path) else { return Err(MALFORMED) };
        let header = |header: &httparse::Header| {
            Some((header.name.to_ascii_lowercase(), std::str::from_utf8(header.value).ok()?.trim().to_string()))
        };
        let headers = request.headers.iter().map(header).collect::<Option<Vec<_>>>().ok_or(MALFORMED)?;
        Ok(Some(Head { method: method.into(), target: target.into(), headers }))
    }

    /// The value of a header; none where it is not there, or there more than once.
    fn header(&self, name: &str) -> Option<&str> {
        let mut of = self.headers.iter().filter(|(other, _)| other == name);
        of.next().filter(|_| of.next().is_none()).map(|(_, value)| value.as_str())
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// What a request is answered with, or why not.
pub fn judge(head: &Head, access: &Access) -> Result<Route, Refusal> {
    if !matches!(head.method.as_str(), "GET" | "HEAD") {
        return Err(WRONG_METHOD);
    }
    let host = head.header("host").ok_or(MALFORMED)?;
    if !is_own(host, access) {
        return Err(WRONG_HOST);
    }
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    if let Access::Token { token, .. } = access {
        let given = query.split('&').find_map(|part| part.strip_prefix("token="));
        if let Some(given) = given {
            let to = if path.starts_with('/') && !path.starts_with("//") { path } else { "/" };
            return if same(given, token) {
                Ok(Route::Keep { token: token.clone(), to: to.into() })
            } else {
                Err(NO_TOKEN)
            };
        }
        let kept =
            head.header("cookie").unwrap_or_default().split(';').find_map(|part| part.trim().strip_prefix(COOKIE));
        if !kept.and_then(|rest| rest.strip_prefix('=')).is_some_and(|kept| same(kept, token)) {
            return Err(NO_TOKEN);
        }
    }
    route(path).ok_or(NOT_FOUND)
}

/// Compares in a time that says nothing about where two texts differ.
fn same(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

/// Whether a request is meant for this server: a page of another one that has its name lead here is not answered.
fn is_own(host: &str, access: &Access) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_address = |is_fit: fn(IpAddr) -> bool| {
        let v6 = || name.parse::<Ipv6Addr>().map(IpAddr::V6);
        name.parse::<IpAddr>().or_else(|_| v6()).is_ok_and(is_fit)
    };
    let is_local = name.eq_ignore_ascii_case("localhost") || is_address(|of| of.is_loopback());
    match access {
        Access::Loopback => is_local,
        Access::Token { host, .. } => {
            let first = name.split('.').next().unwrap_or_default();
            let own = host.split('.').next().unwrap_or_default();
            is_local || is_address(|_| true) || (!own.is_empty() && first.eq_ignore_ascii_case(own))
        }
    }
}

/// The page at a path.
fn route(path: &str) -> Option<Route> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match parts.as_slice() {
        [""] => Some(Route::Index),
        _ if path == ECHARTS_PATH => Some(Route::Library),
        ["study", name] => Some(Route::Study(decoded(name)?)),
        ["compare", first, second] => Some(Route::Compare(decoded(first)?, decoded(second)?)),
        ["events"] => Some(Route::Events(None)),
        ["events", name] => Some(Route::Events(Some(decoded(name)?))),
        _ => None,
    }
}

/// A part of a path without its percent signs; none where it is no UTF-8, or empty.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        let digit = |of: Option<u8>| char::from(of?).to_digit(16);
        match byte {
            b'%' => bytes.push((digit(rest.next())? * 16 + digit(rest.next())?) as u8),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

/// A name as part of a path.
pub fn encoded(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let part = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(part).collect()
}
