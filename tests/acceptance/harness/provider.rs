//! A real OpenID Connect provider (tests/oidc-provider): one process for all tests, and a realm of its own for each
//! that wants one. It ends with the test process.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use super::{World, eventually, workspace};

/// How long the provider may take for an answer, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What its tokens are for.
pub const AUDIENCE: &str = "https://models.example.com";
/// Which of their roles is which of ours, in the tests' issuers.
const RULES: &str = r#"role = [
    { value = "bosses", role = "admin" },
    { value = "watch", role = "moderator" },
    { value = "staff", role = "user" },
    { value = "guests", role = "readonly" },
]"#;

static PROVIDER: OnceLock<Provider> = OnceLock::new();
static REALMS: AtomicU64 = AtomicU64::new(0);

struct Provider {
    address: String,
    /// It ends when its standard input does, which this process holds.
    _child: Child,
    /// Held open: whoever writes to a closed pipe ends.
    _output: BufReader<ChildStdout>,
}

impl Provider {
    fn start() -> Self {
        let folder = workspace().join(".oidc-provider");
        let mut command = Command::new(folder.join("node"));
        command.arg(workspace().join("tests/oidc-provider/server.mjs")).current_dir(&folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the provider: run ./scripts/test, which installs it");
        let (mut address, mut output) = (String::new(), BufReader::new(child.stdout.take().expect("a pipe")));
        output.read_line(&mut address).expect("its address");
        Self { address: address.trim().to_owned(), _child: child, _output: output }
    }
}

/// An issuer with keys and people of its own.
#[derive(Debug)]
pub struct Realm {
    name: String,
    /// `iss` of its tokens.
    pub issuer: String,
}

/// What a login gave.
#[derive(Clone, Debug)]
pub struct Login {
    /// For us.
    pub access: String,
    /// For the application alone.
    pub id: String,
}

impl Realm {
    /// One that signs with ES256, and has tokens that are good for an hour.
    pub fn new() -> Self {
        Self::with(&["ES256"], 3600)
    }

    /// One with a key for each of these algorithms, whose tokens are signed with the first and good for so many
    /// seconds.
    pub fn with(algorithms: &[&str], lifetime: u64) -> Self {
        let name = format!("r{}", REALMS.fetch_add(1, Ordering::Relaxed));
        let made = ask("realm", &json!({"name": name, "algs": algorithms, "ttl": lifetime}));
        Self { name, issuer: made["issuer"].as_str().expect("an issuer").to_owned() }
    }

    /// Somebody logs in there, now, and may be said to have these claims.
    #[track_caller]
    pub fn log_in(&self, sub: &str, claims: Value) -> Login {
        self.log_in_with(sub, claims, json!({}))
    }

    /// The same, with `amr`, `acr`, `scope` or `at`, the moment of the login in seconds.
    #[track_caller]
    pub fn log_in_with(&self, sub: &str, claims: Value, how: Value) -> Login {
        let mut wish = json!({"realm": self.name, "sub": sub, "claims": claims});
        wish.as_object_mut().expect("an object").extend(how.as_object().expect("an object").clone());
        let tokens = ask("login", &wish);
        let text = |name: &str| tokens[name].as_str().unwrap_or_default().to_owned();
        Login { access: text("access_token"), id: text("id_token") }
    }

    /// Logs in again, with a token that is newer than that one: times in tokens are whole seconds.
    #[track_caller]
    pub fn log_in_after(&self, before: &str, sub: &str, claims: Value) -> Login {
        eventually("a newer token", || {
            let login = self.log_in(sub, claims.clone());
            let time = |token: &str, claim: &str| crate::tokens::part(token, 1)[claim].as_i64();
            // A second may pass between the login and the token.
            let mut told = ["iat", "auth_time"].into_iter().filter(|claim| time(before, claim).is_some());
            told.all(|claim| time(&login.access, claim) > time(before, claim)).then_some(login)
        })
    }

    /// What the realm's key of an algorithm signs, whatever the two texts say.
    #[track_caller]
    pub fn sign(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let wish = json!({"realm": self.name, "alg": algorithm, "header": header, "claims": claims});
        ask("sign", &wish)["token"].as_str().expect("a token").to_owned()
    }

    /// An issuer with its keys that speaks TLS, as localhost, with this certificate and its key.
    #[track_caller]
    pub fn over_tls(&self, certificate: &str, key: &str) -> String {
        let wish = json!({"realm": self.name, "cert": certificate, "key": key});
        ask("tls", &wish)["issuer"].as_str().expect("an issuer").to_owned()
    }

    /// A token of another issuer that its first key signed: good for ten minutes, with a subject and nothing else.
    #[track_caller]
    pub fn token_as(&self, issuer: &str, now: Duration) -> String {
        let (kid, now) = (self.keys()[0]["kid"].clone(), now.as_secs());
        let claims = json!({"iss": issuer, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600});
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
        self.sign("ES256", &header.to_string(), &claims.to_string())
    }

    /// Gives it other keys in place of those that it has.
    pub fn rotate(&self, algorithms: &[&str], lifetime: u64) {
        ask("realm", &json!({"name": self.name, "algs": algorithms, "ttl": lifetime}));
    }

    /// Lets it answer nothing about itself and its keys, or answer again.
    pub fn is_down(&self, down: bool) {
        ask("state", &json!({"realm": self.name, "down": down}));
    }

    /// How often it was asked about itself or its keys.
    pub fn asked(&self) -> u64 {
        ask("state", &json!({"realm": self.name}))["asked"].as_u64().expect("a number")
    }

    /// Its public keys.
    pub fn keys(&self) -> Vec<Value> {
        ask("state", &json!({"realm": self.name}))["keys"].as_array().expect("a list").clone()
    }

    /// It as an issuer whose people get accounts and roles, with more members.
    pub fn trusted(&self, more: &str) -> String {
        described(&self.issuer, &format!("provision = true\nroles_claim = \"roles\"\n{RULES}\n{more}"))
    }
}

/// An issuer in the form of OIDC_ISSUERS_FILE.
pub fn described(issuer: &str, more: &str) -> String {
    format!("[[issuer]]\nissuer = {issuer:?}\naudience = {AUDIENCE:?}\n{more}\n")
}

impl World {
    /// Writes a file of issuers and gives its path.
    pub fn issuers(&self, tables: &[String]) -> String {
        let path = self.folder().join("issuers.toml");
        std::fs::write(&path, tables.join("\n")).expect("a file");
        path.display().to_string()
    }
}

#[track_caller]
fn ask(what: &str, wish: &Value) -> Value {
    let provider = PROVIDER.get_or_init(Provider::start);
    let agent: Agent = Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().new_agent();
    let answer = agent.post(format!("{}/control/{what}", provider.address)).send_json(wish);
    let mut answer = answer.unwrap_or_else(|error| panic!("the provider, {what}: {error}"));
    answer.body_mut().read_json().unwrap_or_else(|error| panic!("the provider, {what}: {error}"))
}
