//! Load over HTTP/1.1: a closed loop on each of a number of kept connections, as cheap as the generator can be made, so
//! that what is measured is the server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use crate::figures::quantile;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes of the count.
const COUNT_BYTES: usize = 4;
/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What to send, and how much of it.
#[derive(Args)]
pub struct Options {
    /// The server's address.
    #[arg(long)]
    address: SocketAddr,
    /// The path to post to.
    #[arg(long)]
    path: String,
    /// A file with the body.
    #[arg(long)]
    body: PathBuf,
    /// A header line, such as "Authorization: Bearer …"; may be given several times.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// A file with further header lines: what should not show in a list of processes.
    #[arg(long)]
    header_file: Option<PathBuf>,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// How long, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long before that nothing is counted, in seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Microseconds between the end of an answer and the next request of a connection: 0 is as fast as it goes.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// Where in the body a little-endian 32-bit float counts the requests, so that no two are the same.
    #[arg(long)]
    count_at: Option<usize>,
    /// The first count; a float counts exactly up to 16,777,216.
    #[arg(long, default_value_t = 0)]
    count_from: usize,
    /// Looks for answers without a pause. On a virtual machine it takes a server longer to wake a generator that sleeps
    /// than to send it an answer.
    #[arg(long)]
    sleepless: bool,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    /// Answers that are no 200, and the first of their status codes.
    other: usize,
    first_other: Option<u16>,
}

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    /// Where in the request the four bytes of the count are.
    count_at: Option<usize>,
    connections: usize,
    counting: Instant,
    end: Instant,
    pause: Duration,
}

/// Requests answered with 200 a second, the quantiles of their times, and how many were answered otherwise.
pub async fn measure(options: Options) -> io::Result<Value> {
    let (counting, connections) = (Instant::now() + seconds(options.warm_up), options.connections);
    let (request, head) = request(&options)?;
    let count_at = options.count_at.map(|at| head + at).filter(|at| at + COUNT_BYTES <= request.len());
    let plan = Rc::new(Plan {
        address: options.address,
        request,
        count_at,
        connections,
        counting,
        end: counting + seconds(options.seconds),
        pause: Duration::from_micros(options.pause_us),
    });
    let tasks = LocalSet::new();
    if options.sleepless {
        tasks.spawn_local(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
    }
    let all = tasks.run_until(async {
        let tasks: Vec<_> = (0..connections)
            .map(|number| spawn_local(repeat(Rc::clone(&plan), options.count_from + number)))
            .collect();
        let mut all = Seen::default();
        for task in tasks {
            all.add(task.await.map_err(io::Error::other)??);
        }
        Ok::<_, io::Error>(all)
    });
    let mut all = all.await?;
    all.times.sort_unstable();
    Ok(json!({
        "requests": all.times.len(),
        "per second": all.times.len() as f64 / options.seconds,
        "p50 us": quantile(&all.times, 0.5),
        "p99 us": quantile(&all.times, 0.99),
        "other": all.other,
        "first other": all.first_other,
    }))
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 600.0))
}

/// The request, and how long its head is.
fn request(options: &Options) -> io::Result<(Vec<u8>, usize)> {
    let body = std::fs::read(&options.body)?;
    let secret = options.header_file.as_ref().map(std::fs::read_to_string).transpose()?.unwrap_or_default();
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
        options.path,
        options.address,
        body.len()
    );
    for line in options.headers.iter().map(String::as_str).chain(secret.lines()) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let length = head.len();
    Ok(([head.into_bytes(), body].concat(), length))
}

async fn repeat(plan: Rc<Plan>, mut count: usize) -> io::Result<Seen> {
    let mut seen = Seen::default();
    let mut request = plan.request.clone();
    let mut stream = connect(plan.address).await?;
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let begun = Instant::now();
        if begun >= plan.end {
            return Ok(seen);
        }
        if let Some(at) = plan.count_at {
            request[at..at + COUNT_BYTES].copy_from_slice(&(count as f32).to_le_bytes());
            count += plan.connections;
        }
        stream.write_all(&request).await?;
        let (status, closes) = answer(&mut stream, &mut buffer).await?;
        let time = begun.elapsed();
        if begun >= plan.counting {
            seen.note(status, time);
        }
        if closes {
            stream = connect(plan.address).await?;
        }
        if !plan.pause.is_zero() {
            tokio::time::sleep(plan.pause).await;
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer: its status, and whether the server closes the connection after it.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<(u16, bool)> {
    buffer.clear();
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if buffer.len() > MAX_HEAD || stream.read_buf(buffer).await? == 0 {
            return Err(io::Error::other("the answer has no end of its head"));
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_default();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
    let length = value("content-length:").and_then(|length| length.parse::<usize>().ok());
    let length = length.filter(|length| *length <= MAX_ANSWER);
    match length {
        Some(length) => {
            while buffer.len() < head + length {
                if stream.read_buf(buffer).await? == 0 {
                    return Err(io::Error::other("the answer broke off"));
                }
            }
        }
        None if value("transfer-encoding:") == Some("chunked") => {
            while !buffer.ends_with(b"0\r\n\r\n") {
                if buffer.len() > MAX_ANSWER || stream.read_buf(buffer).await? == 0 {
                    return Err(io::Error::other("the answer broke off"));
                }
            }
        }
        None => return Err(io::Error::other("the answer does not tell its length")),
    }
    Ok((status, value("connection:") == Some("close")))
}

impl Seen {
    fn note(&mut self, status: u16, time: Duration) {
        if status == 200 {
            self.times.push(time);
        } else {
            self.other += 1;
            self.first_other.get_or_insert(status);
        }
    }

    fn add(&mut self, more: Self) {
        self.times.extend(more.times);
        self.other += more.other;
        self.first_other = self.first_other.or(more.first_other);
    }
}
