//! [`HttpReach`]: the HTTP requests that one run may send.

use std::net::{IpAddr, SocketAddr};

use super::path;
use super::placeholder::{Placeholder, Substitution};
use super::rule::{FORBIDDEN_METHODS, HttpRule};
use super::target::{HttpHost, HttpTarget};
use crate::policy::network::{DenialReason, Host, Protocol, Reach, Rule};
use crate::secret::Secret;

/// The HTTP requests that one run may send, and the secrets that they carry.
#[derive(Clone, Debug)]
pub struct HttpReach {
    rules: Vec<HttpRule>,
    /// The addresses of hosts that a URL names by name. Has the network rules of the run, which allow special-purpose addresses.
    of_names: Reach,
    /// The hosts that a URL names by address. A name cannot use a rule for an address, because that rule may have another path.
    of_addresses: Reach,
    placeholders: Vec<Placeholder>,
}

/// The reason why a request is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpDenial {
    #[error("no rule of `http` allows this scheme, host and port")]
    Host,
    #[error("requests with this method are never sent")]
    ForbiddenMethod,
    #[error("no rule of `http` for this host allows the method")]
    Method,
    #[error("no rule of `http` for this host and method allows the path")]
    Path,
    #[error("the path has a part that a server could read as `.` or `..`, and the rule allows only some paths")]
    DotSegment,
}

impl HttpReach {
    /// Creates the reach of `rules`. `network` are the network rules of the run, and `operator_rules` those of the operator, which alone
    /// grant ports of the daemon.
    pub(in crate::policy) fn new(
        rules: Vec<HttpRule>,
        network: &[Rule],
        daemon_ports: &[u16],
        (operator_http, operator_network): (&[HttpRule], &[Rule]),
        placeholders: Vec<Placeholder>,
    ) -> Self {
        let (by_address, by_name): (Vec<_>, Vec<_>) =
            rules.iter().map(HttpRule::to_network_rule).partition(|rule| matches!(rule.host, Host::Network(_)));
        let by_name = by_name.into_iter().chain(network.iter().cloned()).collect();
        let operator: Vec<_> =
            operator_http.iter().map(HttpRule::to_network_rule).chain(operator_network.iter().cloned()).collect();
        let of_names = Reach::new(by_name, daemon_ports, &operator);
        let of_addresses = Reach::new(by_address, daemon_ports, &operator);
        Self { rules, of_names, of_addresses, placeholders }
    }

    /// Checks whether the run may send a request to `target`.
    ///
    /// # Errors
    /// [`HttpDenial`]
    pub fn allows(&self, target: &HttpTarget<'_>) -> Result<(), HttpDenial> {
        if FORBIDDEN_METHODS.iter().any(|method| method.eq_ignore_ascii_case(target.method)) {
            return Err(HttpDenial::ForbiddenMethod);
        }
        let of_host: Vec<_> = self.rules.iter().filter(|rule| rule.matches_host(target)).collect();
        if of_host.is_empty() {
            return Err(HttpDenial::Host);
        }
        let of_method: Vec<_> = of_host.into_iter().filter(|rule| rule.matches_method(target)).collect();
        if of_method.is_empty() {
            return Err(HttpDenial::Method);
        }
        if of_method.iter().any(|rule| rule.path.is_all()) {
            return Ok(());
        }
        match of_method.iter().any(|rule| rule.path.matches(target.path)) {
            false => Err(HttpDenial::Path),
            true if path::has_dot_segment(target.path) => Err(HttpDenial::DotSegment),
            true => Ok(()),
        }
    }

    /// Checks whether a connection for a request to `host`, which [`HttpReach::allows`] allowed, may go to `address`. `is_local` returns
    /// whether an address belongs to this machine.
    ///
    /// # Errors
    /// [`DenialReason`]
    pub fn allows_address(
        &self,
        host: &HttpHost,
        address: SocketAddr,
        is_local: impl Fn(IpAddr) -> bool,
    ) -> Result<(), DenialReason> {
        match host {
            HttpHost::Name(name) => {
                self.of_names.allows(Protocol::Tcp, address, std::slice::from_ref(name), is_local).map(drop)
            }
            HttpHost::Address(_) => self.of_addresses.allows(Protocol::Tcp, address, &[], is_local).map(drop),
        }
    }

    /// Returns what to replace in the fields of a request to `target`.
    pub fn substitutions(&self, target: &HttpTarget<'_>) -> Vec<Substitution<'_>> {
        let has_dots = path::has_dot_segment(target.path);
        let is_allowed = |rule: &HttpRule| {
            let is_path = rule.path.is_all() || (rule.path.matches(target.path) && !has_dots);
            rule.matches_host(target) && rule.matches_method(target) && is_path
        };
        let of_placeholder = |placeholder: &'_ Placeholder| -> Option<(usize, usize)> {
            let values = placeholder.values.iter().enumerate();
            values.into_iter().find_map(|(at, (rule, _))| is_allowed(&self.rules[*rule]).then_some((at, *rule)))
        };
        let found =
            self.placeholders.iter().filter_map(|placeholder| Some((placeholder, of_placeholder(placeholder)?)));
        found
            .map(|(placeholder, (value, rule))| Substitution {
                token: &placeholder.token,
                secret: &placeholder.values[value].1,
                headers: &self.rules[rule].headers,
            })
            .collect()
    }

    /// Returns the variables that the guest finds, with the token of each.
    pub fn placeholders(&self) -> impl Iterator<Item = (&str, &str)> {
        self.placeholders.iter().map(|placeholder| (placeholder.env.as_str(), placeholder.token.as_str()))
    }

    /// Returns the secrets that its requests may carry.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.placeholders.iter().flat_map(Placeholder::secrets)
    }
}

impl Placeholder {
    /// Creates the placeholders of `rules`: one for each variable. `secret` returns the value of a secret by its name, and `token` a new
    /// random token.
    pub(in crate::policy) fn of_rules<'a>(
        rules: &[HttpRule],
        secret: impl Fn(&str) -> Option<&'a Secret>,
        token: impl Fn() -> String,
    ) -> Vec<Self> {
        let mut placeholders: Vec<Self> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            for request in &rule.secrets {
                let Some(secret) = secret(&request.name) else { continue };
                let (env, value) = (request.variable(), (index, secret.clone()));
                match placeholders.iter_mut().find(|known| known.env == env) {
                    Some(known) => known.values.push(value),
                    None => placeholders.push(Self { env, token: token(), values: vec![value] }),
                }
            }
        }
        placeholders
    }
}
