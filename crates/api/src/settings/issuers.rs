//! The issuers whose access tokens are accepted: a TOML file with one `[[issuer]]` for each.

use std::path::Path;

use auth::TrustedIssuer;
use serde::Deserialize;

use super::Settings;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<TrustedIssuer>,
}

/// The issuers that `OIDC_ISSUERS_FILE` describes; none where it is unset. An error names the file, and line or issuer.
pub fn trusted_issuers(settings: &Settings) -> Result<Vec<TrustedIssuer>, String> {
    let Some(path) = &settings.tokens.oidc_issuers_file else { return Ok(Vec::new()) };
    let wrong = |what: String| format!("OIDC_ISSUERS_FILE {}: {what}", path.display());
    let issuers = read(path).map_err(wrong)?;
    for (number, issuer) in issuers.iter().enumerate() {
        let of_issuer = |what| wrong(format!("{}: {what}", issuer.issuer));
        issuer.check(!settings.program.is_production()).map_err(of_issuer)?;
        if issuer.issuer == settings.tokens.jwt_issuer {
            return Err(of_issuer("this is JWT_ISSUER, our own name".into()));
        }
        if issuers[..number].iter().any(|before| before.issuer == issuer.issuer) {
            return Err(of_issuer("it is described twice".into()));
        }
    }
    Ok(issuers)
}

fn read(path: &Path) -> Result<Vec<TrustedIssuer>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: File = toml::from_str(&text).map_err(|error| error.to_string())?;
    Ok(file.issuer)
}
