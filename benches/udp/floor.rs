//! The least that a server of datagrams can do: take up to thirty-two, send each of them back at a fixed length.

use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

/// As many as Pannier takes at once.
const BATCH_LEN: usize = 32;
const SLOT_BYTES: usize = 1201;

/// Echoes until it is killed; every reply has `reply_len` bytes, whatever came.
pub fn serve(reply_len: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    println!("udp={} ", socket.local_addr().expect("address"));
    let mut slots = vec![[0; SLOT_BYTES]; BATCH_LEN];
    let mut receive_headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH_LEN, None);
    let mut send_headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH_LEN, None);
    // A blocking wait for the first, then what is there: what a poll and a batch cost Pannier, or less.
    let flags = MsgFlags::MSG_WAITFORONE;
    loop {
        let mut sources = [const { None }; BATCH_LEN];
        let mut count = 0;
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                slots.iter_mut().map(|slot| [IoSliceMut::new(slot)]).collect();
            let received = recvmmsg(socket.as_raw_fd(), &mut receive_headers, slices.iter_mut(), flags, None);
            for message in received.into_iter().flatten() {
                sources[count] = message.address;
                count += 1;
            }
        }
        let slices: Vec<[IoSlice<'_>; 1]> =
            slots[..count].iter().map(|slot| [IoSlice::new(&slot[..reply_len])]).collect();
        // What the system does not take is lost; the load sees to that.
        let _ = sendmmsg(
            socket.as_raw_fd(),
            &mut send_headers,
            &slices,
            &sources[..count],
            [],
            MsgFlags::MSG_DONTWAIT,
        );
    }
}
