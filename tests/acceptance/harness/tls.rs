//! TLS as servers beside Modelgate speak it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file that `scripts/services` made: `authority.crt`, `stranger.crt`, `server.crt`, `server.key`.
pub fn tls_file(name: &str) -> String {
    let folder = std::env::var("TEST_TLS_DIR").expect("run ./scripts/test, which makes certificates");
    format!("{folder}/{name}")
}

/// With the certificate of `localhost`.
pub fn certified() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(tls_file("server.crt")).expect("a certificate");
    let chain = chain.map(|each| each.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("TLS").with_no_client_auth().with_single_cert(chain, key).expect("a pair"))
}
