//! What is shown over TCP, and what is accepted there.

use std::path::PathBuf;

use capstan_listen::listener::Address;
use capstan_listen::tls;
use clap::Args;

use super::environment::Environment;
use super::error::CliError;
use super::paths;

/// Files for TLS, as they may be typed before any subcommand or after it.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct TlsArgs {
    /// Speak TLS over TCP, with who has a certificate from one of these CAs: a daemon, or with `daemon` its clients.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) tls_ca: Option<PathBuf>,
    /// Show this certificate over TCP, in PEM, and after it those that issued it.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM, not encrypted, and not for everyone to read.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// TLS with the daemon at `address`, if there is to be any; on a unix socket there is none.
    ///
    /// # Errors
    /// [`CliError::TlsFiles`], [`CliError::Tls`].
    pub(super) fn client(self, address: &Address, environment: &Environment) -> Result<Option<tls::Client>, CliError> {
        let files = self.files(environment);
        if files.is_empty() || matches!(address, Address::Unix(_)) {
            return Ok(None);
        }
        files.check_client()?;
        Ok(Some(tls::Client::load(&files, paths::read_tls)?))
    }

    fn files(self, environment: &Environment) -> tls::Files {
        let or = |named: Option<PathBuf>, name| named.or_else(|| environment.filled(name).map(PathBuf::from));
        tls::Files {
            ca: or(self.tls_ca, "CAPSTAN_TLS_CA"),
            cert: or(self.tls_cert, "CAPSTAN_TLS_CERT"),
            key: or(self.tls_key, "CAPSTAN_TLS_KEY"),
            crl: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_variable_and_what_is_empty_is_not_there() {
        let environment =
            Environment::from([("CAPSTAN_TLS_CA", "e"), ("CAPSTAN_TLS_CERT", "c"), ("CAPSTAN_TLS_KEY", "")]);
        let files = TlsArgs { tls_ca: Some("f".into()), ..TlsArgs::default() }.files(&environment);
        let expected = tls::Files { ca: Some("f".into()), cert: Some("c".into()), ..tls::Files::default() };
        assert_eq!(files, expected);
        assert_eq!(files.check_client(), Err(tls::FilesError::CertWithoutKey));
        assert!(TlsArgs::default().files(&Environment::default()).is_empty());
    }

    #[test]
    fn on_a_unix_socket_no_file_is_looked_at() {
        let environment = Environment::from([("CAPSTAN_TLS_CA", "/nowhere/ca.pem")]);
        let client = |address: &str| TlsArgs::default().client(&address.parse().unwrap(), &environment);
        assert!(client("unix:///s").unwrap().is_none());
        assert!(client("tcp://h:1").unwrap_err().to_string().contains("/nowhere/ca.pem"));
    }
}
