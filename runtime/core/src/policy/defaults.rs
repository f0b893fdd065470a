//! [`PolicyRequest::or`]: a request with the defaults of another.

use super::request::PolicyRequest;

impl PolicyRequest {
    /// Returns `self`, with the keys of `defaults` for those that it does not have. Lists are not joined.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        // All keys are listed, so that the compiler asks about a new one.
        let Self {
            timeout,
            cpu,
            memory,
            handles,
            stdout,
            stderr,
            mounts,
            pass_env,
            secrets,
            concurrency,
            concurrency_per_key,
            disk,
            files,
            scratch,
            network,
            http,
            connections,
            traffic,
            reuse,
            keyvalue,
            keys,
            features,
            fuel,
            clock,
            random,
            output,
        } = self;
        Self {
            timeout: timeout.or(defaults.timeout),
            cpu: cpu.or(defaults.cpu),
            memory: memory.or(defaults.memory),
            handles: handles.or(defaults.handles),
            stdout: stdout.or(defaults.stdout),
            stderr: stderr.or(defaults.stderr),
            mounts: mounts.or(defaults.mounts),
            pass_env: pass_env.or(defaults.pass_env),
            secrets: secrets.or(defaults.secrets),
            concurrency: concurrency.or(defaults.concurrency),
            concurrency_per_key: concurrency_per_key.or(defaults.concurrency_per_key),
            disk: disk.or(defaults.disk),
            files: files.or(defaults.files),
            scratch: scratch.or(defaults.scratch),
            network: network.or(defaults.network),
            http: http.or(defaults.http),
            connections: connections.or(defaults.connections),
            traffic: traffic.or(defaults.traffic),
            reuse: reuse.or(defaults.reuse),
            keyvalue: keyvalue.or(defaults.keyvalue),
            keys: keys.or(defaults.keys),
            features: features.or(defaults.features),
            fuel: fuel.or(defaults.fuel),
            clock: clock.or(defaults.clock),
            random: random.or(defaults.random),
            output: output.or(defaults.output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_keys_come_before_those_of_the_defaults() {
        let parse = |text: &str| toml::from_str::<PolicyRequest>(text).unwrap();
        let own = parse("memory = \"1MiB\"\npass_env = [\"A\"]\ntimeout = 1");
        let defaults = parse("memory = \"2MiB\"\npass_env = [\"B\"]\nscratch = 5");
        let expected = parse("memory = \"1MiB\"\npass_env = [\"A\"]\ntimeout = 1\nscratch = 5");
        assert_eq!(own.clone().or(defaults), expected);
        assert_eq!(own.clone().or(PolicyRequest::EMPTY), own);
        assert_eq!(PolicyRequest::EMPTY.or(own.clone()), own);
    }
}
