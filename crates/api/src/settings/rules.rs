//! Rules that span several settings: errors that stop a start, and warnings.

use actix_web::http::Uri;
use auth::{HashParameters, SharedSecret, SigningAlgorithm};
use secrecy::{ExposeSecret, SecretString};
use storage::{Durable, ExcessPrivileges};

use super::{DatabaseTls, Settings, secrets, sources, trusted_issuers};
use crate::outgoing::mail::{is_in_the_clear, is_readable};
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

/// Shortest secret that is taken for one, in characters.
const SHORTEST_SECRET: usize = 32;
/// Words in a secret that nobody has chosen.
const PLACEHOLDERS: [&str; 6] = ["change", "example", "placeholder", "secret", "password", "your-"];

/// Everything that is wrong or noteworthy.
pub fn findings(settings: &Settings) -> Vec<Finding> {
    let fatal = |text: String| Finding { severity: Severity::Fatal, text };
    let mut findings: Vec<Finding> = Vec::new();
    if settings.program.is_production() && settings.tokens.encryption_key.is_none() {
        findings.push(fatal(secrets::MISSING_KEY.into()));
    }
    if let Some(key) = &settings.tokens.encryption_key
        && auth::EncryptionKey::parse(key.expose_secret()).is_none()
    {
        findings.push(fatal(secrets::WEAK_KEY.into()));
    }
    if secrets::previous_keys(settings).is_none() {
        findings.push(fatal(secrets::WEAK_PREVIOUS.into()));
    }
    findings.extend(audit_keys(settings).map(|text| fatal(text.into())));
    findings.extend(shared_secret(settings));
    findings.extend(hash_floor(settings).map(fatal));
    findings.extend(clock(settings).map(fatal));
    findings.extend(telemetry::filter(&settings.program.log_level).err().map(fatal));
    findings.extend(stores(settings));
    findings.extend(mail(settings));
    findings.extend(alerts(settings));
    findings.extend(sources::findings(settings).into_iter().map(fatal));
    findings
        .extend(settings.challenge.problem(settings.program.is_production()).map(|text| fatal(text.into())));
    findings.extend(trusted_issuers(settings).err().map(fatal));
    findings.extend(operators(settings).map(fatal));
    if !settings.sizes.fit() {
        findings.push(fatal(
            "MAX_BODIES_IN_MEMORY_MB must be no less than MAX_INFER_BODY_MB, MAX_CONTENT_LENGTH and MAX_JSON_LENGTH".into(),
        ));
    }
    if settings.program.request_timeout_seconds <= settings.sizes.body_timeout_seconds {
        findings.push(Finding {
            severity: Severity::Notice,
            text: "REQUEST_TIMEOUT_SECONDS is no longer than BODY_TIMEOUT_SECONDS: a body that comes too slowly is reported as a server that answers too late".into(),
        });
    }
    if settings.program.is_production() {
        findings.extend(
            settings.program.metrics_token.as_ref().and_then(|token| weak("METRICS_TOKEN", token)).map(fatal),
        );
        let notice = |text: &str| Finding { severity: Severity::Notice, text: text.into() };
        findings.extend(open_doors(settings).into_iter().map(notice));
    }
    findings
}

/// What may be set, and should not be where strangers call.
fn open_doors(settings: &Settings) -> Vec<&'static str> {
    let believes_everybody =
        settings.program.trusted_proxies.iter().any(|network| network.0.prefix_len() == 0);
    let doors = [
        (
            settings.limits.rate_limit_login_per_minute == 0,
            "RATE_LIMIT_LOGIN_PER_MINUTE=0: passwords are guessed as fast as they are hashed",
        ),
        (
            believes_everybody,
            "TRUSTED_PROXIES trusts everybody: any client could claim any address, and HTTPS; name the proxies alone",
        ),
    ];
    doors.into_iter().filter_map(|(is_open, text)| is_open.then_some(text)).collect()
}

/// Models know libraries of operators by the names of their files.
fn operators(settings: &Settings) -> Option<String> {
    let mut names: Vec<&str> =
        settings.models.custom_operators.iter().map(inference::OperatorLibrary::name).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1])?;
    Some(format!("CUSTOM_OPERATORS names two files called {}; models know them by these names", twice[0]))
}

