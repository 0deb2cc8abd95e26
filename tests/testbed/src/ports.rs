//! Free ports on loopback. A port is free only while nobody else takes it, so whoever starts
//! processes on these ports must be ready to try again with others.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

/// Asks the kernel for `N` different ports that nothing listens on.
pub(crate) fn free<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    // All are held until the last is found, else the kernel may give one twice.
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind(*port).context("cannot listen on loopback")?;
        *port = listener.local_addr()?;
        held.push(listener);
    }
    Ok(ports)
}

/// Whether a process' log says that its port was taken between the look and the start.
pub(crate) fn lost_race(log: &str) -> bool {
    log.contains("address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let [first, second, third] = free().unwrap();
        assert!(first != second && second != third && first != third);
    }
}
