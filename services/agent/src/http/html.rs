//! Text in pages: names come from outside. And what every page has around its own part.

/// What stands around a page's own part.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The window's title.
    pub title: &'a str,
    /// What serves the page, in a few words.
    pub name: &'a str,
    /// The pages that lead on: path and words.
    pub links: &'a [(&'a str, &'a str)],
    /// Which of them this is, by its path.
    pub here: &'a str,
    /// Paths of style sheets.
    pub styles: &'a [&'a str],
    /// Paths of scripts.
    pub scripts: &'a [&'a str],
    /// What stands at the foot, in HTML.
    pub foot: &'a str,
}

impl Frame<'_> {
    /// The whole page around `main`, which is HTML. Everything else is escaped here.
    pub fn around(&self, main: &str) -> String {
        let each = |paths: &[&str], write: &dyn Fn(&str) -> String| -> String {
            paths.iter().map(|path| write(&escape(path))).collect()
        };
        let styles = each(self.styles, &|path| format!("<link rel=\"stylesheet\" href=\"{path}\">\n"));
        let scripts = each(self.scripts, &|path| format!("<script defer src=\"{path}\"></script>\n"));
        let link = |(path, words): &(&str, &str)| {
            let here = if *path == self.here { " aria-current=\"page\"" } else { "" };
            format!("<a href=\"{}\"{here}>{}</a>\n", escape(path), escape(words))
        };
        let links: String = self.links.iter().map(link).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n{styles}{scripts}</head>\n<body>\n\
             <a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
             <header class=\"head\"><div><span class=\"name\">{name}</span>\n\
             <nav aria-label=\"Pages\">\n{links}</nav></div></header>\n\
             <main id=\"main\">\n{main}</main>\n<footer class=\"foot\">{foot}</footer>\n</body>\n</html>\n",
            title = escape(self.title),
            name = escape(self.name),
            foot = self.foot,
        )
    }
}

/// Makes a text harmless within HTML, in elements and in quoted attributes alike.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_a_text_and_nothing_else() {
        let evil = "<script>alert('1')</script>\"&";
        let frame = Frame {
            title: evil,
            name: evil,
            links: &[("/", evil), ("/a\"b", "b")],
            here: "/",
            styles: &["/a.css"],
            scripts: &["/a.js"],
            foot: "",
        };
        let page = frame.around("<p>own</p>");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"), "{page}");
        assert!(page.contains("href=\"/\" aria-current=\"page\"") && page.contains("<p>own</p>"), "{page}");
        assert!(!page.contains("style=") && page.contains("/a&quot;b"), "{page}");
    }
}
