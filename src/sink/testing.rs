//! An endpoint for tests: takes POST requests on loopback, one connection at a time, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A request that came.
#[derive(Clone, Debug, Default)]
pub struct Posted {
    /// Request line and headers, in lower case.
    pub head: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Posted {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the endpoint does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// Answers 200 and closes the connection without saying so.
    Close,
    /// Says nothing until the peer gives up.
    Hang,
    /// Resets the connection.
    Reset,
    /// Answers with this status, these further header lines, and this body.
    Status(u16, &'static str, &'static str),
}

/// Answers 200.
pub const FINE: Reply = Reply::Status(200, "", "");

/// Starts an endpoint, which ends with the test's process.
pub fn serve(mut reply: impl FnMut(&Posted) -> Reply + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A peer that goes away in the middle ends its connection alone.
            let _ = connection(stream, &mut reply);
        }
    });
    address
}

fn connection(mut stream: TcpStream, reply: &mut impl FnMut(&Posted) -> Reply) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    loop {
        let mut posted = Posted::default();
        while !posted.head.ends_with("\r\n\r\n") {
            if input.read_line(&mut posted.head)? == 0 {
                return Ok(());
            }
        }
        posted.head.make_ascii_lowercase();
        let length = posted.head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        posted.body = vec![0; length.unwrap_or(0)];
        input.read_exact(&mut posted.body)?;
        match reply(&posted) {
            Reply::Close => return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            Reply::Hang => {
                let _ = input.read_to_end(&mut Vec::new());
                return Ok(());
            }
            Reply::Reset => {
                socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
                return Ok(());
            }
            Reply::Status(status, headers, body) => {
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} Said\r\n{headers}content-length: {length}\r\n\r\n{body}")?;
            }
        }
    }
}
