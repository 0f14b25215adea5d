//! A server of files from elsewhere, plain, over TLS, or as a bucket that looks at the signature of every request (AWS
//! Signature Version 4). It knows ranges, breaks off when told to, and lasts as long as the test process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The region that its requests are signed for.
const REGION: &str = "us-east-1";

/// Who may read a bucket.
#[derive(Clone, Debug)]
struct Owner {
    id: String,
    secret: String,
}

/// Files from elsewhere.
#[derive(Clone, Debug)]
pub struct Depot {
    scheme: &'static str,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Where paths send the visitor on to.
    elsewhere: BTreeMap<String, String>,
    /// Answers that break off halfway.
    cuts: usize,
    down: bool,
    owner: Option<Owner>,
    /// Paths that were asked for, with the first byte.
    asked: Vec<String>,
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, content).as_ref())
}

impl Depot {
    /// One without TLS.
    pub fn plain() -> Self {
        Self::open("http", None)
    }

    /// One with the certificate of `localhost` in TEST_TLS_DIR.
    pub fn over_tls() -> Self {
        let folder = std::env::var("TEST_TLS_DIR").expect("run ./scripts/test, which makes certificates");
        let chain = CertificateDer::pem_file_iter(format!("{folder}/server.crt")).expect("a certificate");
        let chain = chain.map(|each| each.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("TLS").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
        Self::open("https", Some(Arc::new(config)))
    }

    fn open(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let depot =
            Self { scheme, address: listener.local_addr().expect("an address"), state: Arc::default() };
        let host = depot.clone();
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
        depot
    }

    /// Lets only this key in from now on; paths begin with the bucket's name.
    pub fn owned_by(self, id: &str, secret: &str) -> Self {
        self.state().owner = Some(Owner { id: id.to_owned(), secret: secret.to_owned() });
        self
    }

    /// Lays a file there.
    pub fn put(&self, path: &str, content: &[u8]) {
        self.state().files.insert(path.to_owned(), content.to_owned());
    }

    /// Sends whoever asks for a path on.
    pub fn send_on(&self, path: &str, to: &str) {
        self.state().elsewhere.insert(path.to_owned(), to.to_owned());
    }

    /// Lets so many of the next answers break off halfway.
    pub fn cut(&self, answers: usize) {
        self.state().cuts = answers;
    }

    /// Answers nothing but 503, or files again.
    pub fn is_down(&self, down: bool) {
        self.state().down = down;
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
        let Some((path, headers)) = read_head(&mut stream) else { return };
        let (head, body) = self.reply(&path, &headers);
        let _ = stream.write_all(format!("HTTP/1.1 {head}Connection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(&body);
        let _ = stream.flush();
    }

    fn reply(&self, path: &str, headers: &BTreeMap<String, String>) -> (String, Vec<u8>) {
        let mut state = self.state();
        let nothing = |status: &str| (format!("{status}\r\nContent-Length: 0\r\n"), Vec::new());
        let from = headers
            .get("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        state.asked.push(format!("{path} {}", from.unwrap_or(0)));
        if state.down {
            return nothing("503 Service Unavailable");
        }
        if state.owner.as_ref().is_some_and(|owner| !owner.signed(path, headers)) {
            return nothing("403 Forbidden");
        }
        if let Some(to) = state.elsewhere.get(path) {
            return (format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n"), Vec::new());
        }
        let Some(content) = state.files.get(path).cloned() else { return nothing("404 Not Found") };
        let tag = format!("\"{}\"", sha256(&content));
        let condition = headers.get("if-range").or(headers.get("if-match"));
        let from: usize = from.filter(|_| condition == Some(&tag)).unwrap_or(0);
        let mut body = content[from..].to_owned();
        let mut head = if from > 0 {
            format!(
                "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
                content.len() - 1,
                content.len()
            )
        } else {
            "200 OK\r\n".to_owned()
        };
        let modified = "Last-Modified: Mon, 05 Jan 2026 10:00:00 GMT";
        head.push_str(&format!("Content-Length: {}\r\nETag: {tag}\r\n{modified}\r\n", body.len()));
        if state.cuts > 0 {
            state.cuts -= 1;
            body.truncate(body.len() / 2);
        }
        (head, body)
    }
}

/// The path and the headers of a GET; nothing for anything else.
fn read_head(stream: &mut impl Read) -> Option<(String, BTreeMap<String, String>)> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    let header = |line: String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some((path, lines.take_while(|line| !line.is_empty()).filter_map(header).collect()))
}

impl Owner {
    /// Whether the request is signed with the key of the owner.
    fn signed(&self, path: &str, headers: &BTreeMap<String, String>) -> bool {
        self.signature(path, headers).is_some_and(|expected| {
            headers["authorization"].rsplit("Signature=").next() == Some(expected.as_str())
        })
    }

    fn signature(&self, path: &str, headers: &BTreeMap<String, String>) -> Option<String> {
        let authorization = headers.get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| authorization.split(name).nth(1)?.split(',').next().map(str::to_owned);
        let (credential, names) = (part("Credential=")?, part("SignedHeaders=")?);
        let (id, scope) = credential.split_once('/')?;
        let date = scope.split('/').next()?;
        if id != self.id || scope != format!("{date}/{REGION}/s3/aws4_request") {
            return None;
        }
        let lines: Option<String> =
            names.split(';').map(|name| Some(format!("{name}:{}\n", headers.get(name)?))).collect();
        let content = headers.get("x-amz-content-sha256")?;
        let request = format!("GET\n{path}\n\n{}\n{names}\n{content}", lines?);
        let moment = headers.get("x-amz-date")?;
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", sha256(request.as_bytes()));
        let key = [date, REGION, "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| sign(&key, part));
        Some(HEXLOWER.encode(&sign(&key, &text)))
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_owned()
}
