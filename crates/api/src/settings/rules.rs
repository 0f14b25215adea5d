//! Rules that span several settings: errors that stop a start, and warnings.

use actix_web::http::Uri;
use auth::{HashParameters, SharedSecret, SigningAlgorithm};
use secrecy::{ExposeSecret, SecretString};
use storage::{Durable, ExcessPrivileges};

use super::{DatabaseTls, Settings, secrets, smtp_url, sources, trusted_issuers};
use crate::telemetry;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// An error: the program does not start.
    Fatal,
    /// A warning.
    Notice,
}

/// Something about the settings; the text names the setting and says what to do.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// Its text.
    pub text: String,
}

impl Finding {
    fn fatal(text: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, text: text.into() }
    }

    fn notice(text: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, text: text.into() }
    }
}

/// Shortest secret that is taken for one, in characters.
const SHORTEST_SECRET: usize = 32;
/// Words in a secret that nobody has chosen.
const PLACEHOLDERS: [&str; 6] = ["change", "example", "placeholder", "secret", "password", "your-"];

/// Each says what is wrong or noteworthy about some settings.
const RULES: [fn(&Settings) -> Vec<Finding>; 12] = [
    encryption_keys,
    audit_keys,
    shared_secret,
    passwords,
    databases,
    redis,
    mail,
    alerts,
    outside,
    operators,
    sizes_and_times,
    open_doors,
];

/// Everything that is wrong or noteworthy.
pub fn findings(settings: &Settings) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(settings)).collect()
}

fn encryption_keys(settings: &Settings) -> Vec<Finding> {
    let key = settings.tokens.encryption_key.as_ref();
    let is_wrong = key.is_some_and(|key| auth::EncryptionKey::parse(key.expose_secret()).is_none());
    let wrong = [
        (settings.program.is_production() && key.is_none(), secrets::MISSING_KEY),
        (is_wrong, secrets::WEAK_KEY),
        (secrets::previous_keys(settings).is_none(), secrets::WEAK_PREVIOUS),
    ];
    those(wrong).map(Finding::fatal).collect()
}

/// The texts of what is so.
fn those<'a>(texts: impl IntoIterator<Item = (bool, &'a str)>) -> impl Iterator<Item = &'a str> {
    texts.into_iter().filter_map(|(is_so, text)| is_so.then_some(text))
}

/// Whoever has one secret must not have the other by it.
fn audit_keys(settings: &Settings) -> Vec<Finding> {
    let key = settings.audit.audit_key.as_ref().map(ExposeSecret::expose_secret);
    let encryption = settings.tokens.encryption_key.as_ref().map(ExposeSecret::expose_secret);
    let wrong = match key {
        None if settings.program.is_production() => Some(secrets::MISSING_AUDIT_KEY),
        Some(key) if auth::AuditKey::parse(key).is_none() => Some(secrets::WEAK_AUDIT_KEY),
        Some(_) if encryption == key => Some(
            "AUDIT_KEY must differ from ENCRYPTION_KEY: the key that opens the database's secrets must not forge its history",
        ),
        _ if secrets::previous_audit_keys(settings).is_none() => Some(secrets::WEAK_AUDIT_PREVIOUS),
        _ => None,
    };
    wrong.map(Finding::fatal).into_iter().collect()
}

/// Only HS256 has one; in development it is made.
fn shared_secret(settings: &Settings) -> Vec<Finding> {
    let tokens = &settings.tokens;
    let finding = match (tokens.jwt_algorithm == SigningAlgorithm::Hs256, &tokens.jwt_secret_key) {
        (true, None) => settings.program.is_production().then(|| Finding::fatal(secrets::MISSING_SECRET)),
        (true, Some(secret)) => wrong_shared_secret(settings, secret).map(Finding::fatal),
        (false, Some(_)) => Some(Finding::notice("JWT_SECRET_KEY is of no use without JWT_ALGORITHM=HS256")),
        (false, None) => None,
    };
    finding.into_iter().collect()
}

