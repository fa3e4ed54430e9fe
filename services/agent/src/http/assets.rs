//! The files that pages are made of, inside the program: nothing is asked of another host.
//!
//! A page names each by [`Assets::url`], whose path has a part of the file's checksum in it: a browser may keep it for
//! ever, and asks for another path once the file is another.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};

use super::answer::{self, Answer};

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name, without a folder.
    pub name: &'static str,
    /// Its content type.
    pub kind: &'static str,
    /// What it holds.
    pub body: &'static [u8],
}

/// The content type of style sheets.
pub const CSS: &str = "text/css; charset=utf-8";

/// The content type of scripts.
pub const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The design of both programs.
pub const STYLE: Asset =
    Asset { name: "pattoo.css", kind: CSS, body: include_bytes!("../../assets/pattoo.css") };

/// uPlot, which draws charts.
pub const UPLOT: Asset = Asset {
    name: "uPlot.iife.min.js",
    kind: SCRIPT,
    body: include_bytes!("../../assets/uplot/uPlot.iife.min.js"),
};

/// What uPlot looks like.
pub const UPLOT_STYLE: Asset =
    Asset { name: "uPlot.min.css", kind: CSS, body: include_bytes!("../../assets/uplot/uPlot.min.css") };

/// What keeps pages live.
pub const LIVE: Asset = Asset { name: "live.js", kind: SCRIPT, body: include_bytes!("../../assets/live.js") };

/// Where the files are.
const FOLDER: &str = "/assets/";

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The files that a program serves.
#[derive(Debug)]
pub struct Assets(BTreeMap<&'static str, Served>);

#[derive(Debug)]
struct Served {
    kind: &'static str,
    body: &'static [u8],
    url: String,
    etag: HeaderValue,
}

impl Assets {
    /// These files.
    pub fn new(assets: impl IntoIterator<Item = Asset>) -> Self {
        let served = |asset: Asset| {
            let digest = Sha256::digest(asset.body);
            let mark: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let etag =
                HeaderValue::try_from(format!("\"{mark}\"")).unwrap_or(HeaderValue::from_static("\"\""));
            let url = format!("{FOLDER}{mark}/{}", asset.name);
            (asset.name, Served { kind: asset.kind, body: asset.body, url, etag })
        };
        Self(assets.into_iter().map(served).collect())
    }

    /// The path under which a page names a file; that of no file where it is not served.
    pub fn url(&self, name: &str) -> &str {
        self.0.get(name).map_or(FOLDER, |served| &served.url)
    }

    /// The answer to a path below `/assets/`, `None` for another path.
    pub fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Answer> {
        let name = path.strip_prefix(FOLDER)?.split_once('/')?.1;
        // Of an earlier version there is nothing left to serve.
        let served = self.0.get(name).filter(|served| served.url == path)?;
        Some(answer::reading(method, || served.answer(headers)))
    }
}

impl Served {
    fn answer(&self, headers: &HeaderMap) -> Answer {
        let known = headers.get(IF_NONE_MATCH).is_some_and(|etag| etag == self.etag);
        let mut answer = if known {
            answer::with_type(304, self.kind, Bytes::new())
        } else {
            answer::with_type(200, self.kind, Bytes::from_static(self.body))
        };
        answer.headers_mut().insert(ETAG, self.etag.clone());
        answer.headers_mut().insert(CACHE_CONTROL, FOR_EVER);
        answer::guard(&mut answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_for_ever_under_its_own_checksum() {
        let assets = Assets::new([STYLE, UPLOT]);
        let url = assets.url("pattoo.css");
        let get = |path: &str, headers: &HeaderMap| assets.answer(&Method::GET, path, headers);
        let answer = get(url, &HeaderMap::new()).unwrap();
        assert_eq!(answer.headers()["content-type"], CSS);
        assert!(answer.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        let again = HeaderMap::from_iter([(IF_NONE_MATCH, answer.headers()[ETAG].clone())]);
        assert_eq!(get(url, &again).unwrap().status(), 304);
        let other = Assets::new([Asset { body: b"another", ..STYLE }]);
        assert_ne!(other.url("pattoo.css"), url);
        for path in
            ["/assets/pattoo.css", "/assets/0000000000000000/pattoo.css", "/assets/", "/pattoo.css", "/"]
        {
            assert!(get(path, &HeaderMap::new()).is_none(), "{path}");
        }
        assert_eq!(assets.answer(&Method::POST, url, &HeaderMap::new()).unwrap().status(), 405);
    }
}