/// Whoever has one secret must not have the other by it.
fn audit_keys(settings: &Settings) -> Option<&'static str> {
    let key = settings.audit.audit_key.as_ref().map(ExposeSecret::expose_secret);
    match key {
        None if settings.program.is_production() => Some(secrets::MISSING_AUDIT_KEY),
        Some(key) if auth::AuditKey::parse(key).is_none() => Some(secrets::WEAK_AUDIT_KEY),
        Some(key)
            if settings.tokens.encryption_key.as_ref().is_some_and(|other| other.expose_secret() == key) =>
        {
            Some(
                "AUDIT_KEY must differ from ENCRYPTION_KEY: the key that opens the database's secrets must not forge its history",
            )
        }
        _ if secrets::previous_audit_keys(settings).is_none() => Some(secrets::WEAK_AUDIT_PREVIOUS),
        _ => None,
    }
}

/// Only HS256 has one; in development it is made.
fn shared_secret(settings: &Settings) -> Option<Finding> {
    let finding = |severity, text: &str| Some(Finding { severity, text: text.into() });
    let tokens = &settings.tokens;
    match (tokens.jwt_algorithm == SigningAlgorithm::Hs256, &tokens.jwt_secret_key) {
        (true, None) if settings.program.is_production() => finding(Severity::Fatal, secrets::MISSING_SECRET),
        (true, Some(secret)) => {
            let text = secret.expose_secret();
            let others = [&tokens.encryption_key, &settings.audit.audit_key, &settings.program.metrics_token];
            if others.into_iter().flatten().any(|other| other.expose_secret() == text) {
                return finding(Severity::Fatal, "JWT_SECRET_KEY must differ from every other secret");
            }
            if SharedSecret::parse(text).is_none() {
                return finding(Severity::Fatal, secrets::WEAK_SECRET);
            }
            finding(Severity::Fatal, &weak("JWT_SECRET_KEY", secret)?)
        }
        (false, Some(_)) => {
            finding(Severity::Notice, "JWT_SECRET_KEY is of no use without JWT_ALGORITHM=HS256")
        }
        _ => None,
    }
}

/// Less memory takes more passes (ASVS 5.0, appendix C).
fn hash_floor(settings: &Settings) -> Option<String> {
    let passwords = &settings.passwords;
    let iterations = passwords.argon2_iterations;
    let least = HashParameters::least_memory_kib(iterations);
    (passwords.argon2_memory_kib < least)
        .then(|| format!("ARGON2_MEMORY_KIB must be at least {least} with ARGON2_ITERATIONS={iterations}"))
}

/// The clock of a server that others use must not be movable.
fn clock(settings: &Settings) -> Option<String> {
    settings.program.test_clock.as_ref()?;
    let safe = !settings.program.is_production() && settings.program.host.is_loopback();
    (!safe).then(|| "TEST_CLOCK is honoured in development on a loopback address only; unset it".into())
}

fn stores(settings: &Settings) -> Vec<Finding> {
    let stores = &settings.stores;
    let production = settings.program.is_production();
    let mut findings = Vec::new();
    let mut add = |severity, text: &str| findings.push(Finding { severity, text: text.into() });
    match (&stores.database_url, &stores.redis_url) {
        (None, Some(_)) if production => add(
            Severity::Fatal,
            "REDIS_URL with SQLite is refused in production: SQLite serves one replica, which needs no Redis; set DATABASE_URL or unset REDIS_URL",
        ),
        (None, None) if production => {
            add(
                Severity::Notice,
                "SQLite and memory: good for one replica; limits start anew when it restarts",
            );
        }
        (Some(_), None) if production => {
            add(
                Severity::Notice,
                "Postgres without Redis: a second replica is refused; set REDIS_URL to run more",
            );
        }
        _ => {}
    }
    for (name, url) in
        [("DATABASE_URL", &stores.database_url), ("DATABASE_MIGRATION_URL", &stores.database_migration_url)]
    {
        let wrong = url.as_ref().and_then(|url| wrong_address(settings, url));
        findings
            .extend(wrong.map(|what| Finding { severity: Severity::Fatal, text: format!("{name} {what}") }));
    }
    let mut add = |severity, text: &str| findings.push(Finding { severity, text: text.into() });
    if stores.database_url.is_none() && stores.database_migration_url.is_some() {
        add(Severity::Fatal, "DATABASE_MIGRATION_URL without DATABASE_URL: set both, or neither for SQLite");
    }
    if let Some(url) = &stores.redis_url {
        let url = url.expose_secret();
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            add(Severity::Fatal, "REDIS_URL must start with redis:// or rediss://");
        } else if production && url.starts_with("redis://") && !is_on_this_machine(url) {
            add(
                Severity::Notice,
                "REDIS_URL has no TLS: use rediss://, or a network that nobody else can listen on",
            );
        }
    }
    findings
}