fn wrong_shared_secret(settings: &Settings, secret: &SecretString) -> Option<String> {
    let text = secret.expose_secret();
    let others =
        [&settings.tokens.encryption_key, &settings.audit.audit_key, &settings.program.metrics_token];
    if others.into_iter().flatten().any(|other| other.expose_secret() == text) {
        return Some("JWT_SECRET_KEY must differ from every other secret".to_owned());
    }
    if SharedSecret::parse(text).is_none() {
        return Some(secrets::WEAK_SECRET.to_owned());
    }
    weak("JWT_SECRET_KEY", secret)
}

/// Less memory takes more passes (ASVS 5.0, appendix C).
fn passwords(settings: &Settings) -> Vec<Finding> {
    let passwords = &settings.passwords;
    let iterations = passwords.argon2_iterations;
    let least = HashParameters::least_memory_kib(iterations);
    let wrong = (passwords.argon2_memory_kib < least)
        .then(|| format!("ARGON2_MEMORY_KIB must be at least {least} with ARGON2_ITERATIONS={iterations}"));
    wrong.map(Finding::fatal).into_iter().collect()
}

fn databases(settings: &Settings) -> Vec<Finding> {
    let stores = &settings.stores;
    let urls =
        [("DATABASE_URL", &stores.database_url), ("DATABASE_MIGRATION_URL", &stores.database_migration_url)];
    let wrong = |(name, url): (&str, &Option<SecretString>)| {
        Some(Finding::fatal(format!("{name} {}", wrong_address(settings, url.as_ref()?)?)))
    };
    let mut findings: Vec<Finding> = urls.into_iter().filter_map(wrong).collect();
    if stores.database_url.is_none() && stores.database_migration_url.is_some() {
        findings.push(Finding::fatal(
            "DATABASE_MIGRATION_URL without DATABASE_URL: set both, or neither for SQLite",
        ));
    }
    let together = match (&stores.database_url, &stores.redis_url) {
        (None, Some(_)) => Some(Finding::fatal(
            "REDIS_URL with SQLite is refused in production: SQLite serves one replica, which needs no Redis; set DATABASE_URL or unset REDIS_URL",
        )),
        (None, None) => Some(Finding::notice(
            "SQLite and memory: good for one replica; limits start anew when it restarts",
        )),
        (Some(_), None) => Some(Finding::notice(
            "Postgres without Redis: a second replica is refused; set REDIS_URL to run more",
        )),
        (Some(_), Some(_)) => None,
    };
    findings.extend(together.filter(|_| settings.program.is_production()));
    findings
}

fn redis(settings: &Settings) -> Vec<Finding> {
    let Some(url) = &settings.stores.redis_url else { return Vec::new() };
    let url = url.expose_secret();
    if !url.starts_with("redis://") && !url.starts_with("rediss://") {
        vec![Finding::fatal("REDIS_URL must start with redis:// or rediss://")]
    } else if settings.program.is_production() && url.starts_with("redis://") && !is_on_this_machine(url) {
        vec![Finding::notice(
            "REDIS_URL has no TLS: use rediss://, or a network that nobody else can listen on",
        )]
    } else {
        Vec::new()
    }
}

