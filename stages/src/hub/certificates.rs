//! Trusted certificates: Mozilla's roots, or those in `SSL_CERT_FILE`, which company proxies that re-sign traffic need.

use std::path::Path;

use fmflow_engine::text::escape::show_path;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// TLS settings with the certificates in `file`, or with the built-in ones.
///
/// # Errors
/// A message that says why the file cannot be used.
pub(super) fn build_tls_config(file: Option<&Path>) -> Result<TlsConfig, String> {
    let roots = match file {
        None => RootCerts::WebPki,
        Some(file) => RootCerts::from(read_certificates(file)?),
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn read_certificates(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let named = format!("`SSL_CERT_FILE` ({})", show_path(file));
    let text = std::fs::read(file).map_err(|error| format!("{named} cannot be read: {error}"))?;
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() { Err(format!("{named} contains no certificate")) } else { Ok(certificates) }
}