fn mail(settings: &Settings) -> Vec<Finding> {
    let mail = &settings.mail;
    let mut findings = Vec::new();
    let mut add = |severity, text: &str| findings.push(Finding { severity, text: text.into() });
    if let Some(url) = &mail.smtp_url {
        if !is_readable(url) {
            add(
                Severity::Fatal,
                "SMTP_URL must be smtps://user:password@host:465 or smtp://user:password@host:587",
            );
        }
        if is_in_the_clear(url) {
            add(
                Severity::Notice,
                "SMTP_URL says ?tls=none: mails and their links cross the network in the clear",
            );
        }
        if mail.smtp_from.is_none() {
            add(Severity::Fatal, "SMTP_FROM is required with SMTP_URL: whom mails come from");
        }
        if mail.public_url.is_none() {
            add(Severity::Fatal, "PUBLIC_URL is required with SMTP_URL: what links in mails begin with");
        }
    } else if mail.verifies_addresses() {
        add(Severity::Fatal, "EMAIL_VERIFICATION=on needs SMTP_URL: nobody could prove an address");
    }
    if settings.program.is_production() && mail.public_url.as_ref().is_some_and(|url| !url.is_protected) {
        add(Severity::Fatal, "PUBLIC_URL must begin with https://: links are as good as passwords");
    }
    findings
}

fn alerts(settings: &Settings) -> Vec<Finding> {
    let (alerts, production) = (&settings.alerts, settings.program.is_production());
    let fatal = |text: String| Finding { severity: Severity::Fatal, text };
    let mut findings: Vec<Finding> =
        alerts.targets().filter_map(|(name, url)| wrong_target(name, url, production)).map(fatal).collect();
    let secret = alerts.alert_webhook_secret.as_ref().filter(|_| alerts.alert_webhook_url.is_some());
    findings.extend(secret.and_then(|secret| weak("ALERT_WEBHOOK_SECRET", secret)).map(fatal));
    for (is_set, has, text) in [
        (
            alerts.alert_webhook_url.is_some(),
            secret.is_some(),
            "ALERT_WEBHOOK_SECRET is required with ALERT_WEBHOOK_URL",
        ),
        (
            !alerts.alert_email_to.is_empty(),
            settings.mail.smtp_url.is_some(),
            "ALERT_EMAIL_TO needs SMTP_URL",
        ),
        (
            alerts.alert_sms_url.is_some(),
            alerts.alert_sms_to.is_some(),
            "ALERT_SMS_TO is required with ALERT_SMS_URL",
        ),
    ] {
        findings.extend((is_set && !has).then(|| fatal(text.into())));
    }
    if production && alerts.channels().is_empty() {
        let text = "no channel for alerts is set up: nobody is notified when something is wrong; see ALERT_…";
        findings.push(Finding { severity: Severity::Notice, text: text.into() });
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
    let role = excess.role.as_ref().map(|what| Finding {
        severity: Severity::Fatal,
        text: format!("the Postgres role modelgate_app {what}: every account's rows are open to every query"),
    });
    let login = excess.login.as_ref().and_then(|what| match (production, apart) {
        (_, true) => Some(Finding {
            severity: if production { Severity::Fatal } else { Severity::Notice },
            text: format!(
                "the login of DATABASE_URL {what}; it should be a member of modelgate_app and nothing else"
            ),
        }),
        (true, false) => Some(Finding {
            severity: Severity::Notice,
            text: format!("the login of DATABASE_URL {what}; set DATABASE_MIGRATION_URL and give it less"),
        }),
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
