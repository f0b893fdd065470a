//! `PolicyArgs`: the options of `run` and `check` that request a policy.

use std::time::Duration;

use capstan_core::feature::Feature;
use capstan_core::limits::Overflow;
use capstan_core::mount::Access;
use capstan_core::policy::{HttpRule, MountRequest, PolicyRequest, Rule, SecretRequest};
use capstan_core::units;
use clap::Args;

use super::determinism::DeterminismArgs;

/// The options that request limits and grants for a job. What they leave out is up to the manifest and the daemon.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits and grants")]
pub(super) struct PolicyArgs {
    /// Maximum wall clock time: 5s, 500ms, 1m 30s, or seconds [default: 1h]
    ///
    /// Includes waiting. Capstan kills a run that takes longer (exit code 124).
    #[arg(long, value_name = "TIME", value_parser = units::time_limit)]
    timeout: Option<Duration>,
    /// Maximum CPU time, without waiting: 5s, 500ms, 1m 30s, or seconds [default: no limit]
    ///
    /// Capstan kills a run that uses more (exit code 137).
    #[arg(long, value_name = "TIME", value_parser = units::time_limit)]
    cpu: Option<Duration>,
    /// Maximum memory, the sum of all memories and tables: 64MiB, 10kB, or bytes [default: 256MiB]
    ///
    /// A run that fails because it gets no more memory exits with 137.
    #[arg(long, value_name = "SIZE", value_parser = units::size_limit)]
    memory: Option<u64>,
    /// Mount of the daemon to grant, read-only unless `:rw`. May be repeated [default: none]
    ///
    /// NAME is a `[mounts.NAME]` of the daemon's configuration, PATH an absolute path that its `[[mount_prefixes]]` allow. The guest sees it
    /// at GUEST, by default /NAME or PATH. Only through the daemon; for a run in process use --dir. Example: --mount data::/in:rw
    #[arg(long, value_name = "NAME|PATH[::GUEST][:rw]", value_parser = parse_mount)]
    mount: Option<Vec<MountRequest>>,
    /// Maximum number of bytes written to all mounts and directories: 64MiB, 10kB, or bytes [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    disk: Option<u64>,
    /// Maximum number of files, directories and links created in all mounts and directories [default: 10000]
    #[arg(long, value_name = "COUNT")]
    files: Option<u64>,
    /// Size of the scratch directory, an empty directory at /scratch: 64MiB, 10kB, or bytes [default: none]
    ///
    /// Capstan removes it after the run.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    scratch: Option<u64>,
    /// Variable of the daemon's environment to grant. May be repeated [default: none]
    ///
    /// The daemon's configuration must list it in `pass_env`. Only through the daemon; for a run in process use --env.
    #[arg(long, value_name = "NAME")]
    pass_env: Option<Vec<String>>,
    /// Secret of the daemon to grant as a variable. May be repeated [default: none]
    ///
    /// NAME is a `[secrets.NAME]` of the daemon's configuration. VARIABLE is by default the name in capital letters. Only through the daemon.
    /// Example: --secret db-password=PGPASSWORD
    #[arg(long, value_name = "NAME[=VARIABLE]", value_parser = parse_secret)]
    secret: Option<Vec<SecretRequest>>,
    /// Host that the guest may connect to. May be repeated [default: none]
    ///
    /// Examples: example.com:443, *.example.com, 10.1.0.0/16:8000-8100, 192.0.2.7:53/udp
    #[arg(long, value_name = "RULE")]
    allow_net: Option<Vec<Rule>>,
    /// HTTP requests that the guest may send. May be repeated [default: none]
    ///
    /// Examples: `https://api.example.com/v1/`, `"GET,HEAD https://*.example.org"`
    #[arg(long, value_name = "RULE")]
    http: Option<Vec<HttpRule>>,
    /// Maximum number of TCP connections and UDP peers, together [default: 64]
    #[arg(long, value_name = "N")]
    connections: Option<u64>,
    /// Maximum number of bytes sent and received over the network: 64MiB, 10kB, or bytes [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    traffic: Option<u64>,
    /// Discard output beyond its limit and let the run continue [default: kill the run]
    ///
    /// The limits are 1 GiB of stdout and 16 MiB of stderr, unless the manifest or the daemon sets others.
    #[arg(long)]
    truncate: bool,
    /// Further WebAssembly feature to allow, for a FILE.wasm only. May be repeated [default: none]
    ///
    /// custom-page-sizes and wide-arithmetic are off by default. A program uses the others without being asked. For a handler, the daemon
    /// decides.
    #[arg(long, value_name = "FEATURE")]
    feature: Vec<Feature>,
    #[command(flatten)]
    determinism: DeterminismArgs,
}