fn mail(settings: &Settings) -> Vec<Finding> {
    let (mail, url) = (&settings.mail, settings.mail.smtp_url.as_ref());
    let is_open = mail.public_url.as_ref().is_some_and(|url| !url.is_protected);
    let wrong = [
        (
            url.is_some_and(|url| !smtp_url::is_readable(url)),
            "SMTP_URL must be smtps://user:password@host:465 or smtp://user:password@host:587",
        ),
        (
            url.is_some() && mail.smtp_from.is_none(),
            "SMTP_FROM is required with SMTP_URL: whom mails come from",
        ),
        (
            url.is_some() && mail.public_url.is_none(),
            "PUBLIC_URL is required with SMTP_URL: what links in mails begin with",
        ),
        (
            url.is_none() && mail.verifies_addresses(),
            "EMAIL_VERIFICATION=on needs SMTP_URL: nobody could prove an address",
        ),
        (
            settings.program.is_production() && is_open,
            "PUBLIC_URL must begin with https://: links are as good as passwords",
        ),
    ];
    let in_the_clear = url.is_some_and(smtp_url::is_in_the_clear).then(|| {
        Finding::notice("SMTP_URL says ?tls=none: mails and their links cross the network in the clear")
    });
    those(wrong).map(Finding::fatal).chain(in_the_clear).collect()
}

fn alerts(settings: &Settings) -> Vec<Finding> {
    let (alerts, production) = (&settings.alerts, settings.program.is_production());
    let secret = alerts.alert_webhook_secret.as_ref().filter(|_| alerts.alert_webhook_url.is_some());
    let missing = [
        (
            alerts.alert_webhook_url.is_some() && secret.is_none(),
            "ALERT_WEBHOOK_SECRET is required with ALERT_WEBHOOK_URL",
        ),
        (
            !alerts.alert_email_to.is_empty() && settings.mail.smtp_url.is_none(),
            "ALERT_EMAIL_TO needs SMTP_URL",
        ),
        (
            alerts.alert_sms_url.is_some() && alerts.alert_sms_to.is_none(),
            "ALERT_SMS_TO is required with ALERT_SMS_URL",
        ),
    ];
    let targets = alerts.targets().filter_map(|(name, url)| wrong_target(name, url, production));
    let weak_secret = secret.and_then(|secret| weak("ALERT_WEBHOOK_SECRET", secret));
    let nobody = (production && alerts.channels().is_empty()).then(|| {
        Finding::notice(
            "no channel for alerts is set up: nobody is notified when something is wrong; see ALERT_…",
        )
    });
    let wrong = targets.chain(weak_secret).chain(those(missing).map(str::to_owned));
    wrong.map(Finding::fatal).chain(nobody).collect()
}

/// What others outside say, and models that come from there.
fn outside(settings: &Settings) -> Vec<Finding> {
    let challenge = settings.challenge.problem(settings.program.is_production()).map(str::to_owned);
    let wrong = sources::findings(settings).into_iter().chain(challenge);
    wrong.chain(trusted_issuers(settings).err()).map(Finding::fatal).collect()
}

/// Models know libraries of operators by the names of their files.
fn operators(settings: &Settings) -> Vec<Finding> {
    let mut names: Vec<&str> =
        settings.models.custom_operators.iter().map(inference::OperatorLibrary::name).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| {
        format!("CUSTOM_OPERATORS names two files called {}; models know them by these names", pair[0])
    });
    twice.map(Finding::fatal).into_iter().collect()
}

fn sizes_and_times(settings: &Settings) -> Vec<Finding> {
    let (program, sizes) = (&settings.program, &settings.sizes);
    let too_small = (!sizes.fit()).then(|| {
        Finding::fatal(
            "MAX_BODIES_IN_MEMORY_MB must be no less than MAX_INFER_BODY_MB, MAX_CONTENT_LENGTH and MAX_JSON_LENGTH",
        )
    });
    let too_short = (program.request_timeout_seconds <= sizes.body_timeout_seconds).then(|| {
        Finding::notice(
            "REQUEST_TIMEOUT_SECONDS is no longer than BODY_TIMEOUT_SECONDS: a body that comes too slowly is reported as a server that answers too late",
        )
    });
    too_small.into_iter().chain(too_short).collect()
}

