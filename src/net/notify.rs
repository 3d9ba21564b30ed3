//! Tells a service manager that the sockets are bound (`Type=notify` of systemd, sd_notify(3)): one datagram to the
//! socket that `NOTIFY_SOCKET` names. Without the variable nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram};

/// Says that clients may come. A manager that cannot be told is none of the clients' trouble: the log says so.
pub fn ready() {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&name, b"READY=1")
    {
        log::warn!(reason:% = error; "the service manager at {} cannot be told: {error}", name.display());
    }
}

/// A name that begins with `@` is in Linux's abstract space, any other is a path.
fn send(name: &OsStr, state: &[u8]) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_path_and_by_abstract_name() {
        let unique = format!("pannier-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&unique);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let abstracted = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&unique).unwrap()).unwrap();
        let mut bytes = [0; 16];
        for (name, receiver) in
            [(path.clone().into_os_string(), by_path), (format!("@{unique}").into(), abstracted)]
        {
            send(&name, b"READY=1").unwrap();
            let len = receiver.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), b"READY=1").is_err());
    }
}
