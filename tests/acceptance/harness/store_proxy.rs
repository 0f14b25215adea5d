//! A proxy between a server and a store, to be shut or held: connections break, or whatever the store answers comes
//! late.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Forwards connections to a store while it is open. It lasts as long as the test process.
#[derive(Debug)]
pub struct StoreProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    shut: AtomicBool,
    /// How long each piece of an answer takes to come through, in milliseconds.
    delay: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

impl StoreProxy {
    /// An open proxy before the server at `target`, written as `host:port`.
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let (state, target) = (Arc::clone(&proxy.state), target.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A client before a shut proxy is dropped, which closes the connection.
                if !state.shut.load(Ordering::SeqCst) {
                    state.let_in(client, &target);
                }
            }
        });
        proxy
    }

    /// The same address of a database with this proxy in front.
    pub fn in_front_of(database_url: &str) -> (Self, String) {
        let host = database_url.split(['@', '/', '?']).find(|part| part.contains(':') && part.contains('.'));
        let host = host.expect("an address with a port");
        let proxy = Self::before(host);
        let url = database_url.replacen(host, &proxy.address.to_string(), 1);
        (proxy, url)
    }

    /// Breaks every connection and lets nobody in.
    pub fn shut(&self) {
        self.state.shut.store(true, Ordering::SeqCst);
        for connection in self.state.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Lets everything through, and each piece of an answer only after so long.
    pub fn hold(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).expect("a short while");
        self.state.delay.store(delay, Ordering::SeqCst);
    }

    /// Lets connections through again, at once.
    pub fn open(&self) {
        self.state.delay.store(0, Ordering::SeqCst);
        self.state.shut.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_in(self: &Arc<Self>, client: TcpStream, target: &str) {
        let Ok(store) = TcpStream::connect(target) else { return };
        let both = (client.try_clone(), store.try_clone(), client.try_clone(), store.try_clone());
        let (Ok(from_client), Ok(to_store), Ok(kept), Ok(kept_too)) = both else { return };
        self.connections().extend([kept, kept_too]);
        let (here, there) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || here.carry(from_client, to_store, false));
        thread::spawn(move || there.carry(store, client, true));
    }

    /// Takes as long as the delay is, also where that changes meanwhile.
    fn wait(&self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(self.delay.load(Ordering::SeqCst)) {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Carries bytes one way until one side ends.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if is_answer {
                self.wait();
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
