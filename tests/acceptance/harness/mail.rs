//! A mail server that keeps what it is given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Pair, Server, World, eventually, tls};

/// Takes mail over SMTP. It lasts as long as the test process.
#[derive(Debug)]
pub struct MailServer {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    mails: Mutex<Vec<Mail>>,
    /// The answer to every recipient; 0: welcome.
    refusal: AtomicU16,
    /// Whether it offers STARTTLS.
    offers_tls: AtomicBool,
    /// What it was told before a connection was encrypted.
    in_the_clear: Mutex<Vec<String>>,
}

/// How a conversation ended.
#[derive(PartialEq)]
enum End {
    Over,
    Encrypt,
}

/// A mail as it came.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The recipient.
    pub to: String,
    /// Headers and body, with soft line breaks and quoted characters undone.
    pub text: String,
}

impl MailServer {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let state = Arc::clone(&server.state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                thread::spawn(move || state.serve(client));
            }
        });
        server
    }

    /// What a server needs to send through it; links begin with `https://models.example.com`.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("SMTP_URL", format!("smtp://{}", self.address)),
            ("SMTP_FROM", "Modelgate <no-reply@example.com>".into()),
            ("PUBLIC_URL", "https://models.example.com/".into()),
        ]
    }

    /// A server that sends through it.
    #[track_caller]
    pub fn server(&self, pair: Pair, settings: &[(&str, &str)]) -> Server {
        self.join(&World::new(pair), settings)
    }

    /// The same, on stores that others may use, too.
    #[track_caller]
    pub fn join(&self, world: &Arc<World>, settings: &[(&str, &str)]) -> Server {
        let own = self.settings();
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        world.start(&own.chain(settings.iter().copied()).collect::<Vec<_>>())
    }

    /// Answers every recipient with this code from now on; 0: takes mail again.
    pub fn refuse(&self, code: u16) {
        self.state.refusal.store(code, Ordering::SeqCst);
    }

    /// Offers STARTTLS (RFC 3207), with the certificate of `localhost`, or does not any more.
    pub fn offer_tls(&self, offers: bool) {
        self.state.offers_tls.store(offers, Ordering::SeqCst);
    }

    /// Where it is reached by the name in its certificate, by these who may send.
    pub fn url(&self, user: &str, password: &str) -> String {
        format!("smtp://{user}:{password}@localhost:{}?tls=required", self.address.port())
    }

    /// The commands that came before a connection was encrypted.
    pub fn in_the_clear(&self) -> Vec<String> {
        self.state.in_the_clear.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.state.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a mail to an address with this in it, and takes it away.
    #[track_caller]
    pub fn take(&self, to: &str, part: &str) -> Mail {
        eventually(&format!("a mail to {to} with {part:?}"), || {
            let mut mails = self.state.mails.lock().unwrap_or_else(PoisonError::into_inner);
            let found = mails.iter().position(|mail| mail.to == to && mail.text.contains(part))?;
            Some(mails.remove(found))
        })
    }
}

impl Mail {
    /// What its link ends in.
    #[track_caller]
    pub fn token(&self) -> String {
        let (_, rest) = self.text.split_once("#token=").unwrap_or_else(|| panic!("no link in {}", self.text));
        rest.split_whitespace().next().expect("a token").to_owned()
    }
}

impl State {
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        write!(client, "220 ready\r\n").ok()?;
        if self.talk(&mut client, false)? == End::Encrypt {
            let config: Arc<ServerConfig> = tls::certified();
            let connection = ServerConnection::new(config).expect("a connection");
            self.talk(&mut StreamOwned::new(connection, client), true)?;
        }
        Some(())
    }

    fn talk(&self, stream: &mut (impl Read + Write), is_encrypted: bool) -> Option<End> {
        let mut stream = BufReader::new(stream);
        let mut to = String::new();
        while let Some(line) = read_line(&mut stream) {
            let command = line.split([' ', ':']).next().unwrap_or_default();
            if !is_encrypted {
                self.in_the_clear.lock().unwrap_or_else(PoisonError::into_inner).push(command.to_owned());
            }
            let refusal = self.refusal.load(Ordering::SeqCst);
            let answer = match command {
                "EHLO" if is_encrypted => "250-localhost\r\n250 AUTH PLAIN".into(),
                "EHLO" if self.offers_tls.load(Ordering::SeqCst) => "250-localhost\r\n250 STARTTLS".into(),
                "STARTTLS" => {
                    write!(stream.get_mut(), "220 go on\r\n").ok()?;
                    return Some(End::Encrypt);
                }
                "AUTH" => "235 welcome".into(),
                "RCPT" if refusal > 0 => format!("{refusal} not now"),
                "RCPT" if line.contains("<moved-away@") => "550 no such mailbox".into(),
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1)?.to_owned();
                    "250 welcome".into()
                }
                "DATA" => {
                    write!(stream.get_mut(), "354 go on\r\n").ok()?;
                    let text = std::iter::from_fn(|| read_line(&mut stream).filter(|line| line != "."));
                    let text: Vec<String> = text.collect();
                    let mail = Mail { to: to.clone(), text: unquoted(&text.join("\r\n")) };
                    self.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                    "250 taken".into()
                }
                "QUIT" => "221 bye".into(),
                _ => "250 fine".into(),
            };
            write!(stream.get_mut(), "{answer}\r\n").ok()?;
        }
        Some(End::Over)
    }
}

/// The next line, without its end.
fn read_line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).ok()?;
    (length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Undoes quoted-printable (RFC 2045, section 6.7), which leaves plain text as it is.
fn unquoted(text: &str) -> String {
    if !text.contains("quoted-printable") {
        return text.to_owned();
    }
    text.replace("=\r\n", "").replace("=3D", "=").replace("=20", " ")
}
