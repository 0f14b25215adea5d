//! Attack patterns in a path, a query, a header or a JSON text. A hit refuses nothing: it is counted. The rules are
//! narrow rather than complete, so that honest texts, such as the name O'Brien, do not match.

use percent_encoding::percent_decode_str;
use storage::named_enum;

named_enum! {
    /// What an attack looks like. The name is that in metrics and events.
    pub enum AttackPattern {
        /// A text that would end a literal in SQL and go on.
        Sql = "sql",
        /// Markup that would run a script.
        Script = "script",
        /// A way out of a folder.
        Traversal = "traversal",
        /// A command of a shell.
        Shell = "shell",
        /// An expression that templates or loggers evaluate.
        Template = "template",
        /// A path of programs that are not here.
        Probe = "probe",
        /// A client that says it is a scanner.
        Scanner = "scanner",
        /// The character U+0000.
        Nul = "nul",
    }
}

/// Longest text that is looked at, in bytes; of longer ones the beginning.
const MOST_BYTES: usize = 4_096;
/// How often a target is decoded: encoding twice is a way around filters.
const MOST_DECODINGS: usize = 2;

/// Where paths of other programs begin.
const PROBES: [&str; 14] = [
    "/.env",
    "/.git",
    "/.aws",
    "/.ssh",
    "/wp-",
    "/wordpress",
    "/xmlrpc.php",
    "/phpmyadmin",
    "/pma",
    "/cgi-bin/",
    "/vendor/phpunit",
    "/actuator",
    "/server-status",
    "/boaform",
];
/// What they end in.
const PROBE_ENDS: [&str; 5] = [".php", ".asp", ".aspx", ".jsp", ".cgi"];
/// Names that scanners give themselves.
const SCANNERS: [&str; 14] = [
    "sqlmap",
    "nikto",
    "acunetix",
    "nessus",
    "nuclei",
    "masscan",
    "zgrab",
    "dirbuster",
    "gobuster",
    "wpscan",
    "wfuzz",
    "feroxbuster",
    "nmap scripting engine",
    "havij",
];
const SCRIPTS: [&str; 6] =
    ["<script", "<iframe", "<svg/onload", "<svg onload", "<img src=x onerror", "javascript:alert"];
const TEMPLATES: [&str; 5] = ["${jndi:", "${${", "() { :;", "{{7*7}}", "${7*7}"];
const SHELLS: [&str; 9] = [
    "/etc/passwd",
    "/etc/shadow",
    ";wget ",
    "; wget ",
    "|wget ",
    ";curl ",
    "$(curl ",
    "$(wget ",
    "cmd.exe /c",
];

/// What the path and the query of a request look like.
pub fn in_target(path: &str, query: &str) -> Option<AttackPattern> {
    let is_ours = ["/api/v1/", "/v2/", "/health"].iter().any(|root| path.starts_with(root));
    let is_plain = |text: &str, signs: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
    };
    // Nearly every request ends here: nothing in it could be part of a rule.
    if is_ours && is_plain(path, b"/_-:") && is_plain(query, b"_-=&:") {
        return None;
    }
    let path = decoded(path);
    let probe = if is_ours { None } else { in_path(&path) };
    probe.or_else(|| in_decoded(&path)).or_else(|| in_decoded(&decoded(query)))
}

fn in_path(path: &str) -> Option<AttackPattern> {
    let is_probe = PROBES.iter().any(|probe| path.starts_with(probe))
        || PROBE_ENDS.iter().any(|end| path.ends_with(end));
    is_probe.then_some(AttackPattern::Probe)
}

/// What a header looks like, whatever its bytes.
pub fn in_header(name: &str, value: &[u8]) -> Option<AttackPattern> {
    let text = || String::from_utf8_lossy(value);
    if name == "user-agent" {
        return in_agent(&text());
    }
    let suspicious = |byte: &u8| matches!(byte, b'<' | b'$' | b'\'' | b'{' | b'\\' | 0);
    if !value.iter().any(suspicious) && !value.windows(2).any(|pair| pair == b"..") {
        return None;
    }
    in_decoded(&beginning(&text()).to_ascii_lowercase())
}

fn in_agent(agent: &str) -> Option<AttackPattern> {
    // `curl/8.5.0`, as programs call themselves: nothing in it could be part of a rule but a scanner's name.
    let is_plain = agent.starts_with(|sign: char| sign.is_ascii_alphabetic())
        && agent.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte))
        && !agent.contains("..")
        && !agent.contains("/etc/");
    let agent = beginning(agent).to_ascii_lowercase();
    if SCANNERS.iter().any(|scanner| agent.contains(scanner)) {
        return Some(AttackPattern::Scanner);
    }
    if is_plain { None } else { in_decoded(&agent) }
}

/// What a text that somebody wrote looks like, such as a member of a JSON body.
pub fn in_text(text: &str) -> Option<AttackPattern> {
    let suspicious = |byte: u8| matches!(byte, b'<' | b'$' | b'\'' | b'"' | b'.' | b';' | b'|') || byte == 0;
    if !text.bytes().take(MOST_BYTES).any(suspicious) {
        return None;
    }
    in_decoded(&beginning(text).to_ascii_lowercase())
}