/// What may be set, and should not be where others call.
fn open_doors(settings: &Settings) -> Vec<Finding> {
    let program = &settings.program;
    // The clock of a server that others use must not be movable.
    let clock = program.test_clock.is_some() && (program.is_production() || !program.host.is_loopback());
    let clock = clock.then(|| {
        Finding::fatal("TEST_CLOCK is honoured in development on a loopback address only; unset it")
    });
    let filter = telemetry::filter(&program.log_level).err().map(Finding::fatal);
    let mut findings: Vec<Finding> = clock.into_iter().chain(filter).collect();
    if program.is_production() {
        let token = program.metrics_token.as_ref().and_then(|token| weak("METRICS_TOKEN", token));
        findings.extend(token.map(Finding::fatal));
        let doors = [
            (
                settings.limits.rate_limit_login_per_minute == 0,
                "RATE_LIMIT_LOGIN_PER_MINUTE=0: passwords are guessed as fast as they are hashed",
            ),
            (
                program.trusted_proxies.iter().any(|network| network.0.prefix_len() == 0),
                "TRUSTED_PROXIES trusts everybody: any client could claim any address, and HTTPS; name the proxies alone",
            ),
        ];
        findings.extend(those(doors).map(Finding::notice));
    }
    findings
}

/// What is wrong with an address that alerts go to.
fn wrong_target(name: &str, url: &SecretString, production: bool) -> Option<String> {
    let url = url.expose_secret().parse::<Uri>().ok();
    let host = url.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
    match (url.as_ref().and_then(Uri::scheme_str), host) {
        (Some("https"), Some(_)) => None,
        (Some("http"), Some(host)) if !production || storage::is_loopback(host) => None,
        (Some("http"), Some(_)) => {
            Some(format!("{name} must begin with https://: alerts tell of weaknesses"))
        }
        _ => {
            Some(format!("{name} is no address; write scheme and host, such as https://hooks.example.com/…"))
        }
    }
}

/// What is wrong with an address of Postgres.
fn wrong_address(settings: &Settings, url: &SecretString) -> Option<&'static str> {
    let text = url.expose_secret();
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Some("must start with postgres://; for SQLite leave it unset");
    }
    let tls_wanted = settings.program.is_production() && settings.stores.database_tls == DatabaseTls::Verify;
    let protected = Durable::Postgres { url: url.clone(), max_connections: 1 }.is_protected();
    match protected {
        None => Some("cannot be read as an address"),
        Some(false) if tls_wanted => Some(
            "must say sslmode=verify-full, or name a Unix socket; for a private network set DATABASE_TLS=disable",
        ),
        Some(_) => None,
    }
}

fn is_on_this_machine(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|url| url.host().is_some_and(storage::is_loopback))
}

/// What the roles on Postgres may do that would make row-level security hold nothing back.
pub fn excesses(settings: &Settings, excess: &ExcessPrivileges) -> Vec<Finding> {
    let (production, apart) =
        (settings.program.is_production(), settings.stores.database_migration_url.is_some());
    let role = excess.role.as_ref().map(|what| {
        format!("the Postgres role modelgate_app {what}: every account's rows are open to every query")
    });
    let role = role.map(Finding::fatal);
    let more = |what| {
        format!("the login of DATABASE_URL {what}; it should be a member of modelgate_app and nothing else")
    };
    let login = excess.login.as_ref().and_then(|what| match (production, apart) {
        (true, true) => Some(Finding::fatal(more(what))),
        (false, true) => Some(Finding::notice(more(what))),
        (true, false) => Some(Finding::notice(format!(
            "the login of DATABASE_URL {what}; set DATABASE_MIGRATION_URL and give it less"
        ))),
        (false, false) => None,
    });
    role.into_iter().chain(login).collect()
}

fn weak(name: &str, secret: &SecretString) -> Option<String> {
    let secret = secret.expose_secret().to_lowercase();
    let placeholder = PLACEHOLDERS.iter().any(|word| secret.contains(word));
    (secret.len() < SHORTEST_SECRET || placeholder)
        .then(|| format!("{name} is weak or a placeholder; make one with: openssl rand -base64 32"))
}
