//! A webhook receiver: it records what it gets and answers as the test sets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::eventually;

/// Takes messages over HTTP. It lasts as long as the test process.
#[derive(Debug)]
pub struct Hook {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    posts: Mutex<Vec<Post>>,
    status: AtomicU16,
}

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Hook {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let state = Arc::new(State { posts: Mutex::default(), status: AtomicU16::new(200) });
        let hook = Self { address: listener.local_addr().expect("an address"), state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                thread::spawn(move || state.take(&client));
            }
        });
        hook
    }

    /// Its address, with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers with this status from now on; a redirect leads to `/elsewhere`.
    pub fn answer(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// What came to a path so far.
    pub fn posts(&self, path: &str) -> Vec<Post> {
        let posts = self.state.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.iter().filter(|post| post.path == path).cloned().collect()
    }

    /// Waits until so many came to a path, and gives the last.
    #[track_caller]
    pub fn wait(&self, path: &str, count: usize) -> Post {
        eventually(&format!("{count} messages at {path}"), || {
            let posts = self.posts(path);
            (posts.len() >= count).then(|| posts.last().cloned()).flatten()
        })
    }
}

impl State {
    fn take(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let post = Post { path, headers, body: String::from_utf8(body).ok()? };
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).push(post);
        let status = self.status.load(Ordering::SeqCst);
        write!(
            stream,
            "HTTP/1.1 {status} x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .ok()
    }
}
