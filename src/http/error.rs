//! What an error of an HTTP client says.

use std::error::Error;
use std::io;

/// What is said of a connection that ended without an error of its own. A server that wants a client
/// certificate and gets none often ends the connection like this.
const CLOSED: &str = "the server closed the connection without an answer";

/// Whether the connection ended under the request. The library does not say what ended it, such as a
/// TLS alert.
pub fn is_closed(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return error.is_canceled() || error.is_closed();
    }
    // HTTP/2 has the error of its connection; hyper hands it on wrapped, or by itself.
    let of_http2 = error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
    let of_connection = of_http2.or_else(|| error.downcast_ref::<io::Error>());
    of_connection.is_some_and(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => true,
        // A TLS alert that comes later than the handshake, of which HTTP/2 keeps the words only.
        io::ErrorKind::InvalidData => !error.get_ref().is_some_and(|it| it.is::<rustls::Error>()),
        _ => false,
    })
}

/// An error and all its causes, the outermost first.
pub fn layers<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        // `io::Error` leaves out the error that it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// An error with all its causes in one line, without the URL, whose query may hold secrets.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut layers = layers(error).peekable();
    while let Some(error) = layers.next() {
        if is_closed(error) {
            parts.push(CLOSED.to_owned());
            break;
        }
        let text = error.to_string();
        let text = text.split(" for url (").next().unwrap_or_default();
        // reqwest's and hyper's own layers only say that sending failed; their sources say why.
        let says_nothing = matches!(
            text,
            "error sending request"
                | "client error (Connect)"
                | "client error (SendRequest)"
                | "client error (Canceled)"
                | "request or response body error"
                | "error decoding response body"
        );
        if (!says_nothing || layers.peek().is_none())
            && !parts.iter().any(|part| part.contains(text))
        {
            parts.push(text.to_owned());
        }
    }
    parts.join(": ")
}
