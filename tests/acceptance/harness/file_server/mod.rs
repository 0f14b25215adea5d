//! A server of files from elsewhere, plain, over TLS, or as a bucket that looks at the signature of every request
//! (AWS Signature Version 4). It knows ranges, takes, removes and lists files as S3 does, breaks off when told to,
//! and lasts as long as the test process.

mod listing;
mod owner;
mod request;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use owner::Owner;
use request::Request;

/// Files from elsewhere.
#[derive(Clone, Debug)]
pub struct FileServer {
    scheme: &'static str,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A file, and since when it lies there.
#[derive(Clone, Debug)]
struct Stored {
    content: Vec<u8>,
    since: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Stored>,
    /// Where paths send the visitor on to.
    elsewhere: BTreeMap<String, String>,
    /// Answers that break off: those with a file halfway, others before they begin.
    cuts: usize,
    down: bool,
    /// Whether what is put there waits.
    holds: bool,
    /// Paths of which half comes, and then nothing.
    stalled: BTreeSet<String>,
    /// The next answers to whoever asks for a path, as they are.
    answers: BTreeMap<String, VecDeque<Vec<u8>>>,
    owner: Option<Owner>,
    /// Paths that were asked for, with the first byte.
    asked: Vec<String>,
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, content).as_ref())
}

impl FileServer {
    /// One without TLS.
    pub fn plain() -> Self {
        Self::open("http", None)
    }

    /// One with the certificate of `localhost` in TEST_TLS_DIR.
    pub fn over_tls() -> Self {
        Self::open("https", Some(super::tls::certified()))
    }

    fn open(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let file_server =
            Self { scheme, address: listener.local_addr().expect("an address"), state: Arc::default() };
        let host = file_server.clone();
        thread::spawn(move || {
            for visitor in listener.incoming().map_while(Result::ok) {
                let (host, tls) = (host.clone(), tls.clone());
                thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("a connection");
                        host.answer(StreamOwned::new(connection, visitor));
                    }
                    None => host.answer(visitor),
                });
            }
        });
        file_server
    }

    /// Lets in only this key from now on; paths begin with the bucket's name.
    pub fn owned_by(self, id: &str, secret: &str) -> Self {
        self.state().owner = Some(Owner::new(id, secret));
        self
    }

    /// Lays a file there.
    pub fn put(&self, path: &str, content: &[u8]) {
        self.state().files.insert(path.to_owned(), Stored::now(content));
    }

    /// What lies there, by path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().files.iter().map(|(path, stored)| (path.clone(), stored.content.clone())).collect()
    }

    /// Sends whoever asks for a path on.
    pub fn send_on(&self, path: &str, to: &str) {
        self.state().elsewhere.insert(path.to_owned(), to.to_owned());
    }

    /// Lets so many of the next answers break off; what was asked for is done.
    pub fn cut(&self, answers: usize) {
        self.state().cuts = answers;
    }

    /// Answers nothing but 503, or files again.
    pub fn is_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Lets whoever puts a file there wait, or go on.
    pub fn hold(&self, holds: bool) {
        self.state().holds = holds;
    }

    /// Lets whoever asks for a path have half of it, and wait for the rest; or go on.
    pub fn stall(&self, path: &str, stalls: bool) {
        let stalled = &mut self.state().stalled;
        stalled.retain(|stalled| stalled != path);
        stalled.extend(stalls.then(|| path.to_owned()));
    }

    /// Answers the next one who asks for a path with this, and then breaks off.
    pub fn answer_with(&self, path: &str, answer: &[u8]) {
        self.state().answers.entry(path.to_owned()).or_default().push_back(answer.to_owned());
    }

    /// What was asked for so far: the path, and the byte from which on.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// The address of a path; the name is `localhost`, as in the certificate.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let Some(request) = Request::read(&mut stream) else { return };
        self.state().asked.push(match &*request.method {
            "GET" if request.query.is_empty() => format!("{} {}", request.path, request.from()),
            method => format!("{method} {}", request.path),
        });
        while request.method == "PUT" && self.state().holds {
            thread::sleep(Duration::from_millis(10));
        }
        let own = self.state().answers.get_mut(&request.path).and_then(VecDeque::pop_front);
        if let Some(answer) = own {
            let _ = stream.write_all(&answer).and_then(|()| stream.flush());
            return;
        }
        let Some((head, body)) = self.reply(&request) else { return };
        let _ = stream.write_all(format!("HTTP/1.1 {head}Connection: close\r\n\r\n").as_bytes());
        let stalls = || self.state().stalled.contains(&request.path);
        let (first, rest) = body.split_at(if stalls() { body.len() / 2 } else { body.len() });
        let _ = stream.write_all(first).and_then(|()| stream.flush());
        while stalls() {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = stream.write_all(rest).and_then(|()| stream.flush());
    }

    fn reply(&self, request: &Request) -> Option<(String, Vec<u8>)> {
        let mut state = self.state();
        let path = &request.path;
        if state.down {
            return Some(nothing("503 Service Unavailable"));
        }
        if state.owner.as_ref().is_some_and(|owner| !owner.signed(request)) {
            return Some(nothing("403 Forbidden"));
        }
        let answer = match &*request.method {
            "PUT" => {
                state.files.insert(path.clone(), Stored::now(&request.body));
                (
                    format!("200 OK\r\nETag: \"{}\"\r\nContent-Length: 0\r\n", sha256(&request.body)),
                    Vec::new(),
                )
            }
            "DELETE" => {
                state.files.remove(path);
                nothing("204 No Content")
            }
            "GET" if request.query.contains("list-type=2") => listing::of(&state.files, request),
            "GET" => return Some(state.file(request)),
            _ => nothing("405 Method Not Allowed"),
        };
        if state.cuts > 0 {
            state.cuts -= 1;
            return None;
        }
        Some(answer)
    }
}

impl Stored {
    #[expect(clippy::disallowed_methods, reason = "a bucket has a clock of its own")]
    fn now(content: &[u8]) -> Self {
        Self { content: content.to_owned(), since: SystemTime::now().into() }
    }
}

impl State {
    fn file(&mut self, request: &Request) -> (String, Vec<u8>) {
        if let Some(to) = self.elsewhere.get(&request.path) {
            return (format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n"), Vec::new());
        }
        let Some(content) = self.files.get(&request.path).map(|stored| stored.content.clone()) else {
            return nothing("404 Not Found");
        };
        let tag = format!("\"{}\"", sha256(&content));
        let condition = request.headers.get("if-range").or(request.headers.get("if-match"));
        let from = if condition == Some(&tag) { request.from() } else { 0 };
        let mut body = content[from..].to_owned();
        let mut head = match from {
            0 => "200 OK\r\n".to_owned(),
            _ => {
                let (last, length) = (content.len() - 1, content.len());
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{length}\r\n")
            }
        };
        let modified = "Last-Modified: Mon, 05 Jan 2026 10:00:00 GMT";
        head.push_str(&format!("Content-Length: {}\r\nETag: {tag}\r\n{modified}\r\n", body.len()));
        if self.cuts > 0 {
            self.cuts -= 1;
            body.truncate(body.len() / 2);
        }
        (head, body)
    }
}

fn nothing(status: &str) -> (String, Vec<u8>) {
    (format!("{status}\r\nContent-Length: 0\r\n"), Vec::new())
}