/// What a decoded text in lower case looks like.
fn in_decoded(text: &str) -> Option<AttackPattern> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if text.contains('\0') {
        Some(AttackPattern::Nul)
    } else if has(&["../../", "..\\..\\", "/../", "\\..\\"]) || text.starts_with("../") {
        Some(AttackPattern::Traversal)
    } else if has(&SCRIPTS) {
        Some(AttackPattern::Script)
    } else if has(&TEMPLATES) {
        Some(AttackPattern::Template)
    } else if has(&SHELLS) {
        Some(AttackPattern::Shell)
    } else if is_sql(text) {
        Some(AttackPattern::Sql)
    } else {
        None
    }
}

/// Whether a literal ends and SQL goes on: behind a quote, or behind a number that a value begins with. SQL in the
/// middle of a text is a text about SQL.
fn is_sql(text: &str) -> bool {
    let of_pair = |pair: &str| {
        is_numeric_sql(pair) || pair.split_once('=').is_some_and(|(_, value)| is_numeric_sql(value))
    };
    is_quoted_sql(text) || text.split('&').any(of_pair)
}

/// `1 union select`, `1 and sleep(5)`, `1 or 1=1`, `1;drop table`.
fn is_numeric_sql(value: &str) -> bool {
    let value = value.trim_start_matches(['-', ' ', '+']);
    let behind = value.trim_start_matches(|sign: char| sign.is_ascii_digit());
    if behind.len() == value.len() {
        return false;
    }
    let words: Vec<&str> =
        behind.split([' ', '+', ')', '\t', '\n']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["union", "select", behind @ ..] | ["union", "all", "select", behind @ ..] => {
            behind.contains(&"from") || behind.first().is_some_and(|first| is_column(first))
        }
        ["or" | "and", term, ..] => is_comparison(term) || is_function(term),
        [";drop" | ";delete" | ";insert" | ";truncate", "table" | "from" | "into" | "database", ..]
        | [";", "drop" | "delete" | "insert" | "truncate", "table" | "from" | "into" | "database", ..] => {
            true
        }
        _ => false,
    }
}

/// `null,null`, `1,2,3`, `@@version`, `char(65)`: what no sentence goes on with.
fn is_column(text: &str) -> bool {
    text.starts_with("null")
        || text.starts_with("@@")
        || text.contains('(')
        || text.starts_with(|sign: char| sign.is_ascii_digit())
}

fn is_function(text: &str) -> bool {
    ["sleep(", "pg_sleep(", "benchmark("].iter().any(|function| text.starts_with(function))
}

fn is_quoted_sql(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"']) {
        rest = &rest[at + 1..];
        let after = rest.trim_start_matches([' ', '+', ')', '\t', '\n']);
        let goes_on = |word: &str| after.strip_prefix(word).map(str::trim_start);
        let compares = ["or ", "and ", "or+", "and+", "|| ", "&& "]
            .iter()
            .filter_map(|word| goes_on(word))
            .any(is_comparison);
        let ends =
            [";drop ", "; drop ", ";delete ", "; delete ", ";insert ", "; insert ", ";update ", "; update "]
                .iter()
                .any(|word| after.starts_with(word));
        let unites = goes_on("union").is_some_and(|behind| {
            let behind = behind.trim_start_matches(['+', ' ']);
            behind.strip_prefix("all").unwrap_or(behind).trim_start_matches(['+', ' ']).starts_with("select")
        });
        let comments = matches!(after.trim_end(), "--" | "#" | "/*");
        if compares || ends || unites || comments {
            return true;
        }
    }
    false
}

