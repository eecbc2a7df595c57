//! Whom to trust: the roots of Mozilla, or those of `SSL_CERT_FILE`, as where a company's proxy signs for everybody.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Settings for TLS with the certificates in a file, or with those built in.
///
/// # Errors
/// Why the file cannot be used.
pub(super) fn build_tls_config(file: Option<&Path>) -> Result<TlsConfig, String> {
    let roots = match file {
        None => RootCerts::WebPki,
        Some(file) => RootCerts::from(read_certificates(file)?),
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn read_certificates(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let named = format!("`SSL_CERT_FILE` ({})", file.display());
    let text = std::fs::read(file).map_err(|error| format!("{named} cannot be read: {error}"))?;
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() { Err(format!("{named} holds no certificate")) } else { Ok(certificates) }
}
