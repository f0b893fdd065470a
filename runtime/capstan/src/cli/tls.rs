//! The TLS options of the command line and of the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use capstan_listen::listener::Address;
use capstan_listen::tls;
use clap::Args;

use super::environment::Environment;
use super::error::CliError;
use super::paths;

/// The TLS options. They may stand before or after the subcommand.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct TlsArgs {
    /// CAs of the other side, a PEM file: use TLS over TCP, and accept only certificates that they issued [default: no TLS]
    ///
    /// Clients check the certificate of the daemon; `capstan daemon` checks those of its clients. Not used on unix sockets. The default of
    /// clients is CAPSTAN_TLS_CA.
    #[arg(long, help_heading = "TLS", value_name = "FILE", global = true)]
    pub(super) tls_ca: Option<PathBuf>,
    /// Certificate to present over TLS: a PEM file with the certificate, then its intermediate certificates [default: none]
    ///
    /// Needs --tls-key. The default of clients is CAPSTAN_TLS_CERT.
    #[arg(long, help_heading = "TLS", value_name = "FILE", global = true)]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert: a PEM file, not encrypted, and not readable by all users [default: none]
    ///
    /// The default of clients is CAPSTAN_TLS_KEY.
    #[arg(long, help_heading = "TLS", value_name = "FILE", global = true)]
    pub(super) tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns the options by which another process of this command talks to the daemon at `address`.
    pub(super) fn options(&self, address: &Address) -> Vec<OsString> {
        let files = [("--tls-ca", &self.tls_ca), ("--tls-cert", &self.tls_cert), ("--tls-key", &self.tls_key)];
        let files =
            files.into_iter().filter_map(|(option, file)| Some((option, file.as_ref()?.as_os_str().to_owned())));
        let options = [("-H", OsString::from(address.to_string()))].into_iter().chain(files);
        options.flat_map(|(option, value)| [option.into(), value]).collect()
    }

    /// Returns the TLS configuration for the daemon at `address`, or `None` for plain HTTP. Unix sockets never use TLS.
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
        let or_variable = |flag: Option<PathBuf>, name| flag.or_else(|| environment.non_empty(name).map(PathBuf::from));
        tls::Files {
            ca: or_variable(self.tls_ca, "CAPSTAN_TLS_CA"),
            cert: or_variable(self.tls_cert, "CAPSTAN_TLS_CERT"),
            key: or_variable(self.tls_key, "CAPSTAN_TLS_KEY"),
            crl: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_overrides_variable_and_empty_variable_counts_as_unset() {
        let environment =
            Environment::from([("CAPSTAN_TLS_CA", "e"), ("CAPSTAN_TLS_CERT", "c"), ("CAPSTAN_TLS_KEY", "")]);
        let files = TlsArgs { tls_ca: Some("f".into()), ..TlsArgs::default() }.files(&environment);
        let expected = tls::Files { ca: Some("f".into()), cert: Some("c".into()), ..tls::Files::default() };
        assert_eq!(files, expected);
        assert_eq!(files.check_client(), Err(tls::FilesError::CertWithoutKey));
        assert!(TlsArgs::default().files(&Environment::default()).is_empty());
    }

    #[test]
    fn unix_socket_ignores_tls_files() {
        let environment = Environment::from([("CAPSTAN_TLS_CA", "/nowhere/ca.pem")]);
        let client = |address: &str| TlsArgs::default().client(&address.parse().unwrap(), &environment);
        assert!(client("unix:///s").unwrap().is_none());
        assert!(client("tcp://h:1").unwrap_err().to_string().contains("/nowhere/ca.pem"));
    }
}
