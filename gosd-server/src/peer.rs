//! The client at the other end of a connection, as limits and permissions see it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};

/// A client, whose connections and requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// An application that mounts the routes may not pass the address.
    Unknown,
    /// An address; of IPv6, the first 64 bits, because whoever has one address of a network has all of them.
    Address(IpAddr),
    /// A user of this host by its numeric id, on a Unix socket.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are no Unix sockets"))]
    User(u32),
}

impl Peer {
    pub(crate) fn of(request: &Request) -> Self {
        if let Some(peer) = request.extensions().get() {
            return *peer;
        }
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
        address.map_or(Self::Unknown, |ConnectInfo(address)| Self::from(*address))
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            // All loopback addresses are one.
            IpAddr::V6(ip) if !ip.is_loopback() => {
                Self::Address(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)))
            }
            ip => Self::Address(ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let peer = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(peer("[2001:db8::1]:1"), peer("[2001:db8::ffff:2]:2"));
        assert_ne!(peer("[2001:db8::1]:1"), peer("[2001:db8:0:1::1]:1"));
        assert_eq!(peer("[::ffff:10.0.0.1]:1"), peer("10.0.0.1:2"));
        assert_ne!(peer("10.0.0.1:1"), peer("10.0.0.2:1"));
        assert_ne!(peer("[::1]:1"), peer("[::]:1"));
    }
}