impl PolicyArgs {
    /// Returns the policy request that the options describe.
    pub(super) fn to_request(&self) -> PolicyRequest {
        let Self { timeout, cpu, memory, mount: mounts, pass_env, secret: secrets, determinism, .. } = self.clone();
        let Self { disk, files, scratch, allow_net: network, http, connections, traffic, truncate, feature, .. } =
            self.clone();
        PolicyRequest {
            timeout,
            cpu,
            memory,
            mounts,
            disk,
            files,
            scratch,
            pass_env,
            secrets,
            network,
            http,
            connections,
            traffic,
            output: truncate.then_some(Overflow::Truncate),
            features: (!feature.is_empty()).then(|| feature.into_iter().collect()),
            ..determinism.to_request()
        }
    }
}

/// Parses `NAME[::GUEST][:ro|:rw]` or `/PATH[::GUEST][:ro|:rw]`.
fn parse_mount(text: &str) -> Result<MountRequest, &'static str> {
    let (rest, access) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, Access::ReadWrite),
        None => (text.strip_suffix(":ro").unwrap_or(text), Access::ReadOnly),
    };
    let (name, guest) = rest.split_once("::").map_or((rest, None), |(name, guest)| (name, Some(guest.to_owned())));
    let is_path = name.starts_with('/');
    if name.is_empty() || name.contains(':') || (name.contains('/') && !is_path) || guest.as_deref() == Some("") {
        return Err("expected NAME or /PATH, then ::GUEST for another path in the guest, then :rw to allow writing");
    }
    let name = name.to_owned();
    let (name, path) = if is_path { (None, Some(name)) } else { (Some(name), None) };
    Ok(MountRequest { name, path, guest, access, ..MountRequest::default() })
}

/// Parses `NAME[=VARIABLE]`.
fn parse_secret(text: &str) -> Result<SecretRequest, &'static str> {
    let (name, env) = text.split_once('=').map_or((text, None), |(name, env)| (name, Some(env.to_owned())));
    if name.is_empty() || env.as_deref() == Some("") {
        return Err("expected the name of a secret, NAME or NAME=VARIABLE");
    }
    Ok(SecretRequest { name: name.to_owned(), env })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_is_a_name_or_an_absolute_path() {
        let request = |name: &str, guest: Option<&str>, access| MountRequest {
            name: Some(name.into()),
            guest: guest.map(Into::into),
            access,
            ..MountRequest::default()
        };
        assert_eq!(parse_mount("data"), Ok(request("data", None, Access::ReadOnly)));
        assert_eq!(parse_mount("data:rw"), Ok(request("data", None, Access::ReadWrite)));
        assert_eq!(parse_mount("data::/in:ro"), Ok(request("data", Some("/in"), Access::ReadOnly)));
        let by_path = MountRequest { path: Some("/srv/data".into()), ..MountRequest::default() };
        assert_eq!(parse_mount("/srv/data"), Ok(by_path));
        for text in ["", "::/in", "data::", "srv/data", "data:rx", "a:b"] {
            assert!(parse_mount(text).is_err(), "{text}");
        }
    }
}
