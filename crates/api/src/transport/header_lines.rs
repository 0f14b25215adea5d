//! One way to read the headers of both surfaces: actix-web and tonic are on different versions of the `http` crate.

/// The headers of a request.
pub trait HeaderLines {
    /// The values of a header, in the order in which they came. `name` is in lower case.
    fn lines<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]>;

    /// The first value of a header, where it is text.
    fn text(&self, name: &'static str) -> Option<&str> {
        std::str::from_utf8(self.lines(name).next()?).ok()
    }
}

impl HeaderLines for actix_web::http::header::HeaderMap {
    fn lines<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        // By itself the map would first make a name of the text, with memory of its own where HTTP does not know it.
        self.iter().filter(move |(given, _)| given.as_str() == name).map(|(_, value)| value.as_bytes())
    }
}

impl HeaderLines for http::HeaderMap {
    fn lines<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }
}
