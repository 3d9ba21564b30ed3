//! `pannier healthcheck`: whether the server of the same environment serves, as container engines ask it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use super::{
    Exit, Failure,
    address::ServerAddress,
    serve::parse_address,
    server_args::{ServerArgs, explain},
    units::parse_timeout,
};

#[derive(Args, Debug)]
pub(crate) struct HealthcheckArgs {
    /// Where the server listens
    #[arg(long, env = "PANNIER_TCP", value_name = "ADDR", default_value = "127.0.0.1:7878", value_parser = parse_address)]
    tcp: SocketAddr,
    /// Time to connect, and time for the answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_timeout)]
    timeout: Duration,
    /// A file that holds the password (or set PANNIER_PASSWORD)
    #[arg(long, env = "PANNIER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl HealthcheckArgs {
    /// Exit codes other than 0 and 1 are reserved by container engines.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let address = ServerAddress::parse(&reachable(self.tcp).to_string()).map_err(Failure::usage)?;
        let server = ServerArgs::new(address, self.timeout, self.password_file);
        let elsewhere = "The address comes from --tcp or PANNIER_TCP";
        let check = || server.connect_or(elsewhere)?.ping().map_err(|error| explain(error, elsewhere));
        match check() {
            // A server that loads its data is alive, and is not helped by a new start.
            Err(failure) if failure.message.starts_with("LOADING ") => Ok(Exit::Done),
            // A server that wants another password is alive: the file may be newer than its last SIGHUP.
            Err(failure) if failure.exit != Exit::NotAuthenticated => {
                Err(Failure::new(Exit::Refused, failure.message))
            }
            _ => Ok(Exit::Done),
        }
    }
}

/// Where a server that listens at `address` is reached from its own machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_healthcheck_asks_at_loopback() {
        for (listen, ask) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.1:7", "10.0.0.1:7")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), ask);
        }
    }
}
