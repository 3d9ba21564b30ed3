//! The calls of the verbs, over TCP or over UDP.

use std::time::Duration;

use crate::client::{Client, Error, PutOptions, Ttl, Udp};

/// A client of either kind.
pub(super) enum Connection {
    Tcp(Client),
    /// On the heap, since it is by far the larger.
    Udp(Box<Udp>),
}

impl Connection {
    pub(super) fn put(&mut self, key: &[u8], value: &[u8], options: &PutOptions<'_>) -> Result<bool, Error> {
        match self {
            Connection::Tcp(client) => client.put(key, value, options),
            Connection::Udp(client) => client.put(key, value, options),
        }
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Connection::Tcp(client) => client.get(key),
            Connection::Udp(client) => client.get(key),
        }
    }

    pub(super) fn delete(&mut self, keys: &[&[u8]]) -> Result<u64, Error> {
        match self {
            Connection::Tcp(client) => client.delete(keys),
            Connection::Udp(client) => client.delete_many(keys),
        }
    }

    pub(super) fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, Error> {
        match self {
            Connection::Tcp(client) => client.incr(key, by),
            Connection::Udp(client) => client.incr(key, by),
        }
    }

    pub(super) fn expire(&mut self, key: &[u8], ttl: Duration) -> Result<bool, Error> {
        match self {
            Connection::Tcp(client) => client.expire(key, ttl),
            Connection::Udp(client) => client.expire(key, ttl),
        }
    }

    pub(super) fn persist(&mut self, key: &[u8]) -> Result<bool, Error> {
        match self {
            Connection::Tcp(client) => client.persist(key),
            Connection::Udp(client) => client.persist(key),
        }
    }

    pub(super) fn ttl(&mut self, key: &[u8]) -> Result<Ttl, Error> {
        match self {
            Connection::Tcp(client) => client.ttl(key),
            Connection::Udp(client) => client.ttl(key),
        }
    }

    pub(super) fn ping(&mut self) -> Result<(), Error> {
        match self {
            Connection::Tcp(client) => client.ping(),
            Connection::Udp(client) => client.ping(),
        }
    }
}
