//! A mail server that keeps what it is given.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{Pair, Server, World, eventually};

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
                thread::spawn(move || state.serve(&client));
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
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let (mut answers, mut lines) = (stream, BufReader::new(stream).lines().map_while(Result::ok));
        write!(answers, "220 ready\r\n").ok()?;
        let mut to = String::new();
        while let Some(line) = lines.next() {
            let refusal = self.refusal.load(Ordering::SeqCst);
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                "RCPT" if refusal > 0 => format!("{refusal} not now"),
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1)?.to_owned();
                    "250 welcome".into()
                }
                "DATA" => {
                    write!(answers, "354 go on\r\n").ok()?;
                    let text: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                    let mail = Mail { to: to.clone(), text: unquoted(&text.join("\r\n")) };
                    self.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                    "250 taken".into()
                }
                "QUIT" => "221 bye".into(),
                _ => "250 fine".into(),
            };
            write!(answers, "{answer}\r\n").ok()?;
        }
        Some(())
    }
}

/// Undoes quoted-printable (RFC 2045, section 6.7), which leaves plain text as it is.
fn unquoted(text: &str) -> String {
    if !text.contains("quoted-printable") {
        return text.to_owned();
    }
    text.replace("=\r\n", "").replace("=3D", "=").replace("=20", " ")
}