/// `1=1`, `'a'='a`, `sleep(5)`.
fn is_comparison(text: &str) -> bool {
    if is_function(text) {
        return true;
    }
    let Some((left, right)) = text.split_once('=') else { return false };
    let term = |text: &str| {
        let text = text.trim_matches([' ', '+', '\'', '"', '(']);
        text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let (left, right) = (left.trim(), right.trim_start());
    let first = right.split([' ', '+', '-', '#', ';', ')']).next().unwrap_or_default();
    term(left)
        && term(first)
        && left.trim_matches(['\'', '"']).eq_ignore_ascii_case(first.trim_matches(['\'', '"']))
}

/// Undoes percent-encoding, in lower case.
fn decoded(text: &str) -> String {
    let mut text = beginning(text).to_owned();
    for _ in 0..MOST_DECODINGS {
        if !text.contains('%') {
            break;
        }
        text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
    }
    text.make_ascii_lowercase();
    text
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::AttackPattern::{Nul, Probe, Scanner, Script, Shell, Sql, Template, Traversal};
    use super::*;

    #[test]
    fn attacks_are_known_however_they_are_encoded() {
        for (path, query, expected) in [
            ("/wp-login.php", "", Probe),
            ("/.env", "", Probe),
            ("/.git/config", "", Probe),
            ("/phpmyadmin/index.php", "", Probe),
            ("/api/v1/models/..%2f..%2fetc%2fpasswd", "", Traversal),
            ("/api/v1/models/%252e%252e%252f%252e%252e%252f", "", Traversal),
            ("/api/v1/models", "limit=' OR 1=1--", Sql),
            ("/api/v1/models", "q=%27%20or%20%27a%27=%27a", Sql),
            ("/api/v1/models", "q=%27+UNION+ALL+Select+NULL", Sql),
            ("/api/v1/models", "q='; DROP TABLE users", Sql),
            ("/api/v1/models", "q=\" or sleep(5)", Sql),
            ("/api/v1/models", "q=1%20UNION%20SELECT%20password%20FROM%20users", Sql),
            ("/api/v1/models", "limit=3&q=-1+union+all+select+null,null", Sql),
            ("/api/v1/models", "q=1 AND SLEEP(5)", Sql),
            ("/api/v1/models", "q=1 or 1=1", Sql),
            ("/api/v1/models", "q=1) or 1=1--", Sql),
            ("/api/v1/models", "q=1;DROP TABLE users", Sql),
            ("/api/v1/models", "q=/etc/passwd", Shell),
            ("/api/v1/models", "q={{7*7}}", Template),
            ("/api/v1/models", "q=%3Cscript%3Ealert(1)%3C/script%3E", Script),
            ("/api/v1/models", "q=${jndi:ldap://x/a}", Template),
            ("/api/v1/models", "q=;wget http://x", Shell),
            ("/api/v1/models/a%00b", "", Nul),
        ] {
            assert_eq!(in_target(path, query), Some(expected), "{path}?{query}");
        }
        for (agent, expected) in [
            ("sqlmap/1.7 (https://sqlmap.org)", Scanner),
            ("Nikto/2.1.6", Scanner),
            ("() { :;}; /bin/bash -c id", Template),
            ("agent/etc/passwd", Shell),
            ("javascript:alert(1)", Script),
            ("1 union select null", Sql),
            ("curl/../../8", Traversal),
        ] {
            assert_eq!(in_header("user-agent", agent.as_bytes()), Some(expected), "{agent}");
        }
        assert_eq!(in_header("referer", b"${jndi:ldap://x/a}"), Some(Template));
        assert_eq!(
            in_header("referer", b"\xff${jndi:ldap://x/a}"),
            Some(Template),
            "a byte that is no text hides nothing"
        );
        assert_eq!(in_header("x-version", b"../../etc/passwd"), Some(Traversal));
        assert_eq!(in_text("x'; DELETE FROM accounts; --"), Some(Sql));
        assert_eq!(in_text("1; DELETE FROM accounts"), Some(Sql));
        assert_eq!(in_text("<SCRIPT>alert(1)</SCRIPT>"), Some(Script));
    }

    #[test]
    fn honest_texts_are_let_be() {
        for text in [
            "O'Brien",
            "Conan O'Brien or somebody else",
            "select a model",
            "Select * from the menu, please",
            "the union select committee",
            "rock 'n' roll and blues",
            "it's 5 o'clock; drop me a line",
            "\"yes\" or \"no\"",
            "a <b and c> d",
            "cost: $5.00",
            "www.example.com",
            "She said 'hello' and left=early",
            "1 < 2 && 3 > 2",
            "x = 'a' or y = 'b'",
            "…",
            "data:image/png;base64,iVBORw0KGgo=",
            "C:\\models\\digits",
            "see ../README.md",
            "price='10' and tax='2'",
            "--",
            "drop table is an SQL statement",
            "10 union select committees; 3 of them new.",
            "5 or 6. 7 and 8; drop me a line",
            "1; drop by",
            "2 and 2 = 4, they say.",
            "a=1 or b=1.",
            "3 or x=4.",
        ] {
            assert_eq!(in_text(text), None, "{text:?}");
        }
        for (path, query) in [
            ("/api/v1/models/digits/predict", "top_k=3"),
            ("/v2/models/digits/versions/1/infer", ""),
            ("/docs/", ""),
            ("/api/v1/models/php-classifier", ""),
            ("/api/v1/admin/users", "search=O%27Brien"),
            ("/api/v1/admin/users", "search=ada%40example.com"),
            ("/api/v1/admin/users", "search=2%20or%203"),
            ("/api/v1/models", "path=a/b/c"),
            ("/health/ready", ""),
            ("/.well-known/security.txt", ""),
            ("/api/v1/models/a.b-c_1", "version=1.0"),
            ("/", ""),
            ("/openapi.json", ""),
            ("/metrics", ""),
        ] {
            assert_eq!(in_target(path, query), None, "{path}?{query}");
        }
        for agent in
            ["curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "python-requests/2.31"]
        {
            assert_eq!(in_header("user-agent", agent.as_bytes()), None, "{agent}");
        }
        assert_eq!(in_header("accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), None);
    }

    proptest::proptest! {
        #[test]
        fn base64_is_no_attack_and_nothing_panics(bytes: Vec<u8>, text: String) {
            let encoded = data_encoding::BASE64.encode(&bytes);
            proptest::prop_assert_eq!(in_text(&encoded), None);
            let _ = (in_text(&text), in_target(&text, &text), in_header("user-agent", text.as_bytes()));
        }
    }
}
